"""Add the built-in watermark to sound, piece by piece as it comes.

Every frame of 20 ms is looked at once: the mark is laid under its spectrum, below the level around
each band, where the sound masks it, and in time within the frame. How far below is told by how flat
the spectrum is there: noise hides noise at a few decibels less than itself, a tone only at far less
(Johnston 1988, "Transform coding of audio signals using perceptual noise criteria"). What is silent
stays silent. Frames are computed one by one, so that the pieces in which the sound arrives cannot
change a single sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepaudio.safety.watermark import WatermarkStream
from stepaudio.safety.watermark_code import encode
from stepaudio.safety.watermark_pattern import (
    BAND_HZ,
    BANDS,
    FIRST_BAND,
    FRAME_RATE,
    FRAMES,
    make_pattern,
    sine_window,
)

__all__ = ["SpreadStream"]

# The level around a band is the mean of the square roots of this many magnitudes, squared: of all
# that were tried it hides most of the mark (PESQ). Single strong tones raise it little, and the
# mark between two harmonics, where it is found again, is as strong as on them.
_AROUND = 15

# That mean over the plain one is 1 where the spectrum is flat, 0.93 in noise, and less the more it
# is made of single tones. The power of it was chosen by measurement among 0 to 8. Against 0, a
# vocoder's sound has half as much evidence again, recordings a tenth more, and PESQ is higher.
_FLATNESS = 4


class SpreadStream(WatermarkStream):
    """Marks one recording; what goes in comes out 20 ms later.

    Args:
        key: of the pattern.
        payload: 32 bits.
        sample_rate: of the sound, Hz, at least 8000.
        strength: magnitude of the mark over the level around it where the spectrum is flat.
        spans: seconds from the beginning to mark; None marks everything.
    """

    def __init__(
        self,
        key: str,
        payload: int,
        sample_rate: int,
        strength: float,
        spans: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        # Bands above half the rate do not exist; the rest of the pattern is the same.
        self._bands = min(BANDS, math.ceil(sample_rate / 2 / BAND_HZ) - FIRST_BAND)
        self._cells = strength * make_pattern(key).signed(encode(payload))[:, : self._bands]
        self._rate = sample_rate
        self._length = round(sample_rate / BAND_HZ)
        self._spans = spans
        self._frame = 0
        # A frame begins half its length before the sound does: its tail is the sound's first.
        self._begin = self._start_of(0)
        self._sound = np.zeros(-self._begin, dtype=np.float32)
        self._mark = np.zeros(self._length, dtype=np.float64)
        self._told = -self._begin  # samples before the recording, which nobody hears

    def push(self, samples: Tensor) -> Tensor:
        """See :meth:`WatermarkStream.push`."""
        new = samples.detach().to("cpu", torch.float32).numpy()
        self._sound = np.concatenate([self._sound, new])
        return torch.from_numpy(self._advance(len(self._sound)))

    def finish(self) -> Tensor:
        """See :meth:`WatermarkStream.finish`."""
        rest = len(self._sound) - self._told
        self._sound = np.concatenate([self._sound, np.zeros(2 * self._length, dtype=np.float32)])
        marked = self._advance(len(self._sound))[:rest]
        self._sound = np.zeros(0, dtype=np.float32)
        return torch.from_numpy(marked)

    def _start_of(self, frame: int) -> int:
        """First sample of a frame; frame 0 is centred on the first sample of the recording."""
        return round((frame - 1) * self._rate / FRAME_RATE)

    def _advance(self, available: int) -> NDArray[np.float32]:
        """Mark all whole frames and give away what no later frame will touch."""
        done: list[NDArray[np.float32]] = []
        at = 0
        while at + self._length <= available:
            self._mark += self._mark_of(self._sound[at : at + self._length].astype(np.float64))
            self._frame += 1
            step = self._start_of(self._frame) - self._start_of(self._frame - 1)
            done.append((self._sound[at : at + step] + self._mark[:step]).astype(np.float32))
            self._mark = np.concatenate([self._mark[step:], np.zeros(step)])
            at += step
        self._sound = self._sound[at:]
        marked = np.concatenate(done) if done else np.zeros(0, dtype=np.float32)
        unheard = min(self._told, len(marked))
        self._told -= unheard
        return marked[unheard:]

    def _mark_of(self, sound: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mark of one frame."""
        if not self._wanted() or not sound.any():
            return np.zeros(self._length)
        window = sine_window(self._length)
        magnitude = np.abs(np.fft.rfft(sound * window))
        level = _around(np.sqrt(magnitude)) ** 2
        flatness = level / np.maximum(_around(magnitude), 1e-12)
        level *= np.minimum(flatness, 1.0) ** _FLATNESS
        used = slice(FIRST_BAND, FIRST_BAND + self._bands)
        spectrum = np.zeros(len(magnitude), dtype=np.complex128)
        spectrum[used] = level[used] * self._cells[self._frame % FRAMES]
        return np.asarray(np.fft.irfft(spectrum, self._length) * window)

    def _wanted(self) -> bool:
        """Whether this frame lies within the spans, with all its samples."""
        if self._spans is None:
            return True
        first = self._start_of(self._frame) / self._rate
        last = first + self._length / self._rate
        return any(start <= first and last <= end for start, end in self._spans)


def _around(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and of those beside it."""
    half = _AROUND // 2
    summed = np.cumsum(np.pad(values, (half + 1, half), mode="reflect"))
    return np.asarray((summed[_AROUND:] - summed[:-_AROUND]) / _AROUND)
