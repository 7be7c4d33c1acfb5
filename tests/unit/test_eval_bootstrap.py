from __future__ import annotations

import numpy as np
import pytest

from stepaudio.evaluation.bootstrap import (
    Interval,
    mean_interval,
    pooled_interval,
    speaker_mean_interval,
)


def test_values_of_the_three_statistics() -> None:
    speakers = ["a", "a", "a", "b"]
    errors, words = [1, 0, 0, 3], [10, 10, 10, 3]
    assert pooled_interval(errors, words, speakers).value == pytest.approx(4 / 33)
    rates = [0.1, 0.0, 0.0, 1.0]
    assert mean_interval(rates, speakers).value == pytest.approx(0.275)
    assert speaker_mean_interval(rates, speakers).value == pytest.approx((0.1 / 3 + 1) / 2)


def test_same_seed_same_interval() -> None:
    rng = np.random.default_rng(1)
    values, speakers = list(rng.normal(size=60)), [f"s{i % 12}" for i in range(60)]
    first = mean_interval(values, speakers, seed=3)
    assert first == mean_interval(values, speakers, seed=3)
    assert first != mean_interval(values, speakers, seed=4)
    assert (first.n, first.speakers) == (60, 12)


def test_draws_are_whole_speakers() -> None:
    # Two speakers of opposite rates: a draw holds one, the other, or both.
    interval = mean_interval([0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50)
    assert interval == Interval(0.5, 0.0, 1.0, 100, 2)
    singles = mean_interval([0.0] * 50 + [1.0] * 50, [""] * 100)
    assert singles.speakers == 100
    assert singles.low is not None
    assert singles.low > 0.35


def test_against_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    speakers = [f"s{i}" for i in rng.integers(0, 7, 40)]
    words = [int(n) for n in rng.integers(3, 30, 40)]
    errors = [int(rng.integers(0, n)) for n in words]
    by: dict[str, list[tuple[int, int]]] = {}
    for pair, speaker in zip(zip(errors, words, strict=True), speakers, strict=True):
        by.setdefault(speaker, []).append(pair)
    draw, names, rates = np.random.default_rng(0), list(by), []
    for _ in range(1000):
        chosen = [pair for name in draw.choice(names, len(names)) for pair in by[name]]
        rates.append(sum(e for e, _ in chosen) / sum(n for _, n in chosen))
    interval = pooled_interval(errors, words, speakers)
    low, high = np.percentile(rates, [2.5, 97.5])
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_coverage_of_the_true_mean() -> None:
    rng, held = np.random.default_rng(11), 0
    speakers = [f"s{i // 5}" for i in range(200)]
    for trial in range(200):
        voices = np.repeat(rng.normal(0.0, 1.0, 40), 5)
        values = list(voices + rng.normal(0.0, 0.3, 200))
        interval = mean_interval(values, speakers, seed=trial, draws=300)
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 0.0 <= interval.high
    # 95 % nominal; treating the 200 recordings as independent would hold about 65 %.
    assert 0.89 <= held / 200 <= 0.99


def test_one_speaker_has_no_interval_and_nothing_has_no_value() -> None:
    assert mean_interval([1.0, 2.0], ["a", "a"]) == Interval(1.5, None, None, 2, 1)
    assert mean_interval([None, None], ["a", "b"]) == Interval(None, None, None, 0, 0)
    assert mean_interval([], []) == Interval(None, None, None, 0, 0)
    assert pooled_interval([0], [0], ["a"]).value is None


def test_missing_numbers_are_left_out_not_zero() -> None:
    interval = mean_interval([1.0, None, 3.0], ["a", "b", "c"])
    assert (interval.value, interval.n, interval.speakers) == (2.0, 2, 2)
    pooled = pooled_interval([1, None, 1], [2, 100, 2], ["a", "b", "c"])
    assert pooled.value == 0.5


def test_level_and_lengths() -> None:
    values, speakers = list(range(50)), [str(i) for i in range(50)]
    wide, narrow = (mean_interval(values, speakers, level=level) for level in (0.99, 0.5))
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < narrow.low
    with pytest.raises(ValueError, match="argument 3"):
        mean_interval([1.0], ["a", "b"])
