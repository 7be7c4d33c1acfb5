from __future__ import annotations

import pytest
import torch

from stepaudio.errors import TokenError
from stepaudio.tokenizers.interleave import (
    deinterleave,
    from_text,
    interleave,
    regroup_for_decoder,
    to_text,
    validate,
)
from stepaudio.types import SpeechTokens, TokenSpec


def test_worked_by_hand() -> None:
    spec = TokenSpec(10, 20)
    tokens = SpeechTokens(torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6, 7, 8]), spec)
    assert interleave(tokens, 100).tolist() == [101, 102, 114, 115, 116]
    assert to_text(tokens) == "<audio_1><audio_2><audio_14><audio_15><audio_16>"
    pairs = regroup_for_decoder(torch.tensor([1, 2, 14, 15, 16, 3]), spec)
    assert pairs.tolist() == [[1, 15], [2, 16], [10, 17], [3, 11], [0, 11], [10, 11]]


def test_empty_streams() -> None:
    empty = torch.empty(0, dtype=torch.int64)
    assert interleave(SpeechTokens(empty, empty)).tolist() == []
    assert deinterleave(empty).num_units == 0
    assert from_text("").num_units == 0
    with pytest.raises(TokenError, match="empty"):
        regroup_for_decoder(empty)


@pytest.mark.parametrize(
    "ids",
    [
        torch.zeros(5),
        torch.zeros(5, dtype=torch.bool),
        torch.zeros(1, 5, dtype=torch.int64),
        torch.tensor(3),
    ],
)
def test_only_flat_integers(ids: torch.Tensor) -> None:
    for function in (validate, deinterleave, regroup_for_decoder):
        with pytest.raises(TokenError, match="one-dimensional integer"):
            function(ids)


def test_narrow_integers_do_not_wrap() -> None:
    ids = torch.tensor([1, 2, 3, 4, 5], dtype=torch.int8)
    spec = TokenSpec(3, 200)
    assert deinterleave(ids, spec).semantic.tolist() == [0, 1, 2]
    with pytest.raises(TokenError, match="id 1 at position 0"):
        validate(ids, spec, offset=300)


@pytest.mark.parametrize("value", [-1, 5120, 65536])
def test_regrouping_refuses_what_is_no_audio_id(value: int) -> None:
    with pytest.raises(TokenError, match=f"id {value} at position 1 "):
        regroup_for_decoder(torch.tensor([0, value, 1024, 1024, 1024]))


def test_text_with_an_absurd_number() -> None:
    with pytest.raises(TokenError, match="position 1"):
        from_text("<audio_1><audio_" + "9" * 5000 + ">")
