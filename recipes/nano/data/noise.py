"""Stage: recordings with noise and a room, as heard before denoising.

The changed recording is what the editor hears and the untouched one what it shall say. Noises are
those of the corpus, other people talking, and coloured noise, at a ratio from a short list, so that
results can be told per ratio; half of the recordings also stand in a room (paper, extensions:
additive noise and simulated reverberation).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.pauses import loudness
from recipes.nano.data.timeline import even
from recipes.nano.data.world import RATE

__all__ = ["SNRS", "Room", "at_snr", "coloured", "noisy_one"]

Array = npt.NDArray[np.float32]

#: dB by which the speech (the louder half of it) is above the noise.
SNRS = (0, 5, 10, 15, 20)
#: How often there is a room, how often noise is made or speech of others, and how many others.
ROOM_SHARE, COLOURED_SHARE, BABBLE_SHARE, BABBLE = 0.5, 0.25, 0.15, 4
#: Seconds in which a room dies away by 60 dB, and dB of the direct sound above the reverberation.
RT60, DIRECT_DB = (0.15, 0.6), (2.0, 14.0)


@dataclass(frozen=True)
class Room:
    """A room: seconds to die away by 60 dB, and dB of the direct sound above all the rest."""

    rt60: float
    direct_db: float

    def response(self, generator: np.random.Generator) -> Array:
        """Impulse response at 16 kHz: the direct sound, 2 ms of nothing, decaying noise."""
        time = np.arange(1, round(self.rt60 * RATE)) / RATE
        tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / self.rt60)
        tail[time < 0.002] = 0.0
        tail *= 10 ** (-self.direct_db / 20) / np.sqrt(np.sum(tail**2))
        return np.concatenate([[1.0], tail]).astype(np.float32)


def coloured(length: int, slope_db: float, generator: np.random.Generator) -> Array:
    """Noise whose power falls by so many dB per octave, ``[length]``; 0: white, 3: pink."""
    spectrum = np.fft.rfft(generator.standard_normal(length))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0) / 1000.0)
    made: Array = np.fft.irfft(spectrum * 10 ** (-slope_db * octaves / 20), length).astype(
        np.float32
    )
    return made


def at_snr(speech: Array, noise: Array, snr_db: float) -> Array:
    """Speech with noise, the louder half of the speech so many dB above it."""
    gain = loudness(speech) * 10 ** (-snr_db / 20) / (np.sqrt(np.mean(noise**2)) + 1e-9)
    noisy: Array = (speech + noise * gain).astype(np.float32)
    return noisy


def noisy_one(
    source: Utterance, out: Path, share: float, noises: Sequence[Utterance],
    voices: Sequence[Utterance], seed: int,
) -> list[Utterance]:  # fmt: skip
    """Put one recording into noise, or a share of all recordings.

    Args:
        source: the clean recording.
        out: folder of the stage.
        share: of the recordings that are taken; beyond 1, several times.
        noises: recordings without words.
        voices: recordings of people; some of them talk at the same time.
        seed: of everything drawn.

    Returns:
        The rows, whose ``labels.noise`` tells what was added.
    """
    rng = random.Random(zlib.crc32(f"{seed}{source.id}".encode()))
    count = int(share) + (rng.random() < share % 1)
    if not count:
        return []
    clean, rows = read_audio(source.path, RATE), []
    for number in range(count):
        generator = np.random.default_rng(rng.randrange(2**31))
        noise, said = _noise(len(clean), rng, generator, noises, voices, source.speaker)
        sound, said["snr_db"] = clean, rng.choice(SNRS)
        if rng.random() < ROOM_SHARE:
            room = Room(round(rng.uniform(*RT60), 2), round(rng.uniform(*DIRECT_DB), 1))
            sound = fftconvolve(clean, room.response(generator))[: len(clean)].astype(np.float32)
            said |= {"rt60_s": room.rt60, "direct_db": room.direct_db}
        name = f"{source.id}-noisy{number or ''}"
        path = out / "audio" / f"{name}.flac"
        write_audio(path, at_snr(sound, noise, said["snr_db"]), RATE)
        labels = (source.labels or {}) | {"times": even(len(clean) / RATE), "noise": said}
        rows.append(
            replace(
                source, id=name, path=str(path), labels=labels, change="noisy", source=source.id,
                made="rule",
            )
        )  # fmt: skip
    return rows


def _noise(
    length: int, rng: random.Random, generator: np.random.Generator, noises: Sequence[Utterance],
    voices: Sequence[Utterance], speaker: str,
) -> tuple[Array, dict[str, Any]]:  # fmt: skip
    draw = rng.random()
    others = [voice for voice in voices if voice.speaker != speaker]
    if draw < COLOURED_SHARE or not (noises or others):
        slope = round(rng.uniform(0, 6), 1)
        return coloured(length, slope, generator), {"kind": "made", "db_per_octave": slope}
    if (draw < COLOURED_SHARE + BABBLE_SHARE and others) or not noises:
        chosen, kind = [rng.choice(others) for _ in range(BABBLE)], "people talking"
    else:
        chosen, kind = [rng.choice(noises)], "recording"
    total = np.zeros(length, np.float32)
    for row in chosen:
        found = read_audio(row.path, RATE)
        found = np.resize(np.roll(found, rng.randrange(len(found))), length)
        total += found / (loudness(found) + 1e-6)
    licences = sorted({row.licence for row in chosen})
    return total, {"kind": kind, "from": [r.id for r in chosen], "licences": licences}
