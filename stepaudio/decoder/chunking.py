"""When a stream of audio ids has enough to decode the next chunk, and which ids that chunk reads.

Published system, section "streaming": the first chunk is short so that sound starts early, later
ones are longer because a longer chunk sounds better and costs less per second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.tokenizers.interleave import regroup_for_decoder
from stepaudio.types import TokenSpec

__all__ = ["Chunk", "ChunkPolicy", "IdBuffer"]


@dataclass(frozen=True)
class ChunkPolicy:
    """Sizes in 25 Hz steps, whole units each.

    Attributes:
        sizes: of consecutive chunks (0.6, 0.96 and 1.92 s); the last one repeats.
        lookahead: steps a chunk reads beyond its end (0.12 s).
        recent_frames: mel frames besides the prompt that a chunk looks back at (1.92 s).
    """

    sizes: tuple[int, ...] = (15, 24, 48)
    lookahead: int = 3
    recent_frames: int = 96

    def __post_init__(self) -> None:
        steps = TokenSpec().semantic.per_unit
        if not self.sizes or any(s < 1 or s % steps for s in (*self.sizes, self.lookahead)):
            raise ValueError(f"chunk sizes and look-ahead must be positive multiples of {steps}")


@dataclass(frozen=True)
class Chunk:
    """What one decoder call reads.

    Attributes:
        pairs: ``[N + lookahead, 2]``, or ``[N, 2]`` if ``last``.
        last: nothing follows.
    """

    pairs: Tensor
    last: bool


class IdBuffer:
    """Collects audio ids and cuts them into chunks."""

    def __init__(self, policy: ChunkPolicy, spec: TokenSpec) -> None:
        self._policy = policy
        self._spec = spec
        self._ids = torch.zeros(0, dtype=torch.int64)
        self._given = 0

    def push(self, ids: Tensor) -> None:
        """Add ids to the end.

        Args:
            ids: ``[N]`` audio ids, any number of them.
        """
        self._ids = torch.cat([self._ids, ids.to("cpu", torch.int64)])

    def ahead(self) -> Tensor | None:
        """First ``[lookahead, 2]`` pairs that have not been decoded; None if too few have come."""
        needed = self._count(self._policy.lookahead)
        return self._pairs(needed) if len(self._ids) >= needed else None

    def take(self) -> Chunk | None:
        """The next chunk with its look-ahead, or None until enough ids have come."""
        sizes = self._policy.sizes
        size = sizes[min(self._given, len(sizes) - 1)]
        needed = self._count(size + self._policy.lookahead)
        if len(self._ids) < needed:
            return None
        pairs = self._pairs(needed)
        self._ids = self._ids[self._count(size) :]
        self._given += 1
        return Chunk(pairs, last=False)

    def rest(self) -> Chunk | None:
        """Everything left as the last chunk; None if the stream was empty."""
        if not len(self._ids):
            return None
        pairs = self._pairs(len(self._ids))
        self._ids = self._ids[:0]
        return Chunk(pairs, last=True)

    def _count(self, steps: int) -> int:
        return steps // self._spec.semantic.per_unit * self._spec.unit_length

    def _pairs(self, count: int) -> Tensor:
        return regroup_for_decoder(self._ids[:count], self._spec)
