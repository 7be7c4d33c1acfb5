"""What happens to sound on its way, drawn at random: rooms, noise, bands, codecs.

Recordings and made sound go through the same, and a copy through the very same as its recording.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
from scipy import signal

from benchmarks.distortions import Samples
from stepaudio.data.degrade import room

__all__ = ["RATE", "altered"]

#: Hz.
RATE = 16000

# Of codecs, the share of each: none, Opus, MP3, a narrower band.
_WAYS, _SHARES = ("none", "opus", "mp3", "band"), (0.35, 0.25, 0.2, 0.2)
_ROOM, _NOISE = 0.2, 0.5


def altered(sound: Samples, rng: np.random.Generator) -> Samples:
    """Draw a way and send sound along it.

    Args:
        sound: ``[S]`` at 16 kHz.
        rng: draws the way; the same numbers give the same one.

    Returns:
        ``[S]``, not delayed.
    """
    way = str(rng.choice(_WAYS, p=_SHARES))
    rt60, wet, snr_db, colour, amount = rng.random(5)
    in_room, noisy = rng.random(2) < (_ROOM, _NOISE)
    if in_room:
        response = room(rng, rt60=0.1 + 0.4 * rt60, wet=0.1 + 0.4 * wet, sample_rate=RATE)
        sound = signal.fftconvolve(sound, response)[: len(sound)]
    if noisy:
        hiss = rng.standard_normal(len(sound))
        # From white to steeply falling with frequency.
        hiss = signal.lfilter([1.0], [1.0, -0.95 * colour], hiss)
        level = np.sqrt(np.mean(sound**2) / np.mean(hiss**2)) * 10 ** (-(10 + 30 * snr_db) / 20)
        sound = sound + level * hiss
    sound = sound * min(1.0, 0.99 / max(float(np.abs(sound).max()), 1e-9))
    if way == "opus":
        return _coded(sound, "OGG", "OPUS", _level(12 + 36 * amount, 6, 256))
    if way == "mp3":
        return _coded(sound, "MP3", "MPEG_LAYER_III", _level(24 + 40 * amount, 8, 160))
    if way == "band":
        low = signal.butter(8, 4000 + 3500 * amount, fs=RATE, output="sos")
        sound = signal.sosfiltfilt(low, sound)
    return sound


def _level(kbits: float, least: float, most: float) -> float:
    """What libsndfile calls a bit rate."""
    return 1 - (kbits - least) / (most - least)


def _coded(sound: Samples, form: str, subtype: str, level: float) -> Samples:
    memory = io.BytesIO()
    mode = "CONSTANT" if form == "MP3" else None
    soundfile.write(
        memory, sound, RATE, subtype, format=form, compression_level=level, bitrate_mode=mode
    )
    memory.seek(0)
    coded: Samples = soundfile.read(memory)[0]
    return np.pad(coded, (0, max(0, len(sound) - len(coded))))[: len(sound)]
