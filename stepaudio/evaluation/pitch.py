"""Trackers of the fundamental frequency: the library's own, and WORLD's for comparison.

The library's own is the default everywhere, installed packages or not: numbers of two machines
compare, and WORLD's DIO loses the voice of recordings that went through a speech codec.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

import stepaudio
from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import ModelId
from stepaudio.evaluation.extras import need, package_version
from stepaudio.evaluation.frames import HOP, RATE, signal
from stepaudio.pitch_track import track_pitch

__all__ = ["AutocorrelationPitch", "PitchTracker", "WorldPitch"]

_LOWEST_HZ, _HIGHEST_HZ = 65.0, 600.0


@runtime_checkable
class PitchTracker(Protocol):
    """Something that follows the melody of a voice."""

    @property
    def model(self) -> ModelId:
        """What tracks."""

    def track(self, audio: Audio) -> NDArray[np.float64]:
        """``[T]`` Hz every 10 ms, NaN where there is no voice; ``T = S // 160 + 1``."""


class WorldPitch:
    """DIO refined by StoneMask (Morise et al. 2009, 2016) between 65 and 600 Hz, through pyworld.

    Unreliable on recordings that went through Opus or another speech codec; for clean ones.

    Raises:
        MissingExtraError: pyworld is not installed.
    """

    def __init__(self) -> None:
        self._package = need("pyworld", "pitch by WORLD")

    @property
    def model(self) -> ModelId:
        """Package and version."""
        return ModelId("pyworld/dio+stonemask", package_version("pyworld"))

    def track(self, audio: Audio) -> NDArray[np.float64]:
        """``[T]`` Hz every 10 ms, NaN where there is no voice."""
        samples = signal(audio)
        f0, times = self._package.dio(
            samples, RATE, f0_floor=_LOWEST_HZ, f0_ceil=_HIGHEST_HZ, frame_period=1000 * HOP / RATE
        )
        f0 = np.asarray(self._package.stonemask(samples, f0, times, RATE), dtype=np.float64)
        out = np.full(len(samples) // HOP + 1, np.nan)
        count = min(len(out), len(f0))
        out[:count] = np.where(f0[:count] > 0, f0[:count], np.nan)
        return out


class AutocorrelationPitch:
    """The estimator behind this library's pictures, 65 to 500 Hz; needs no extra package."""

    @property
    def model(self) -> ModelId:
        """The tracker and the version of the library."""
        return ModelId("stepaudio/autocorrelation", stepaudio.__version__)

    def track(self, audio: Audio) -> NDArray[np.float64]:
        """``[T]`` Hz every 10 ms, NaN where there is no voice."""
        f0: NDArray[np.float64] = track_pitch(audio, hop=HOP).double().numpy()
        # A peak without a bend is interpolated to anywhere, even below zero.
        return np.where((f0 >= _LOWEST_HZ * 0.9) & (f0 <= _HIGHEST_HZ), f0, np.nan)
