"""What happens to recordings on their way: codecs, telephones, rooms, players.

Each function takes ``[S]`` samples at :data:`RATE` and a random generator, and returns samples at
the same rate.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

Samples: TypeAlias = NDArray[np.float64]
Distortion: TypeAlias = Callable[[Samples, np.random.Generator], Samples]

#: Hz.
RATE = 24000

# libsndfile turns a compression level into a bit rate: for Opus from 256 (0) to 6 kbit/s (1), for
# MP3 at this sample rate to the nearest of the rates between 160 and 8 kbit/s.
_OPUS_16K = 1 - (16 - 6) / (256 - 6)
_MP3_64K = 1 - (64 - 8) / (160 - 8)


def _coded(sound: Samples, form: str, subtype: str, level: float, mode: str | None) -> Samples:
    memory = io.BytesIO()
    clipped = np.clip(sound, -1, 1)
    soundfile.write(
        memory,
        clipped,
        RATE,
        format=form,
        subtype=subtype,
        compression_level=level,
        bitrate_mode=mode,
    )
    memory.seek(0)
    decoded, rate = soundfile.read(memory)
    return decoded if rate == RATE else soxr.resample(decoded, rate, RATE)


def opus(sound: Samples, rng: np.random.Generator) -> Samples:
    """Opus at 16 kbit/s."""
    return _coded(sound, "OGG", "OPUS", _OPUS_16K, None)


def mp3(sound: Samples, rng: np.random.Generator) -> Samples:
    """MP3 at 64 kbit/s."""
    return _coded(sound, "MP3", "MPEG_LAYER_III", _MP3_64K, "CONSTANT")


def telephone(sound: Samples, rng: np.random.Generator) -> Samples:
    """300 to 3400 Hz at 8 kHz, 8-bit mu-law."""
    band = signal.butter(6, [300, 3400], "bandpass", fs=8000, output="sos")
    narrow = np.clip(signal.sosfilt(band, soxr.resample(sound, RATE, 8000)), -1, 1)
    pressed = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    opened = np.sign(pressed) * np.expm1(np.abs(pressed) * np.log(256)) / 255
    return soxr.resample(opened, 8000, RATE)


def resampled(sound: Samples, rng: np.random.Generator) -> Samples:
    """To 16 kHz, to 44.1 kHz and back."""
    return soxr.resample(
        soxr.resample(soxr.resample(sound, RATE, 16000), 16000, 44100), 44100, RATE
    )


def louder(sound: Samples, rng: np.random.Generator) -> Samples:
    """3 dB more, stored as 16 bit."""
    return np.round(np.clip(sound * 10 ** (3 / 20), -1, 1) * 32767) / 32767


def softer(sound: Samples, rng: np.random.Generator) -> Samples:
    """3 dB less, stored as 16 bit."""
    return np.round(np.clip(sound * 10 ** (-3 / 20), -1, 1) * 32767) / 32767


def noisy(sound: Samples, rng: np.random.Generator) -> Samples:
    """White noise 20 dB below the sound."""
    return sound + rng.standard_normal(len(sound)) * np.sqrt(np.mean(sound**2)) * 10 ** (-20 / 20)


def reverberant(sound: Samples, rng: np.random.Generator) -> Samples:
    """A room of 0.4 s reverberation time, direct sound 3 dB above the rest."""
    time = np.arange(int(0.4 * RATE)) / RATE
    room = rng.standard_normal(len(time)) * 10 ** (-3 * time / 0.4)
    room *= np.sqrt(0.5 / np.sum(room**2))
    room[0] += 1
    return signal.fftconvolve(sound, room)[: len(sound)]


def trimmed(sound: Samples, rng: np.random.Generator) -> Samples:
    """A random tenth of the length cut off at the beginning, and as much at the end."""
    start, end = rng.integers(0, len(sound) // 10, 2)
    return sound[start : len(sound) - end]


def faster(sound: Samples, rng: np.random.Generator) -> Samples:
    """5 % faster and higher."""
    return soxr.resample(sound, RATE * 1.05, RATE)


def slower(sound: Samples, rng: np.random.Generator) -> Samples:
    """5 % slower and lower."""
    return soxr.resample(sound, RATE * 0.95, RATE)


def posted(sound: Samples, rng: np.random.Generator) -> Samples:
    """Trimmed, 2 % faster, then Opus at 16 kbit/s."""
    return opus(soxr.resample(trimmed(sound, rng), RATE * 1.02, RATE), rng)


def stretched(sound: Samples, rng: np.random.Generator) -> Samples:
    """5 % longer at the same pitch: overlapping pieces of 40 ms, laid where they fit best."""
    size, hop, reach = int(0.04 * RATE), int(0.02 * RATE), int(0.005 * RATE)
    window = np.hanning(size)
    longer = np.zeros(int(len(sound) * 1.05) + size)
    source = np.pad(sound, (reach, size + 2 * reach))
    follows = source[:size]
    for start in range(0, len(longer) - size, hop):
        near = source[int(start / 1.05) : int(start / 1.05) + size + 2 * reach]
        if len(near) < size + 2 * reach:
            break
        best = int(np.correlate(near, follows).argmax())
        longer[start : start + size] += near[best : best + size] * window
        begin = int(start / 1.05) + best + hop
        follows = source[begin : begin + size]
        if len(follows) < size:
            break
    return longer[: int(len(sound) * 1.05)]


#: By the name that the tables use.
DISTORTIONS: dict[str, Distortion] = {
    "nothing": lambda sound, rng: sound,
    "Opus 16 kbit/s": opus,
    "MP3 64 kbit/s": mp3,
    "telephone, 8 kHz": telephone,
    "resampled twice": resampled,
    "+3 dB, 16 bit": louder,
    "-3 dB, 16 bit": softer,
    "noise, 20 dB": noisy,
    "reverberation, 0.4 s": reverberant,
    "trimmed": trimmed,
    "5 % faster": faster,
    "5 % slower": slower,
    "trimmed, 2 % faster, Opus": posted,
    "5 % longer, same pitch": stretched,
}
