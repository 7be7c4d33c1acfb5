from __future__ import annotations

import pytest
import torch

from stepaudio.lm.alibi import QUERY_BLOCK, SqrtAlibi, alibi_slopes

CPU = torch.device("cpu")


def test_slopes_by_hand() -> None:
    # 6 heads: 2^-2, 2^-4, 2^-6, 2^-8, then the odd steps of eight heads: 2^-1, 2^-3.
    expected = torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8])
    assert torch.equal(alibi_slopes(6), expected)
    slopes = alibi_slopes(48)
    published = torch.tensor([0.8408964, 0.00390625, 0.9170040, 0.0681567])
    torch.testing.assert_close(slopes[[0, 31, 32, 47]], published, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("queries", "past"), [(1, 0), (1, 37), (5, 3), (QUERY_BLOCK + 7, 0), (2 * QUERY_BLOCK, 1500)]
)
def test_blocks_equal_the_formula(queries: int, past: int) -> None:
    blocks = SqrtAlibi(6).blocks(queries, past, device=CPU, dtype=torch.float32)
    assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, queries)
    for start, stop, bias, first in blocks:
        assert first == 0
        i = torch.arange(past + start, past + stop)[:, None]
        j = torch.arange(past + stop)[None]
        distance = (i - j).float()
        expected = -alibi_slopes(6)[:, None, None] * distance.clamp(min=0).sqrt()
        expected = expected.masked_fill(distance < 0, float("-inf"))
        assert torch.equal(bias[0], expected)


def test_padding_hides_the_head_and_leaves_no_empty_row() -> None:
    padding = torch.tensor([0, 2])
    (block,) = SqrtAlibi(2).blocks(4, 0, device=CPU, dtype=torch.float32, padding=padding)
    seen = block.bias[:, 0].isfinite().int().tolist()
    assert seen[0] == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert seen[1][2:] == [[0, 0, 1, 0], [0, 0, 1, 1]]
    assert all(sum(row) for row in seen[1])


def test_a_decoding_step_copies_nothing() -> None:
    alibi = SqrtAlibi(4)
    (first,) = alibi.blocks(1, 10, device=CPU, dtype=torch.float32)
    (second,) = alibi.blocks(1, 11, device=CPU, dtype=torch.float32)
    storage = first.bias.untyped_storage().data_ptr()
    assert second.bias.untyped_storage().data_ptr() == storage


def test_table_made_in_inference_mode_can_be_trained_with() -> None:
    alibi = SqrtAlibi(4)
    with torch.inference_mode():
        alibi.blocks(3, 0, device=CPU, dtype=torch.float32)
    (block,) = alibi.blocks(3, 0, device=CPU, dtype=torch.float32)
    assert not block.bias.is_inference()


def test_documents_are_biased_as_if_each_stood_alone() -> None:
    alibi = SqrtAlibi(2)
    lengths = [3, QUERY_BLOCK + 5, 1]
    blocks = alibi.blocks(sum(lengths), 0, device=CPU, dtype=torch.float32, documents=lengths)
    assert [(b.start, b.stop, b.first) for b in blocks] == [
        (0, 3, 0),
        (3, QUERY_BLOCK + 3, 3),
        (QUERY_BLOCK + 3, QUERY_BLOCK + 8, 3),
        (QUERY_BLOCK + 8, QUERY_BLOCK + 9, QUERY_BLOCK + 8),
    ]
    alone = alibi.blocks(QUERY_BLOCK + 5, 0, device=CPU, dtype=torch.float32)
    assert torch.equal(blocks[1].bias, alone[0].bias)
    assert torch.equal(blocks[2].bias, alone[1].bias)


@pytest.mark.parametrize(
    ("documents", "past", "padding"),
    [([2, 1], 0, None), ([4], 1, None), ([4, 0], 0, None), ([4], 0, torch.tensor([1]))],
)
def test_documents_that_do_not_fit(
    documents: list[int], past: int, padding: torch.Tensor | None
) -> None:
    with pytest.raises(ValueError, match="must fill the 4 positions"):
        SqrtAlibi(2).blocks(
            4, past, device=CPU, dtype=torch.float32, padding=padding, documents=documents
        )
