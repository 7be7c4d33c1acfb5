"""Voices that nobody spoke: harmonics of a pitch that may move, through resonances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.signal import lfilter

from stepaudio.audio import Audio

#: Resonances of a vowel, Hz, of bandwidth 90 Hz.
FORMANTS = (650.0, 1450.0, 2500.0, 3500.0, 4600.0)
_BANDWIDTH = 90.0


def buzz(hz: torch.Tensor | float, seconds: float, rate: int) -> Audio:
    """Ten harmonics of a (moving) fundamental."""
    count = round(seconds * rate)
    phase = 2 * math.pi * torch.cumsum(torch.as_tensor(hz).double().expand(count) / rate, 0)
    return Audio(sum((k * phase).sin() / k for k in range(1, 11)) * 0.2, rate)


def vowel(
    hz: ArrayLike,
    seconds: float = 1.0,
    rate: int = 16000,
    formants: Sequence[float] = FORMANTS,
    height: float = 0.5,
) -> Audio:
    """As many harmonics of a (moving) fundamental as there is room for, through resonances."""
    count = round(seconds * rate)
    course = np.broadcast_to(np.asarray(hz, dtype=np.float64), count)
    phase = 2 * np.pi * np.cumsum(course) / rate
    # Phases of a chirp: harmonics that begin together make a click of every period.
    harmonics = range(1, int(0.45 * rate / course.max()) + 1)
    sound = sum(np.sin(k * phase + k * k) for k in harmonics)
    for formant in formants:
        if formant < 0.45 * rate:
            radius = math.exp(-math.pi * _BANDWIDTH / rate)
            turn = 2 * radius * math.cos(2 * math.pi * formant / rate)
            sound = lfilter([1 - radius], [1, -turn, radius**2], sound)
    return Audio(torch.from_numpy(height * sound / np.abs(sound).max()), rate)


def swinging(hz: float, semitones: float, seconds: float = 2.0, rate: int = 16000) -> Audio:
    """A vowel whose pitch swings around a middle, once a second."""
    time = np.arange(round(seconds * rate)) / rate
    return vowel(hz * 2 ** (semitones / 12 * np.sin(2 * np.pi * time)), seconds, rate)
