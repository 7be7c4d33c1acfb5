"""Small recordings that the checks of parts that hear are made with."""

from __future__ import annotations

import math

import torch

from stepaudio.audio import Audio
from stepaudio.testing.rules import seeded

__all__ = ["hiss", "voice_like"]


def voice_like(seconds: float, rate: int, seed: int) -> Audio:
    """Gliding harmonics and a little noise: loud throughout, so that nothing is trimmed.

    Args:
        seconds: how long, at least one sample.
        rate: Hz.
        seed: of the noise; the pitch rises with it.

    Returns:
        The recording.
    """
    time = torch.arange(max(1, round(seconds * rate)), dtype=torch.float64) / rate
    pitch = 120.0 + 15.0 * seed
    phase = 2 * math.pi * (pitch * time + 20.0 * torch.sin(2 * math.pi * 1.3 * time) / 8.0)
    tone = sum(torch.sin(k * phase) / k for k in range(1, 12))
    noise = torch.randn(len(time), generator=seeded(seed)[0], dtype=torch.float64)
    return Audio((0.15 * tone + 0.01 * noise).float(), rate)


def hiss(seconds: float, rate: int, seed: int) -> Audio:
    """White noise, which no ear takes for :func:`voice_like`.

    Args:
        seconds: how long.
        rate: Hz.
        seed: of the noise.

    Returns:
        The recording.
    """
    noise = torch.randn(round(seconds * rate), generator=seeded(seed)[0])
    return Audio(0.1 * noise, rate)
