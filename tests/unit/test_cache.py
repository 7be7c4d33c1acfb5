from __future__ import annotations

import pytest
import torch

from stepaudio.lm.cache import KVCache


def test_grows_by_doubling_and_keeps_what_it_holds() -> None:
    cache, pieces = KVCache(layers=1, capacity=2), []
    for length in (1, 1, 1, 6):
        new = torch.randn(2, 3, length, 4)
        pieces.append(new)
        keys, values = cache.append(0, new, -new)
        assert torch.equal(keys, torch.cat(pieces, dim=2))
        assert torch.equal(values, -keys)
        cache.advance(length)
    assert cache.length == 9
    assert keys.untyped_storage().nbytes() == 2 * 3 * 16 * 4 * 4


def test_appending_within_capacity_allocates_nothing() -> None:
    cache = KVCache(layers=1, capacity=8)
    first, _ = cache.append(0, torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    cache.advance(3)
    second, _ = cache.append(0, torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert first.data_ptr() == second.data_ptr()


def test_select_keeps_rows_and_their_padding() -> None:
    cache = KVCache(layers=1)
    keys = torch.arange(3.0).view(3, 1, 1, 1)
    cache.padding = torch.tensor([5, 6, 7])
    cache.append(0, keys, keys)
    cache.advance(1)
    cache.select(torch.tensor([2, 0]))
    assert cache.layer(0)[0].flatten().tolist() == [2.0, 0.0]
    assert cache.padding.tolist() == [7, 5]


def test_reading_an_empty_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        KVCache(layers=1).layer(0)
