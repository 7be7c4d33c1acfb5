"""Words kept, told from codes alone: warping by hand and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.tokenizers.content import code_costs, lost_content, warped_cost
from stepaudio.types import SpeechTokens, TokenSpec

SPEC = TokenSpec(3, 3)
#: On a line: pairs are 1, 3 and 2 apart, the root mean square is sqrt(14 / 3) = 2.16.
LINE = torch.tensor([[0.0], [1.0], [3.0]])
NEAR, FAR = 1 / math.sqrt(14 / 3), 2 / math.sqrt(14 / 3)


def tokens(linguistic: list[int], semantic: int = 0) -> SpeechTokens:
    """Units of two linguistic codes and three times the same semantic one."""
    codes = torch.tensor(linguistic, dtype=torch.int64)
    return SpeechTokens(codes, torch.full((len(codes) // 2 * 3,), semantic), SPEC)


def test_costs_are_distances_relative_to_those_of_all_pairs_and_at_most_one() -> None:
    every = torch.arange(3)
    expected = torch.tensor([[0.0, NEAR, 1.0], [NEAR, 0.0, FAR], [1.0, FAR, 0.0]])
    assert torch.allclose(code_costs(every, every, LINE), expected)
    book = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    pairs = torch.pdist(book).square().mean().sqrt()
    found = code_costs(torch.arange(50), torch.arange(50), book)
    assert torch.allclose(found, (torch.cdist(book, book) / pairs).clamp(max=1), atol=1e-3)
    assert float(found.diagonal().max()) == 0.0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (tokens([0, 1]), tokens([0, 1]), 0.0),
        # Half of every cost is linguistic. Two of four codes: the last three frames of twelve.
        (tokens([0, 0]), tokens([0, 1]), 3 * NEAR / 2 / 12),
        # Twice as slow is the same words.
        (tokens([0, 2]), tokens([0, 0, 2, 2]), 0.0),
        # Every frame far in one stream, alike in the other: both halves count.
        (tokens([1, 1]), tokens([1, 1], semantic=2), 0.5),
        (tokens([]), tokens([1, 1]), 1.0),
        (tokens([1, 1]), tokens([]), 1.0),
    ],
)
def test_by_hand(before: SpeechTokens, after: SpeechTokens, expected: float) -> None:
    assert lost_content(before, after, (LINE, LINE)) == pytest.approx(expected)


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


def test_codes_beyond_the_last_whole_unit_count_nothing() -> None:
    whole, other = tokens([0, 2]), tokens([0, 0, 2, 1])
    longer = SpeechTokens(torch.tensor([0, 2, 1]), torch.tensor([0, 0, 0, 2, 2]), SPEC)
    expected = lost_content(whole, other, (LINE, LINE))
    assert lost_content(longer, other, (LINE, LINE)) == expected
    assert lost_content(other, longer, (LINE, LINE)) == expected
