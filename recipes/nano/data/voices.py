"""Stage: every recording once more as somebody with another head.

Played slower or faster by a tenth or two, a recording is a person with a longer or shorter vocal
tract and another pitch: what the language model learns of the few hundred people of a corpus, it
then knows of twice as many (speed perturbation, Ko et al. 2015). The copies are new speakers: every
later stage edits them like anybody.
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import replace
from pathlib import Path

import soxr

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.world import RATE

__all__ = ["other_head", "other_voice"]

#: How far from one the speed is, as a logarithm: less is the same person, more is a cartoon.
NEAREST, FARTHEST = 0.08, 0.18


def other_head(speaker: str, seed: int) -> float:
    """Factor on speed, pitch and formants of a speaker, the same for all of their recordings."""
    rng = random.Random(zlib.crc32(f"{seed}{speaker}".encode()))
    return math.exp(rng.choice((-1, 1)) * rng.uniform(NEAREST, FARTHEST))


def other_voice(source: Utterance, out: Path, seed: int) -> list[Utterance]:
    """One recording as the other voice of its speaker says it.

    Args:
        source: unchanged.
        out: folder of the stage.
        seed: of the factor.

    Returns:
        The one row.
    """
    factor = other_head(source.speaker, seed)
    mark = f"~{round(100 * factor)}"
    path = out / "audio" / f"{source.id}{mark}.flac"
    samples = read_audio(source.path, RATE)
    write_audio(path, soxr.resample(samples, RATE * factor, RATE), RATE)
    labels = dict(source.labels or {})
    if "phones" in labels:
        labels["phones"] = [[p, round(s / factor, 4)] for p, s in labels["phones"]]
    return [
        replace(
            source, id=source.id + mark, path=str(path), speaker=source.speaker + mark,
            labels=labels or None, made="rule",
        )
    ]  # fmt: skip
