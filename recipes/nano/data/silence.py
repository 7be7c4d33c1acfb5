"""Stage: recordings without their silence, and with more of it, for silence trimming.

The trimmed recording is what the editor shall say: its ends are short and its pauses are no longer
than a comma's (paper, extensions: speech found by activity detection, joined). What it hears is
either the recording as it was, if much was taken out, or the trimmed one with long pauses put in.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.pauses import levels, pauses
from recipes.nano.data.splice import background, joined
from recipes.nano.data.timeline import moved
from recipes.nano.data.world import RATE

__all__ = ["lengthened", "silence_one", "trimmed"]

Array = npt.NDArray[np.float32]

#: Seconds left beside the words on both sides of a cut (weak consonants reach into a pause), the
#: shortest pause looked at, and the least that is worth a cut.
MARGIN, SHORTEST, WORTH = 0.15, 0.15, 0.1
#: A recording of which less is taken out is no example of trimming.
LEAST_REMOVED = 0.4
#: Seconds put into a pause and to each end.
INTO_PAUSE, TO_END = (0.4, 1.2), (0.2, 1.0)
#: What is so near to an end of the recording belongs to it; and a shorter rest is no speech.
EDGE, LEAST_LEFT = 0.03, 0.5


def trimmed(samples: Array) -> tuple[Array, list[list[float]]]:
    """A recording without its long pauses.

    Args:
        samples: ``[S]`` at 16 kHz.

    Returns:
        The shorter recording, and ``[before, after]`` seconds of the moments where it was cut.
    """
    seconds = len(samples) / RATE
    out, kept, times = np.zeros(0, np.float32), 0.0, [[0.0, 0.0]]
    for start, end in pauses(levels(samples), SHORTEST):
        cut = 0.0 if start < EDGE else start + MARGIN
        back = seconds if end > seconds - EDGE else end - MARGIN
        if back - cut >= WORTH:
            out = joined(out, samples[round(kept * RATE) : round(cut * RATE)])
            times += [[cut, len(out) / RATE], [back, len(out) / RATE]]
            kept = back
    out = joined(out, samples[round(kept * RATE) :])
    return out, _rounded([*times, [seconds, len(out) / RATE]])


def lengthened(samples: Array, rng: random.Random) -> tuple[Array, list[list[float]]]:
    """A recording with longer pauses where there is one, and at both ends.

    Args:
        samples: ``[S]`` at 16 kHz.
        rng: how much longer.

    Returns:
        The longer recording, and ``[before, after]`` seconds of the moments around what was put in.
    """
    seconds = len(samples) / RATE

    def quiet(span: tuple[float, float]) -> Array:
        return background(samples, round(rng.uniform(*span) * RATE), rng)

    inner = [
        (a + b) / 2 for a, b in pauses(levels(samples), SHORTEST) if a > EDGE and b < seconds - EDGE
    ]
    out = quiet(TO_END)
    times = [[0.0, 0.0]]
    for begin, end in zip([0.0, *inner], [*inner, seconds], strict=True):
        times.append([begin, len(out) / RATE])
        out = joined(out, samples[round(begin * RATE) : round(end * RATE)])
        times.append([end, len(out) / RATE])
        out = joined(out, quiet(INTO_PAUSE if end < seconds else TO_END))
    return out, _rounded([*times, [seconds, len(out) / RATE]])


def silence_one(source: Utterance, out: Path, share: float, seed: int) -> list[Utterance]:
    """Trim one recording and lengthen its pauses, or a share of all recordings.

    Args:
        source: the recording.
        out: folder of the stage.
        share: of the recordings that are taken.
        seed: of everything drawn.

    Returns:
        A row ``trimmed`` if something was worth removing, and one ``paused`` made from it or from
        the recording itself; nothing for a recording that is not taken or hardly says anything.
    """
    rng = random.Random(zlib.crc32(f"{seed}{source.id}".encode()))
    if rng.random() >= share:
        return []
    samples = read_audio(source.path, RATE)
    short, times = trimmed(samples)
    if len(short) < LEAST_LEFT * RATE:
        return []
    rows, base = [], source
    if (len(samples) - len(short)) / RATE >= LEAST_REMOVED:
        base = _row(source, "trimmed", times, out)
        write_audio(base.path, short, RATE)
        rows.append(base)
        samples = short
    long, times = lengthened(samples, rng)
    rows.append(_row(base, "paused", times, out))
    write_audio(rows[-1].path, long, RATE)
    return rows


def _row(source: Utterance, change: str, times: list[list[float]], out: Path) -> Utterance:
    labels: dict[str, Any] = (source.labels or {}) | {"times": times}
    if "phones" in labels:
        labels["phones"] = moved(labels["phones"], times)
    name = f"{source.id}-{change}"
    return replace(
        source, id=name, path=str(out / "audio" / f"{name}.flac"), labels=labels, change=change,
        source=source.id, made="rule",
    )  # fmt: skip


def _rounded(times: list[list[float]]) -> list[list[float]]:
    return [[round(a, 4), round(b, 4)] for a, b in times]
