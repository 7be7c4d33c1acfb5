"""Rewards for edits of a part only, read from tokens: the rest must stay as it was.

Four numbers between 0 and 1 on units of five tokens (0.12 s), after the published training code:
are the preserved stretches still there, does the answer use the source's units, do the stretches
come in order, and is the length right. Nothing is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from stepaudio.rl.guards import source_ids
from stepaudio.rl.prompt_rows import PromptRow, check_segments
from stepaudio.types import LMSpec

__all__ = [
    "LocalEditReward",
    "LocalEditScores",
    "Unit",
    "as_units",
    "length_agreement",
    "preserved_order",
    "preserved_similarity",
    "score_local_edit",
    "source_share",
]

Unit = tuple[int, ...]

#: Units that may have been put in before a preserved stretch.
_WINDOW = 30


@dataclass(frozen=True)
class LocalEditScores:
    """The four numbers of an answer, or their weights.

    Attributes:
        preserved: :func:`preserved_similarity`.
        share: :func:`source_share`.
        order: :func:`preserved_order`.
        length: :func:`length_agreement`.
    """

    preserved: float = 1.0
    share: float = 1.0
    order: float = 1.0
    length: float = 1.0


def as_units(ids: Tensor, spec: LMSpec) -> list[Unit]:
    """Whole units of an id stream.

    Args:
        ids: ``[N]`` int64; what does not fill a unit is dropped.
        spec: length of a unit.

    Returns:
        One tuple per unit.
    """
    size = spec.tokens.unit_length
    whole = ids[: len(ids) // size * size].view(-1, size)
    return [tuple(row) for row in whole.tolist()]


def preserved_similarity(
    source: Sequence[Unit], answer: Sequence[Unit], segments: Sequence[tuple[int, int]]
) -> float:
    """Are the preserved stretches still there: mean edit similarity, weighed by length.

    Each stretch is looked for from where the one before ended, at most 30 units further on, and
    compared with the part of the answer it matches best: ``1 - distance / length``.

    Args:
        source: units of the recording.
        answer: units of the response.
        segments: first unit and the one after the last, of each stretch, in order.

    Returns:
        Between 0 and 1; 1 if nothing is preserved.

    Raises:
        DataError: a stretch reaches beyond the source.
    """
    check_segments(segments, len(source))
    total = sum(stop - start for start, stop in segments)
    if not total:
        return 1.0
    kept, cursor = 0.0, 0
    for start, stop in segments:
        wanted = source[start:stop]
        region = answer[cursor : cursor + len(wanted) + _WINDOW]
        distance, end = _best_match(wanted, region)
        kept += len(wanted) - distance
        cursor += end
    return kept / total


def source_share(source: Sequence[Unit], answer: Sequence[Unit]) -> float:
    """Share of the answer's units that occur in the source; 0 for an empty answer."""
    known = set(source)
    return sum(unit in known for unit in answer) / len(answer) if answer else 0.0


def preserved_order(
    source: Sequence[Unit], answer: Sequence[Unit], segments: Sequence[tuple[int, int]]
) -> float:
    """Share of the preserved stretches whose first units appear one after the other.

    Args:
        source: units of the recording.
        answer: units of the response.
        segments: as in :func:`preserved_similarity`.

    Returns:
        Between 0 and 1; 1 if nothing is preserved.

    Raises:
        DataError: a stretch reaches beyond the source.
    """
    check_segments(segments, len(source))
    firsts = [source[start] for start, stop in segments if stop > start]
    found, cursor = 0, 0
    for first in firsts:
        if first in answer[cursor:]:
            cursor = list(answer).index(first, cursor) + 1
            found += 1
    return found / len(firsts) if firsts else 1.0


def length_agreement(answer: int, wanted: float, *, tolerance: float = 0.1) -> float:
    """``exp(-|answer - wanted| / (tolerance * wanted))``.

    Args:
        answer: units of the response.
        wanted: units it should have, above 0.
        tolerance: share of the wanted length at which the agreement has fallen to about a third.

    Returns:
        Between 0 and 1.
    """
    return math.exp(-abs(answer - wanted) / (tolerance * wanted))


def score_local_edit(
    source: Sequence[Unit],
    answer: Sequence[Unit],
    segments: Sequence[tuple[int, int]],
    *,
    length: float = 1.0,
) -> LocalEditScores:
    """All four numbers.

    Args:
        source: units of the recording, at least one.
        answer: units of the response.
        segments: preserved stretches of the source, in order.
        length: wanted length relative to the source.

    Returns:
        The numbers.

    Raises:
        DataError: a stretch reaches beyond the source.
    """
    return LocalEditScores(
        preserved_similarity(source, answer, segments),
        source_share(source, answer),
        preserved_order(source, answer, segments),
        length_agreement(len(answer), length * len(source)),
    )


class LocalEditReward:
    """Weighted sum of the four numbers; rows without a recording get 0.

    Args:
        spec: of the policy.
        weights: of each number.
    """

    def __init__(self, spec: LMSpec, weights: LocalEditScores | None = None) -> None:
        self.spec = spec
        self.weights = weights or LocalEditScores()

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """The sum of every response."""
        return torch.tensor([self._score(*pair) for pair in zip(prompts, responses, strict=True)])

    def _score(self, row: PromptRow, response: Tensor) -> float:
        source = as_units(source_ids(row.ids, self.spec), self.spec)
        if not source:
            return 0.0
        scores = score_local_edit(
            source, as_units(response, self.spec), row.segments, length=row.length
        )
        return math.fsum(
            weight * score
            for weight, score in zip(astuple(self.weights), astuple(scores), strict=True)
        )


def _best_match(wanted: Sequence[Unit], text: Sequence[Unit]) -> tuple[int, int]:
    """Fewest edits that turn ``wanted`` into some part of ``text``, and where that part ends.

    Sellers' algorithm: an alignment may begin anywhere in the text for free. Of several best parts
    the first counts.
    """
    column = list(range(len(wanted) + 1))
    best, end = column[-1], 0
    for position, unit in enumerate(text, start=1):
        above, column[0] = column[0], 0
        for i, one in enumerate(wanted, start=1):
            change = above + (one != unit)
            above = column[i]
            column[i] = min(change, column[i] + 1, column[i - 1] + 1)
        if column[-1] < best:
            best, end = column[-1], position
    return best, end
