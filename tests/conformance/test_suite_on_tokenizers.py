"""The conformance suite refuses each way in which a tokenizer can break its contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fakes import (
    TOKENS,
    FakeTokenizer,
)
from torch import Tensor

from stepaudio import testing
from stepaudio.testing import ConformanceError
from stepaudio.types import SpeechTokens, TokenizerSpec, TokenSpec


def shorten(tokens: SpeechTokens, linguistic: int = 0, semantic: int = 0) -> SpeechTokens:
    return SpeechTokens(
        tokens.linguistic[: len(tokens.linguistic) - linguistic],
        tokens.semantic[: len(tokens.semantic) - semantic],
        tokens.spec,
    )


class LiesAboutCodebooks(FakeTokenizer):
    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(16000, TokenSpec())


class LosesTheEnd(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        return [shorten(tokens, semantic=12) for tokens in super().encode(audios)]


class MixesUpTheBatch(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        return super().encode(audios)[::-1]


class DropsSamples(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        return super().encode(audios)[:3]


class ForgetsItself(FakeTokenizer):
    calls = 0

    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        self.calls += 1
        size = self.spec.tokens.linguistic_size
        return [
            dataclasses.replace(tokens, linguistic=(tokens.linguistic + self.calls) % size)
            for tokens in super().encode(audios)
        ]


class WritesIntoItsInput(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        for audio in audios:
            audio.samples.mul_(0.5)
        return super().encode(audios)


class AcceptsClicks(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        empty = torch.zeros(0, dtype=torch.int64)
        return [
            SpeechTokens(empty, empty, TOKENS)
            if audio.seconds < 0.12
            else super(AcceptsClicks, self).encode([audio])[0]
            for audio in audios
        ]


class ReturnsOneObject(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> Any:
        return super().encode(audios)[0]


class OneLinguisticCode(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> list[SpeechTokens]:
        return [
            dataclasses.replace(tokens, linguistic=tokens.linguistic * 0)
            for tokens in super().encode(audios)
        ]


class WithCentroids(FakeTokenizer):
    sizes = ((8, 2), (16, 3))

    def codebooks(self) -> tuple[Tensor, ...]:
        return tuple(torch.ones(size) for size in self.sizes)


class TooFewCentroids(WithCentroids):
    sizes = ((8, 2), (15, 3))


class FlatCentroids(WithCentroids):
    sizes = ((8,), (16,))


class OneBook(WithCentroids):
    sizes = ((8, 2),)


class WholeCentroids(WithCentroids):
    def codebooks(self) -> tuple[Tensor, ...]:
        return tuple(book.long() for book in super().codebooks())


def test_a_tokenizer_may_have_centroids() -> None:
    testing.check_tokenizer(WithCentroids())


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (LiesAboutCodebooks, "codebooks of the spec"),
        (LosesTheEnd, "semantic stream of a recording"),
        (MixesUpTheBatch, "recording 0 has other codes"),
        (DropsSamples, "4 recordings must give as many"),
        (ForgetsItself, "twice must give the same"),
        (WritesIntoItsInput, "must not change the samples"),
        (AcceptsClicks, "5 ms must be refused with AudioError or padded"),
        (ReturnsOneObject, "must return a list"),
        (OneLinguisticCode, "linguistic codes of a voice and of a hiss must differ"),
        (TooFewCentroids, r"16 semantic codes as \[16, D\], got shape \(15, 3\)"),
        (FlatCentroids, r"8 linguistic codes as \[8, D\], got shape \(8,\)"),
        (OneBook, "must return two tensors or None"),
        (WholeCentroids, "centroids must be finite floats"),
    ],
)
def test_broken_tokenizers_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_tokenizer(broken())
