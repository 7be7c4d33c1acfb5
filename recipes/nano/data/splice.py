"""Recordings joined with cross-fades, and quiet that sounds like the room."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from recipes.nano.data.world import RATE

__all__ = ["FADE", "background", "joined"]

#: Seconds of a cross-fade.
FADE = 0.01

Array = npt.NDArray[np.float32]


def joined(a: Array, b: Array) -> Array:
    """Two recordings one after the other; the last 10 ms of one fade into the first of the other.

    Args:
        a: ``[S]``.
        b: ``[U]``.

    Returns:
        ``[S + U - fade]``.
    """
    fade = min(round(FADE * RATE), len(a), len(b))
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    overlap = a[len(a) - fade :] * (1 - ramp) + b[:fade] * ramp
    return np.concatenate([a[: len(a) - fade], overlap, b[fade:]])


def background(samples: Array, length: int, rng: random.Random) -> Array:
    """Noise as loud as the quietest twentieth of a recording, ``[length]``."""
    floor = float(np.percentile(np.abs(samples), 5)) if len(samples) else 0.0
    noise = np.random.default_rng(rng.randrange(2**31)).standard_normal(length)
    return (noise * floor).astype(np.float32)
