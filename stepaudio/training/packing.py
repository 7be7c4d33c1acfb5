"""Several texts in one row, without cross-talk and without padding.

The texts are laid end to end and handed to the decoder with their lengths as *documents*: none
sees another, and since square-root ALiBi knows only distances, each is computed as if alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, overload

import torch
from torch import Tensor

from stepaudio.errors import DataError

__all__ = ["LazyBatches", "Packed", "pack", "plan_packs"]

#: Packs that are filled at once: more fill better, but keep rows waiting longer.
OPEN_PACKS = 32

B = TypeVar("B")


class Packed(NamedTuple):
    """Texts laid end to end, each a prompt and its answer.

    Attributes:
        ids: ``[1, T]`` int64.
        documents: lengths of the texts, in order.
        places: ``[N]`` positions whose next token is one of an answer.
        targets: ``[N]`` those tokens.
        owners: ``[N]`` number of the text each is of.
        ends: ``[S]`` last position of each text.
    """

    ids: Tensor
    documents: tuple[int, ...]
    places: Tensor
    targets: Tensor
    owners: Tensor
    ends: Tensor


def pack(texts: Sequence[tuple[Tensor, Tensor]]) -> Packed:
    """Lay texts end to end.

    Args:
        texts: prompt ``[T_i]`` and answer ``[R_i]`` of each, int64, neither empty.

    Returns:
        The row.
    """
    lengths = torch.tensor([len(prompt) + len(answer) for prompt, answer in texts])
    ends = lengths.cumsum(0) - 1
    answers = torch.tensor([len(answer) for _, answer in texts])
    owners = torch.arange(len(texts)).repeat_interleave(answers)
    # Answer token j of a text that ends at e and has R answer tokens is at e - R + 1 + j.
    places = torch.cat(
        [end + torch.arange(-int(r), 0) for end, r in zip(ends, answers, strict=True)]
    )
    return Packed(
        ids=torch.cat([part for text in texts for part in text])[None],
        documents=tuple(lengths.tolist()),
        places=places,
        targets=torch.cat([answer for _, answer in texts]),
        owners=owners,
        ends=ends,
    )


def plan_packs(
    lengths: Sequence[int], capacity: int, generator: torch.Generator
) -> list[list[int]]:
    """Deal shuffled rows out to packs: each goes where it fills best among those still open.

    Args:
        lengths: tokens of each row.
        capacity: tokens a pack holds at most.
        generator: decides the order of the rows and of the packs.

    Returns:
        Row numbers of each pack; every row is in one.

    Raises:
        DataError: a row is longer than a pack.
    """
    packs: list[list[int]] = []
    opened: list[list[int]] = []
    room: list[int] = []
    for row in torch.randperm(len(lengths), generator=generator).tolist():
        length = lengths[row]
        if length > capacity:
            raise DataError(
                f"row {row + 1} has {length} tokens but a pack holds {capacity}; "
                "raise pack_tokens or leave the row out"
            )
        fits = [i for i, left in enumerate(room) if left >= length]
        if fits:
            best = min(fits, key=lambda i: room[i])
            opened[best].append(row)
            room[best] -= length
            continue
        if len(opened) == OPEN_PACKS:
            fullest = min(range(len(room)), key=lambda i: room[i])
            packs.append(opened.pop(fullest))
            room.pop(fullest)
        opened.append([row])
        room.append(capacity - length)
    packs += opened
    return [packs[i] for i in torch.randperm(len(packs), generator=generator).tolist()]


class LazyBatches(Sequence[B]):
    """Batches made when they are asked for, so that a process makes only its own.

    Args:
        count: how many there are.
        make: batch number to batch.
    """

    def __init__(self, count: int, make: Callable[[int], B]) -> None:
        self._numbers = range(count)
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> B: ...
    @overload
    def __getitem__(self, index: slice) -> list[B]: ...
    def __getitem__(self, index: int | slice) -> B | list[B]:
        """Make one batch, or several."""
        if isinstance(index, slice):
            return [self._make(number) for number in self._numbers[index]]
        return self._make(self._numbers[index])
