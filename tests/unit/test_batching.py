from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepaudio.batching import group_by_length


def test_similar_lengths_stay_together() -> None:
    assert group_by_length([3, 10, 4, 9], most=100) == [[1, 3], [2, 0]]
    assert group_by_length([6, 6, 6, 6, 6], most=20) == [[0, 1, 2], [3, 4]]
    assert group_by_length([50, 5], most=20) == [[0], [1]]
    assert group_by_length([], most=20) == []


@given(st.lists(st.floats(0.1, 100), max_size=30), st.floats(1, 300))
def test_each_sample_is_in_one_group_of_bounded_size(lengths, most):
    groups = group_by_length(lengths, most)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        longest, shortest = max(lengths[i] for i in group), min(lengths[i] for i in group)
        assert len(group) == 1 or len(group) * longest <= most
        assert longest <= 1.5 * shortest * (1 + 1e-9)
