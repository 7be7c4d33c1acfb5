"""Marking with networks that hear a whole stretch at once and at their own sample rate.

What such a network gives for a part of a stretch is not the part of what it gives for the whole.
The recording is therefore cut at fixed places, every half minute from its beginning, however it
comes in. Of what the network returns only the difference, the mark, is brought to the rate of the
recording and added: the sound itself is never resampled and keeps what lies above the network's
band.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import WatermarkError
from stepaudio.safety.watermark import WatermarkStream

__all__ = ["BlockStream", "fitted"]

# Seconds marked at once; a stream is as late.
_BLOCK = 30.0

# Networks stumble over the last hundred samples of a recording; they get silence behind them.
_SHORTEST = 1.0


class BlockStream(WatermarkStream):
    """Marks one recording; what goes in comes out when its half minute is full.

    Args:
        mark_of: the mark ``[S]`` that belongs under the sound ``[S]``, both at ``rate``.
        rate: of the network, Hz.
        sample_rate: of the recording, Hz.
        spans: seconds from the beginning to mark; None marks everything.
    """

    def __init__(
        self,
        mark_of: Callable[[Tensor], Tensor],
        rate: int,
        sample_rate: int,
        spans: Sequence[tuple[float, float]] | None,
    ) -> None:
        self._mark_of = mark_of
        self._rate = rate
        self._sample_rate = sample_rate
        self._spans = spans
        self._block = round(_BLOCK * sample_rate)
        self._held: list[Tensor] = []
        self._begin = 0  # of what is held, samples from the beginning of the recording

    def push(self, samples: Tensor) -> Tensor:
        """See :meth:`WatermarkStream.push`."""
        self._held.append(samples.detach().to("cpu", torch.float32))
        if sum(len(piece) for piece in self._held) < self._block:
            return torch.zeros(0)
        sound = torch.cat(self._held)
        whole = len(sound) // self._block * self._block
        self._held = [sound[whole:]]
        return torch.cat([self._marked(block) for block in sound[:whole].view(-1, self._block)])

    def finish(self) -> Tensor:
        """See :meth:`WatermarkStream.finish`."""
        rest = torch.cat([torch.zeros(0), *self._held])
        self._held = []
        return self._marked(rest)

    def _marked(self, block: Tensor) -> Tensor:
        """``[S]`` the next block with its mark."""
        begin, self._begin = self._begin, self._begin + len(block)
        wanted = self._wanted(begin, len(block))
        if not (block.any() and wanted.any()):
            return block
        silence = max(0, math.ceil(_SHORTEST * self._sample_rate) - len(block))
        heard = torch.nn.functional.pad(block, (0, silence))
        sound = Audio(heard, self._sample_rate).resample(self._rate).samples
        mark = fitted(self._mark_of(sound), len(sound))
        if not mark.isfinite().all():
            raise WatermarkError(
                f"the mark of the sound at {begin / self._sample_rate:.1f} s is not finite; "
                "check the weights of the watermarker, or use another one"
            )
        at_rate = fitted(Audio(mark, self._rate).resample(self._sample_rate).samples, len(block))
        return torch.where(wanted, block + at_rate, block)

    def _wanted(self, begin: int, count: int) -> Tensor:
        """``[S]`` which samples lie within the spans."""
        if self._spans is None:
            return torch.ones(count, dtype=torch.bool)
        times = torch.arange(begin, begin + count, dtype=torch.float64) / self._sample_rate
        inside = torch.zeros(count, dtype=torch.bool)
        for start, end in self._spans:
            inside |= (times >= start) & (times < end)
        return inside


def fitted(samples: Tensor, count: int) -> Tensor:
    """Bring to a length: resamplers and transforms lose or add a few samples at the end.

    Args:
        samples: ``[S]``.
        count: of samples wanted.

    Returns:
        ``[count]``, cut, or with silence behind.
    """
    return torch.nn.functional.pad(samples[:count], (0, max(0, count - len(samples))))
