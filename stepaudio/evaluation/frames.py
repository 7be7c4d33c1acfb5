"""Loudness frame by frame: the common ground of prosody, silence and smoothness.

Frames are 25 ms long and 10 ms apart at 16 kHz; frame ``t`` is centred at ``t * 0.01`` s, and a
recording of ``S`` samples has ``S // 160 + 1`` of them, as many as the F0 trackers give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepaudio.audio import Audio

__all__ = ["HOP", "RATE", "frame_levels", "framed", "loud_frames", "signal"]

RATE = 16000
HOP = 160
_WINDOW = 400
#: Below this nothing counts as sound, dB re full scale.
_FLOOR_DB = -70.0
#: Loud: at most so far below the 95th percentile of the levels, dB.
_LOUD_DB = 20.0


def signal(audio: Audio) -> NDArray[np.float64]:
    """``[S]`` samples at 16 kHz without their mean."""
    samples = audio.resample(RATE).samples.numpy().astype(np.float64)
    centred: NDArray[np.float64] = samples - samples.mean()
    return centred


def framed(samples: NDArray[np.float64], *, hop: int = HOP) -> NDArray[np.float64]:
    """Cut into centred frames.

    Args:
        samples: ``[S]`` at 16 kHz.
        hop: distance of the frames, samples.

    Returns:
        ``[S // hop + 1, 400]``, zeros outside the recording; a view that must not be written.
    """
    half = _WINDOW // 2
    padded = np.pad(samples, (half, half))
    return np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]


def frame_levels(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level of every frame.

    Args:
        samples: ``[S]`` at 16 kHz, see :func:`signal`.

    Returns:
        ``[T]`` dB re a full-scale square wave; -120 in digital silence.
    """
    power = np.square(framed(samples)).mean(-1)
    levels: NDArray[np.float64] = 10 * np.log10(power + 1e-12)
    return levels


def loud_frames(
    levels: NDArray[np.float64], *, within: float = _LOUD_DB, floor: float = _FLOOR_DB
) -> NDArray[np.bool_]:
    """Frames that carry the voice rather than pauses.

    Args:
        levels: ``[T]`` dB.
        within: distance from the 95th percentile, dB, up to which a frame is loud.
        floor: dB below which nothing is loud.

    Returns:
        ``[T]`` bool.
    """
    loud: NDArray[np.bool_] = levels > max(float(np.percentile(levels, 95)) - within, floor)
    return loud
