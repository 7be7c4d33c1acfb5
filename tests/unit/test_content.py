"""Words kept, told from linguistic codes alone: warping by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.tokenizers.content import code_costs, lost_content, warped_cost

#: On a line: the mean distance of different codes is (1 + 3 + 2) / 3 = 2.
LINE = torch.tensor([[0.0], [1.0], [3.0]])


def test_costs_are_distances_relative_to_their_mean_and_at_most_one() -> None:
    expected = [[0.0, 0.5, 1.0], [0.5, 0.0, 1.0], [1.0, 1.0, 0.0]]
    np.testing.assert_allclose(code_costs(LINE), expected)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([0, 1], [0, 1], 0.0),
        # One near code at the end, reached along one sequence: once its cost, of four frames.
        ([0, 0], [0, 1], 0.5 / 4),
        # Twice as slow is the same words.
        ([0, 2], [0, 0, 2, 2], 0.0),
        # In the other order: the first pair twice 1, the second one nothing, the last one 1.
        ([0, 2], [2, 0], 3 / 4),
        ([], [1], 1.0),
        ([1], [], 1.0),
    ],
)
def test_by_hand(before: list[int], after: list[int], expected: float) -> None:
    codes = (torch.tensor(c, dtype=torch.int64) for c in (before, after))
    assert lost_content(*codes, code_costs(LINE)) == pytest.approx(expected)


def brute(costs: np.ndarray) -> float:
    def best(i: int, j: int) -> float:
        if i == j == 0:
            return 2 * float(costs[0, 0])
        ways = []
        if i:
            ways.append(best(i - 1, j) + costs[i, j])
        if j:
            ways.append(best(i, j - 1) + costs[i, j])
        if i and j:
            ways.append(best(i - 1, j - 1) + 2 * costs[i, j])
        return float(min(ways))

    return best(costs.shape[0] - 1, costs.shape[1] - 1) / sum(costs.shape)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_warping_is_that_of_brute_force(n: int, m: int, seed: int) -> None:
    costs = np.random.default_rng(seed).uniform(0, 1, (n, m))
    found = warped_cost(costs)
    assert found == pytest.approx(brute(costs))
    assert found == pytest.approx(warped_cost(costs.T))
    assert costs.min() - 1e-9 <= found <= costs.max() + 1e-9
