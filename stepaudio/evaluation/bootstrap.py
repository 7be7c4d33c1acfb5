"""95 % intervals by resampling whole speakers.

Recordings of one voice resemble each other, so they are drawn together (cluster bootstrap, Efron
and Tibshirani 1993, percentile interval). With few speakers such an interval is too narrow: with
four it holds the truth clearly less often than it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "mean_interval", "pooled_interval", "speaker_mean_interval"]

_DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A number and how sure it is.

    Attributes:
        value: of all recordings; None if there is none.
        low: lower end; None with fewer than two speakers, who cannot be resampled.
        high: upper end; None as well.
        n: recordings used.
        speakers: speakers they come from.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    speakers: int

    def rounded(self) -> dict[str, float | int | None]:
        """Plain values for a file, with four digits."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def pooled_interval(
    numerators: Sequence[float | None],
    denominators: Sequence[float | None],
    speakers: Sequence[str],
    *,
    seed: int = 0,
    draws: int = _DRAWS,
    level: float = 0.95,
) -> Interval:
    """A ratio of sums, e.g. all word errors over all words.

    Args:
        numerators: per recording, e.g. errors; recordings with None here or below are left out.
        denominators: per recording, e.g. words of the reference.
        speakers: per recording; an empty name is a speaker of its own.
        seed: of the draws.
        draws: number of resampled sets.
        level: share of the draws between the two ends.

    Returns:
        The ratio; None for a sum of zero below.
    """
    sums = _by_speaker(numerators, denominators, speakers)
    return _resample(sums, _count(numerators, denominators), seed, draws, level)


def mean_interval(
    values: Sequence[float | None],
    speakers: Sequence[str],
    *,
    seed: int = 0,
    draws: int = _DRAWS,
    level: float = 0.95,
) -> Interval:
    """A plain mean; every recording counts the same.

    Args:
        values: per recording; None is left out.
        speakers: per recording; an empty name is a speaker of its own.
        seed: of the draws.
        draws: number of resampled sets.
        level: share of the draws between the two ends.

    Returns:
        The mean.
    """
    ones = [1.0] * len(values)
    return pooled_interval(values, ones, speakers, seed=seed, draws=draws, level=level)


def speaker_mean_interval(
    values: Sequence[float | None],
    speakers: Sequence[str],
    *,
    seed: int = 0,
    draws: int = _DRAWS,
    level: float = 0.95,
) -> Interval:
    """The mean of the speakers' means; every speaker counts the same.

    Args:
        values: per recording; None is left out.
        speakers: per recording; an empty name is a speaker of its own.
        seed: of the draws.
        draws: number of resampled sets.
        level: share of the draws between the two ends.

    Returns:
        The mean of means.
    """
    ones = [1.0] * len(values)
    sums = _by_speaker(values, ones, speakers)
    means = np.stack([sums[:, 0] / sums[:, 1], np.ones(len(sums))], axis=1)
    return _resample(means, _count(values, ones), seed, draws, level)


def _by_speaker(
    numerators: Sequence[float | None],
    denominators: Sequence[float | None],
    speakers: Sequence[str],
) -> NDArray[np.float64]:
    """``[speakers, 2]`` sums, in the order in which the speakers appear."""
    sums: dict[tuple[str, int], list[float]] = {}
    rows = zip(numerators, denominators, speakers, strict=True)
    for position, (above, below, speaker) in enumerate(rows):
        if above is not None and below is not None:
            key = (speaker, -1) if speaker else ("", position)
            total = sums.setdefault(key, [0.0, 0.0])
            total[0] += above
            total[1] += below
    return np.asarray(list(sums.values()), dtype=np.float64).reshape(-1, 2)


def _count(numerators: Sequence[float | None], denominators: Sequence[float | None]) -> int:
    pairs = zip(numerators, denominators, strict=True)
    return sum(above is not None and below is not None for above, below in pairs)


def _resample(sums: NDArray[np.float64], n: int, seed: int, draws: int, level: float) -> Interval:
    above, below = sums.sum(0)
    if not below:
        return Interval(None, None, None, n, len(sums))
    value = float(above / below)
    if len(sums) < 2:
        return Interval(value, None, None, n, len(sums))
    chosen = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    drawn = sums[chosen].sum(1)
    # A draw of nothing but empty references has no rate.
    drawn = drawn[drawn[:, 1] > 0]
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [50 * (1 - level), 50 * (1 + level)])
    return Interval(value, float(low), float(high), n, len(sums))
