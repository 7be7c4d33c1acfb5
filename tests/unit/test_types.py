"""Equality of values that hold tensors."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stepaudio.types import SpeechTokens, TokenSpec, TokenStep, VoicePrompt

SPEC = TokenSpec(16, 32)


def tokens() -> SpeechTokens:
    return SpeechTokens(torch.tensor([1, 2]), torch.tensor([1, 2, 3]), SPEC)


def test_equal_tokens_have_equal_codes_and_codebooks() -> None:
    mine = tokens()
    assert mine == tokens()
    assert tokens() in [mine]
    assert mine != dataclasses.replace(mine, linguistic=torch.tensor([1, 3]))
    assert mine != dataclasses.replace(mine, linguistic=torch.tensor([1, 2, 3]))
    assert mine != dataclasses.replace(mine, semantic=torch.tensor([1, 2, 4]))
    assert mine != dataclasses.replace(mine, spec=TokenSpec(16, 33))
    assert mine != "tokens"


def test_tokens_have_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(tokens())


def test_voices_and_steps_equal_themselves_alone() -> None:
    voice = VoicePrompt(tokens(), torch.zeros(80, 2), torch.zeros(3))
    step = TokenStep(torch.tensor([1, 2]), torch.tensor([True, True]), ("running", "running"))
    for value in (voice, step):
        assert value == value
        assert value != dataclasses.replace(value)
        assert len({value, dataclasses.replace(value)}) == 2
