"""Is this the voice that consented? Similarity of speaker embeddings against a measured threshold.

``voice_match.json`` beside this file is written by ``recipes/trust/voice_match.py`` from speakers
the encoder was not trained on. It belongs to one speaker encoder; for others nobody has measured.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stepaudio.errors import OtherVoiceError
from stepaudio.safety.consent import VoiceFingerprint

__all__ = ["MatchLevel", "fingerprint", "match_voice", "measured", "similarity"]

#: Which errors weigh more: both the same, or accepting a stranger.
MatchLevel = Literal["balanced", "careful"]

_MEASURED = Path(__file__).with_name("voice_match.json")


def similarity(one: Tensor, other: Tensor) -> float:
    """Cosine of two embeddings.

    Args:
        one: ``[D]``.
        other: ``[D]``.

    Returns:
        -1 to 1.
    """
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def fingerprint(
    embeddings: Sequence[Tensor], recordings: Sequence[str], encoder: str
) -> VoiceFingerprint:
    """What a record keeps of a voice: the mean direction of some recordings.

    Args:
        embeddings: ``[D]`` each.
        recordings: digest of each.
        encoder: digest of the speaker encoder.

    Returns:
        The fingerprint.
    """
    mean = sum(e.double() / e.double().norm().clamp(min=1e-12) for e in embeddings)
    assert isinstance(mean, Tensor)
    unit = mean / mean.norm().clamp(min=1e-12)
    return VoiceFingerprint(encoder, tuple(round(v, 6) for v in unit.tolist()), tuple(recordings))


@functools.cache
def measured() -> dict[str, Any]:
    """The measurement of the embedded model's speaker encoder."""
    value = json.loads(_MEASURED.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def match_voice(
    voice: Tensor,
    kept: VoiceFingerprint,
    encoder: str,
    *,
    level: MatchLevel,
    threshold: float | None = None,
) -> tuple[float, float]:
    """Refuse another voice than the one that consented.

    Args:
        voice: ``[D]`` embedding of the voice to be used.
        kept: of the record.
        encoder: digest of the speaker encoder that made ``voice``.
        level: which measured threshold.
        threshold: a threshold of your own; None is the measured one.

    Returns:
        Similarity and threshold.

    Raises:
        OtherVoiceError: they differ, were made by different encoders, or no threshold is known.
    """
    if kept.encoder != encoder or len(kept.embedding) != len(voice):
        raise OtherVoiceError(
            "the consent record was made with another model's speaker encoder "
            f"({kept.encoder[:8]}, here {encoder[:8]}), so the voices cannot be compared; record "
            "the consent with this --model"
        )
    if threshold is None:
        if measured()["encoder"] != encoder:
            raise OtherVoiceError(
                f"nobody has measured when two voices are the same for the speaker encoder "
                f"{encoder[:8]}; measure it with recipes/trust/voice_match.py and pass "
                "SafetyPolicy(..., threshold=...)"
            )
        threshold = float(measured()["thresholds"][level]["score"])
    score = similarity(torch.tensor(kept.embedding), voice.cpu())
    if not score >= threshold:  # also a score that is no number
        raise OtherVoiceError(
            f"this is not the voice that consented: the similarity is {score:.2f} and must be at "
            f"least {threshold:.2f}; use a recording of the speaker of the record, in the manner "
            "of the enrolment"
        )
    return score, threshold
