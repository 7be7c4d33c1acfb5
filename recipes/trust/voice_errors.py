"""Errors of telling voices apart: pairs of recordings, rates at a threshold, intervals.

Only recordings of one set are compared with each other: rooms and microphones of different sets
differ, and telling those apart is easy. Every set counts the same, however many recordings it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Ends",
    "Scores",
    "Trials",
    "balanced",
    "describe",
    "enrolled",
    "error_intervals",
    "error_rates",
    "find_threshold",
    "pairs",
]

Scores = NDArray[np.float64]
#: Lower and upper end of an interval; None where there is none.
Ends = tuple[float, float] | None

_DRAWS = 1000
# With fewer there is nobody to draw instead of somebody.
_FEWEST = 3


class Trials(NamedTuple):
    """Similarities of pairs, and whose they are.

    Attributes:
        same: ``[P]`` of two recordings of one speaker.
        different: ``[Q]`` of two speakers.
        same_of: ``[P]`` number of that speaker.
        different_of: ``[Q, 2]`` numbers of these.
    """

    same: Scores
    different: Scores
    same_of: NDArray[np.int64]
    different_of: NDArray[np.int64]


def pairs(vectors: Scores, speakers: Sequence[str]) -> Trials:
    """Every recording against every other.

    Args:
        vectors: ``[N, D]`` of unit length.
        speakers: of each.

    Returns:
        Similarities of pairs of one speaker and of two.
    """
    numbers = np.unique(np.array(speakers), return_inverse=True)[1]
    first, second = np.triu_indices(len(numbers), 1)
    scores = np.einsum("nd,nd->n", vectors[first], vectors[second])
    who = np.stack([numbers[first], numbers[second]], axis=1)
    same = who[:, 0] == who[:, 1]
    return Trials(scores[same], scores[~same], who[same, 0], who[~same])


def enrolled(vectors: Scores, speakers: Sequence[str], rng: np.random.Generator) -> Trials:
    """Two recordings of a speaker together against a third, and against those of others.

    Args:
        vectors: ``[N, D]`` of unit length.
        speakers: of each.
        rng: draws 100 enrolments of every speaker.

    Returns:
        Similarities.
    """
    numbers = np.unique(np.array(speakers), return_inverse=True)[1]
    same, different, same_of, different_of = [], [], [], []
    for speaker in range(int(numbers.max()) + 1):
        own, others = np.flatnonzero(numbers == speaker), np.flatnonzero(numbers != speaker)
        if len(own) < 3 or not len(others):
            continue
        for _ in range(100):
            one, two, three = rng.choice(own, 3, replace=False)
            mean = vectors[one] + vectors[two]
            mean /= np.linalg.norm(mean)
            same.append(mean @ vectors[three])
            same_of.append(speaker)
            strangers = rng.choice(others, 5)
            different += [mean @ vectors[i] for i in strangers]
            different_of += [(speaker, numbers[i]) for i in strangers]
    return Trials(
        np.array(same),
        np.array(different),
        np.array(same_of, dtype=np.int64),
        np.array(different_of, dtype=np.int64).reshape(-1, 2),
    )


def error_rates(sets: Sequence[Trials], threshold: float) -> tuple[float, float]:
    """Errors at a threshold, every set weighing the same.

    Args:
        sets: trials of each.
        threshold: similarity from which two voices count as one.

    Returns:
        Strangers accepted and speakers refused, 0 to 1.
    """
    accepted = np.mean([(one.different >= threshold).mean() for one in sets])
    refused = np.mean([(one.same < threshold).mean() for one in sets])
    return float(accepted), float(refused)


def error_intervals(sets: Sequence[Trials], threshold: float, seed: int = 0) -> tuple[Ends, Ends]:
    """95 % intervals of both errors, by drawing whole speakers anew within each set.

    A pair of two speakers is drawn as often as both of them together are. A draw that leaves a set
    no pair is replaced by another.

    Args:
        sets: trials of each.
        threshold: similarity from which two voices count as one.
        seed: of 1,000 draws.

    Returns:
        Of strangers accepted and of speakers refused; None if no set has three speakers.
    """
    rng = np.random.default_rng(seed)
    accepted, refused, most = [], [], 0
    for one in sets:
        count = _speakers(one)
        most = max(most, count)
        drawn = rng.multinomial(count, np.full(count, 1 / count), _DRAWS).astype(np.float64)
        all_of = np.bincount(one.same_of, minlength=count)
        wrong_of = np.bincount(one.same_of, one.same < threshold, minlength=count)
        between = np.zeros((2, count, count))
        np.add.at(between[0], tuple(one.different_of.T), 1.0)
        np.add.at(between[1], tuple(one.different_of.T), one.different >= threshold)
        every, wrong = np.einsum("ds,kst,dt->kd", drawn, between, drawn, optimize=True)
        with np.errstate(invalid="ignore"):
            accepted.append(_whole(wrong / every))
            refused.append(_whole((drawn @ wrong_of) / (drawn @ all_of)))
    if most < _FEWEST:
        return None, None
    return _ends(accepted), _ends(refused)


def find_threshold(sets: Sequence[Trials], enough: Callable[[float, float], bool]) -> float:
    """The lowest threshold of a grid of 0.001 whose errors are good enough.

    Args:
        sets: trials of each set.
        enough: of strangers accepted and speakers refused.

    Returns:
        The threshold; 1 if none is.
    """
    grid = np.round(np.arange(-1.0, 1.0, 0.001), 3)
    return next((float(t) for t in grid if enough(*error_rates(sets, t))), 1.0)


def balanced(sets: Sequence[Trials]) -> float:
    """The threshold at which both errors are as large."""
    return find_threshold(sets, lambda accepted, refused: accepted <= refused)


def describe(name: str, sets: Sequence[Trials], threshold: float | None = None) -> dict[str, Any]:
    """A row of the report: the equal error rate, and both errors at a threshold.

    Args:
        name: of the row.
        sets: its trials.
        threshold: of the errors; None is that of the row itself.

    Returns:
        Plain values, rounded.
    """
    own = balanced(sets)
    at = own if threshold is None else threshold
    accepted, refused = error_rates(sets, at)
    accepted_95, refused_95 = error_intervals(sets, at)
    return {
        "name": name,
        "speakers": sum(_speakers(one) for one in sets),
        "same": sum(len(one.same) for one in sets),
        "different": sum(len(one.different) for one in sets),
        "equal_error": round(sum(error_rates(sets, own)) / 2, 4),
        "strangers_accepted": round(accepted, 4),
        "strangers_accepted_95": accepted_95,
        "speakers_refused": round(refused, 4),
        "speakers_refused_95": refused_95,
    }


def _speakers(one: Trials) -> int:
    """How many there are; they are numbered from 0."""
    return int(max(one.same_of.max(initial=0), one.different_of.max(initial=0))) + 1


def _whole(rates: Scores) -> Scores:
    """``[draws]`` rates, those of nothing replaced by others."""
    return np.asarray(np.resize(rates[np.isfinite(rates)], _DRAWS))


def _ends(rates: Sequence[Scores]) -> tuple[float, float]:
    """``[draws]`` rates of each set; the middle 95 % of their means over the sets."""
    low, high = np.percentile(np.mean(rates, axis=0), [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)
