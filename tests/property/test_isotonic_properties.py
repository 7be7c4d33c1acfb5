"""Calibration: never falling, right on average, and nothing more to gain from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.data.isotonic import Isotonic

PAIRS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 4), st.integers(0, 8).map(lambda n: n / 8)),
    min_size=1,
    max_size=40,
)


def test_by_hand() -> None:
    found = Isotonic.fit([1, 2, 3, 4], [0.1, 0.5, 0.3, 0.9])
    assert found.inputs == (1.0, 2.5, 4.0)
    assert found.outputs == pytest.approx((0.1, 0.4, 0.9))
    # Level outside, straight between.
    assert found([0.0, 1.75, 9.0]) == pytest.approx([0.1, 0.25, 0.9])


def test_equal_scores_have_one_meaning() -> None:
    assert Isotonic.fit([0, 1, 1], [0.3, 0.0, 1.0]).outputs == pytest.approx((0.3, 0.5))
    assert Isotonic.fit([1, 1], [1.0, 0.0]) == Isotonic((1.0,), (0.5,))


@given(PAIRS)
def test_it_never_falls_and_keeps_the_mean_of_every_block(pairs: list[tuple[float, float]]) -> None:
    scores, targets = (np.array(column) for column in zip(*pairs, strict=True))
    found = Isotonic.fit(scores, targets)
    assert (np.diff(found(np.linspace(-1, 6, 200))) >= -1e-12).all()
    assert min(found.outputs) >= targets.min() - 1e-12
    assert max(found.outputs) <= targets.max() + 1e-12
    # A fit of fitted values changes nothing.
    again = Isotonic.fit(found.inputs, found.outputs)
    assert again(found.inputs) == pytest.approx(found.outputs)


@given(PAIRS, st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=21, max_size=21))
def test_no_other_rising_function_is_nearer(
    pairs: list[tuple[float, float]], other: list[float]
) -> None:
    scores, targets = (np.array(column) for column in zip(*pairs, strict=True))
    rival = np.sort(other)[(scores * 4).astype(int)]
    steps = _as_steps(scores, targets)
    assert np.sum((steps - targets) ** 2) <= np.sum((rival - targets) ** 2) + 1e-9


def _as_steps(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Value of each pair's block: of the knots the blocks stand at, the one nearest in order."""
    found = Isotonic.fit(scores, targets)
    middles, values = np.array(found.inputs), np.array(found.outputs)
    # Blocks are runs of sorted scores whose means are the knots.
    order = np.sort(np.unique(scores))
    fitted: dict[float, float] = {}
    block: list[float] = []
    number = 0
    for score in order:
        block.append(score)
        weights = np.concatenate([scores[scores == one] for one in block])
        if np.isclose(weights.mean(), middles[number]):
            fitted |= dict.fromkeys(block, float(values[number]))
            block, number = [], number + 1
    return np.array([fitted[score] for score in scores])


def test_what_is_no_calibration_is_refused() -> None:
    for inputs, outputs in (((), ()), ((0.0, 1.0), (0.0,)), ((1.0, 0.0), (0.0, 1.0))):
        with pytest.raises(ValueError, match="calibration"):
            Isotonic(inputs, outputs)
    with pytest.raises(ValueError, match="never fall"):
        Isotonic((0.0, 1.0), (1.0, 0.0))
