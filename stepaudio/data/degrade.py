"""What recordings suffer from: noise and rooms, for denoise pairs (EditX, extensions)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from stepaudio.audio import Audio

__all__ = ["add_noise", "reverberate", "room"]

_LOUDEST = 0.99


def add_noise(audio: Audio, noise: Audio, snr_db: float, *, start: int = 0) -> Audio:
    """Lay a noise under a recording.

    Args:
        audio: the recording.
        noise: repeated if it is shorter; resampled if need be.
        snr_db: power of the recording over that of the noise, dB.
        start: sample of the noise to begin with.

    Returns:
        As long; scaled down if it would clip.
    """
    clean = audio.samples.numpy().astype(np.float64)
    other = noise.resample(audio.sample_rate).samples.numpy().astype(np.float64)
    other = np.resize(np.roll(other, -start), len(clean))
    power = np.mean(other**2)
    scale = np.sqrt(np.mean(clean**2) / power) * 10 ** (-snr_db / 20) if power else 0.0
    return _audio(clean + scale * other, audio.sample_rate)


def room(
    rng: np.random.Generator, *, rt60: float, wet: float, sample_rate: int
) -> NDArray[np.float64]:
    """The answer of a simple room: the direct sound and a decaying noise.

    Args:
        rng: source of randomness.
        rt60: time in which the echo falls by 60 dB, seconds.
        wet: energy of the echo over that of the direct sound.
        sample_rate: Hz.

    Returns:
        ``[round(rt60 * sample_rate) + 1]``, the direct sound first with height 1.
    """
    time = np.arange(1, round(rt60 * sample_rate) + 1) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail *= np.sqrt(wet / np.sum(tail**2))
    return np.concatenate([[1.0], tail])


def reverberate(audio: Audio, response: NDArray[np.float64]) -> Audio:
    """Put a recording into a room.

    Args:
        audio: the recording.
        response: of the room, at the same rate.

    Returns:
        As long; scaled down if it would clip.
    """
    wet = fftconvolve(audio.samples.numpy().astype(np.float64), response)[: len(audio)]
    return _audio(wet, audio.sample_rate)


def _audio(samples: NDArray[np.float64], sample_rate: int) -> Audio:
    peak = float(np.abs(samples).max())
    if peak > _LOUDEST:
        samples = samples * (_LOUDEST / peak)
    return Audio(torch.from_numpy(samples.astype(np.float32)), sample_rate)
