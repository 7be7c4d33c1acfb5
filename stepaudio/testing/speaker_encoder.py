"""The contract of a speaker encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.interfaces import SpeakerEncoder
from stepaudio.testing.recordings import voice_like
from stepaudio.testing.rules import demand

__all__ = ["check_speaker_encoder"]

# Resampling changes little; a rate that is not heeded is another pitch.
_NEARER = 5


def check_speaker_encoder(encoder: SpeakerEncoder) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.SpeakerEncoder`.

    Rules: a recording of any rate and length gives ``[dim]`` finite float32; the same recording
    gives the same embedding, whatever was embedded before; inputs are left alone; different voices
    differ, and a voice at another rate is much nearer to itself than to another voice.

    Args:
        encoder: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    dim = encoder.dim
    demand(isinstance(dim, int) and dim > 0, f"dim must be a positive number, got {dim!r}")
    voice = voice_like(1.5, 16000, 0)
    before = voice.samples.clone()
    with torch.no_grad():
        mine = _embed(encoder, voice)
        demand(torch.equal(voice.samples, before), "embed must not change the samples it reads")
        other = _embed(encoder, voice_like(1.5, 16000, 6))
        _embed(encoder, voice_like(0.7, 8000, 3))
        demand(
            torch.equal(_embed(encoder, voice), mine),
            "embedding the same recording twice must give the same embedding",
        )
        far = float((mine - other).norm())
        demand(far > 0, "recordings of different voices must have different embeddings")
        near = float((mine - _embed(encoder, voice.resample(48000))).norm())
        demand(
            near < far / _NEARER,
            f"a voice at 48000 Hz must be {_NEARER} times nearer to itself at 16000 Hz than to "
            f"another voice, but the distances are {near:.3g} and {far:.3g}",
        )


def _embed(encoder: SpeakerEncoder, audio: Audio) -> Tensor:
    embedding = encoder.embed(audio)
    demand(
        isinstance(embedding, Tensor)
        and tuple(embedding.shape) == (encoder.dim,)
        and embedding.dtype == torch.float32,
        f"embed must return float32 of shape ({encoder.dim},), got "
        f"{getattr(embedding, 'dtype', type(embedding))} "
        f"of shape {tuple(getattr(embedding, 'shape', ()))}",
    )
    demand(bool(embedding.isfinite().all()), "embeddings must be finite")
    return embedding
