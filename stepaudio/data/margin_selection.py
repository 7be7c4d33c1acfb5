"""Keeping pairs of large margin: 6 of 10 or more, and more than that where a category asks for it.

Only emotions and styles are selected; a changed tempo, an inserted sound or removed noise is a
large difference by itself, and the paper scores none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.data.manifest import Utterance
from stepaudio.data.margin import HIGHEST, MarginScorer, voice_vector
from stepaudio.data.pairs import EditPair
from stepaudio.errors import AudioError, DataError

__all__ = ["CategoryCount", "Thresholds", "score_pairs", "select_pairs"]

_SCORED_KINDS = ("emotion", "style")


@dataclass(frozen=True)
class Thresholds:
    """Least margins.

    Attributes:
        floor: of every category (EditX: 6).
        by_category: higher ones, e.g. ``{"emotion:angry": 8.0}``.

    Raises:
        DataError: one below the floor or beyond the scale.
    """

    floor: float = 6.0
    by_category: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in {"the floor": self.floor, **self.by_category}.items():
            if not self.floor <= value <= HIGHEST:
                raise DataError(
                    f"the threshold of {name} is {value}; it must lie between the floor "
                    f"{self.floor} and {HIGHEST:g}"
                )

    def of(self, category: str) -> float:
        """Least margin of a category."""
        return self.by_category.get(category, self.floor)


@dataclass
class CategoryCount:
    """What became of the pairs of a category.

    Attributes:
        threshold: they had to reach; None for a category that is not selected.
        kept: were kept.
        below: were left out because their margin was smaller.
        unrated: were left out because nobody could say their margin.
    """

    threshold: float | None
    kept: int = 0
    below: int = 0
    unrated: int = 0


def score_pairs(
    pairs: Sequence[EditPair],
    utterances: Iterable[Utterance],
    scorer: MarginScorer,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[EditPair]:
    """Rate all pairs the scorer was trained for; each recording is listened to once.

    Args:
        pairs: of a manifest.
        utterances: its recordings.
        scorer: in evaluation mode.
        progress: told how many recordings were listened to, and of how many.

    Returns:
        The pairs with their margins. None stays where the scorer does not know the category or
        a recording is too short to be heard.

    Raises:
        DataError: a recording of a pair is not in the manifest.
    """
    paths = {utterance.id: utterance.path for utterance in utterances}
    rated = [n for n, pair in enumerate(pairs) if pair.category in scorer.config.labels]
    wanted = list(dict.fromkeys(i for n in rated for i in (pairs[n].before, pairs[n].after)))
    vectors: dict[str, NDArray[np.float64] | None] = {}
    for done, key in enumerate(wanted, start=1):
        if key not in paths:
            raise DataError(f"a pair names the recording {key!r}, which is not in the manifest")
        try:
            vectors[key] = voice_vector(Audio.load(paths[key]))
        except AudioError:
            vectors[key] = None
        if progress is not None:
            progress(done, len(wanted))
    scored = list(pairs)
    for n in rated:
        before, after = vectors[pairs[n].before], vectors[pairs[n].after]
        if before is not None and after is not None:
            margins = scorer.score_vectors(before[None], after[None])[0]
            margin = round(float(margins[scorer.column(pairs[n].category)]), 3)
            scored[n] = replace(pairs[n], margin=margin)
    return scored


def select_pairs(
    pairs: Iterable[EditPair], thresholds: Thresholds | None = None
) -> tuple[list[EditPair], dict[str, CategoryCount]]:
    """Keep pairs whose margin reaches the threshold of their category.

    Args:
        pairs: rated by :func:`score_pairs`.
        thresholds: None is 6 for all.

    Returns:
        The pairs kept, and what became of each category.
    """
    thresholds = thresholds or Thresholds()
    kept = []
    counts: dict[str, CategoryCount] = {}
    for pair in pairs:
        selected = pair.edit.kind in _SCORED_KINDS
        least = thresholds.of(pair.category) if selected else None
        count = counts.setdefault(pair.category, CategoryCount(least))
        # NaN reaches no threshold, and says as little as None.
        if least is None or (pair.margin is not None and pair.margin >= least):
            count.kept += 1
            kept.append(pair)
        elif pair.margin is None or math.isnan(pair.margin):
            count.unrated += 1
        else:
            count.below += 1
    return kept, counts
