"""Whether two results of a pipeline are the same."""

from __future__ import annotations

import torch

from stepaudio import EditResult
from stepaudio.types import SpeechTokens


def same_tokens(one: SpeechTokens, other: SpeechTokens) -> bool:
    return torch.equal(one.linguistic, other.linguistic) and torch.equal(
        one.semantic, other.semantic
    )


def assert_same(one: EditResult, other: EditResult, *, atol: float = 0.0) -> None:
    assert same_tokens(one.tokens, other.tokens)
    assert one.stop_reason == other.stop_reason
    assert one.seed == other.seed
    assert one.length_ratio == other.length_ratio
    assert one.text == other.text
    assert one.audio.sample_rate == other.audio.sample_rate
    torch.testing.assert_close(one.audio.samples, other.audio.samples, atol=atol, rtol=0)
