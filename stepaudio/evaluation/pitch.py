"""Trackers of the fundamental frequency: WORLD's, or the library's own where it is missing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

import stepaudio
from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError
from stepaudio.evaluation.contracts import ModelId
from stepaudio.evaluation.extras import need, package_version
from stepaudio.evaluation.frames import HOP, RATE, signal
from stepaudio.plotting import track_pitch

__all__ = ["AutocorrelationPitch", "PitchTracker", "WorldPitch", "best_pitch"]

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
        """Named as what it is, so that nobody takes it for WORLD's."""
        return ModelId("stepaudio/autocorrelation (fallback)", stepaudio.__version__)

    def track(self, audio: Audio) -> NDArray[np.float64]:
        """``[T]`` Hz every 10 ms, NaN where there is no voice."""
        return track_pitch(audio, hop=HOP).double().numpy()


def best_pitch() -> PitchTracker:
    """WORLD's tracker if pyworld is installed, the library's own if not."""
    try:
        return WorldPitch()
    except MissingExtraError:
        return AutocorrelationPitch()
