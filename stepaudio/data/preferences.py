"""Preference pairs of large margin, for the reward model and DPO (EditX, section on preferences).

Several answers to one prompt are rated, by people from 1 to 5 or by a judge from 1 to 10. Two
answers make a pair if their ratings differ by *more* than 3, or 8. With whole numbers only the
ends of the scale survive that; averaged ratings make more of the rule, so they are kept as floats
and the report tells how many pairs survive each threshold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from stepaudio.data.manifest import read_jsonl, write_jsonl
from stepaudio.data.rows import ids_of
from stepaudio.errors import DataError

__all__ = [
    "SCALES",
    "THRESHOLDS",
    "Origin",
    "PreferencePair",
    "RatedAnswer",
    "preference_pairs",
    "read_ratings",
    "survivors",
    "write_preferences",
]

#: Who rated.
Origin = Literal["human", "judge"]
#: Lowest and highest rating.
SCALES: Mapping[str, tuple[float, float]] = {"human": (1.0, 5.0), "judge": (1.0, 10.0)}
#: A pair must differ by more than this.
THRESHOLDS: Mapping[str, float] = {"human": 3.0, "judge": 8.0}

# Differences of decimal ratings are exact to this many digits; binary ones are not.
_DIGITS = 9


@dataclass(frozen=True)
class RatedAnswer:
    """One rating of one answer.

    Attributes:
        prompt: ids of the prompt.
        completion: ids of the answer.
        rating: on the scale of its origin.
        origin: who rated.

    Raises:
        DataError: an unknown origin, or a rating off its scale.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    rating: float
    origin: Origin

    def __post_init__(self) -> None:
        if self.origin not in SCALES:
            raise DataError(f"origin must be one of {', '.join(SCALES)}, not {self.origin!r}")
        low, high = SCALES[self.origin]
        if isinstance(self.rating, bool) or not isinstance(self.rating, int | float):
            raise DataError(f"a rating must be a number, not {self.rating!r}")
        # NaN fails both comparisons.
        if not low <= self.rating <= high:
            raise DataError(f"a {self.origin} rating lies in {low:g}..{high:g}, not {self.rating}")
        if not self.prompt or not self.completion:
            raise DataError("a rated answer needs a prompt and a completion")


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt, one much better than the other.

    Attributes:
        prompt: ids of the prompt.
        chosen: ids of the better answer.
        rejected: ids of the worse answer.
        margin: difference of their ratings, in points of the scale.
        origin: who rated.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    margin: float
    origin: Origin


def preference_pairs(
    answers: Iterable[RatedAnswer], *, thresholds: Mapping[str, float] = THRESHOLDS
) -> list[PreferencePair]:
    """All pairs of answers to one prompt whose ratings differ by more than a threshold.

    Several ratings of one answer by one kind of rater are averaged first. People and judges are
    never compared with one another.

    Args:
        answers: rated.
        thresholds: by origin; the difference must be larger, not equal. An origin that is not
            named has that of :data:`THRESHOLDS`.

    Returns:
        The pairs, prompts in the order in which they came, large margins first.

    Raises:
        DataError: a threshold of an unknown origin.
    """
    unknown = sorted(thresholds.keys() - SCALES.keys())
    if unknown:
        raise DataError(f"nobody called {unknown} rates; thresholds are of {', '.join(SCALES)}")
    least = {**THRESHOLDS, **thresholds}
    pairs: list[PreferencePair] = []
    for (origin, prompt), means in _means(answers).items():
        found = []
        for (one, a), (other, b) in combinations(means.items(), 2):
            margin = round(abs(a - b), _DIGITS)
            if margin > least[origin]:
                chosen, rejected = (one, other) if a > b else (other, one)
                found.append(PreferencePair(prompt, chosen, rejected, margin, origin))
        # Stable, so equal margins stay in the order of the answers.
        pairs += sorted(found, key=lambda pair: -pair.margin)
    return pairs


def survivors(
    answers: Iterable[RatedAnswer], origin: Origin, thresholds: Sequence[float]
) -> list[dict[str, float]]:
    """How many pairs each threshold leaves.

    Args:
        answers: rated.
        origin: whose ratings.
        thresholds: to try.

    Returns:
        One row each: ``threshold``, ``pairs`` that are left, ``prompts`` they belong to, and
        their ``share`` of all pairs of answers to one prompt, equal ratings included.
    """
    margins = [
        [round(abs(a - b), _DIGITS) for a, b in combinations(means.values(), 2)]
        for (who, _), means in _means(answers).items()
        if who == origin
    ]
    total = sum(map(len, margins))
    rows = []
    for threshold in thresholds:
        left = [sum(margin > threshold for margin in prompt) for prompt in margins]
        rows.append(
            {
                "threshold": float(threshold),
                "pairs": sum(left),
                "prompts": sum(count > 0 for count in left),
                "share": sum(left) / total if total else 0.0,
            }
        )
    return rows


def read_ratings(path: str | Path) -> list[RatedAnswer]:
    """Read rated answers.

    Args:
        path: JSONL with ``prompt``, ``completion``, ``rating`` and ``origin`` in each line.

    Returns:
        The answers.

    Raises:
        DataError: the file is missing or a line is malformed; the message names it.
    """
    answers = []
    for number, row in read_jsonl(path):
        try:
            prompt, completion = ids_of(row, "prompt"), ids_of(row, "completion")
            answers.append(RatedAnswer(prompt, completion, row.get("rating"), row.get("origin")))  # type: ignore[arg-type]
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    return answers


def write_preferences(
    path: str | Path, pairs: Iterable[PreferencePair], *, force: bool = False
) -> Path:
    """Write pairs, one JSON object per line, columns named as in TRL.

    Args:
        path: the file.
        pairs: in the order of the lines.
        force: allow replacing an existing file.

    Returns:
        ``path``.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """
    return write_jsonl(path, map(asdict, pairs), force=force)


def _means(
    answers: Iterable[RatedAnswer],
) -> dict[tuple[Origin, tuple[int, ...]], dict[tuple[int, ...], float]]:
    """Mean rating of every answer, by origin and prompt."""
    gathered: dict[tuple[Origin, tuple[int, ...]], dict[tuple[int, ...], list[float]]] = (
        defaultdict(lambda: defaultdict(list))
    )
    for answer in answers:
        gathered[answer.origin, answer.prompt][answer.completion].append(answer.rating)
    return {
        key: {completion: sum(r) / len(r) for completion, r in answered.items()}
        for key, answered in gathered.items()
    }
