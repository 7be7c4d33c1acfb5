"""The conformance suite refuses each way of breaking a speaker encoder or a text tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fakes import TOKENS, FakeSpeakerEncoder, FakeTextTokenizer
from torch import Tensor

from stepaudio import testing
from stepaudio.audio import Audio
from stepaudio.testing import ConformanceError


class ChangesEmbedding(FakeSpeakerEncoder):
    def change(self, embedding: Tensor) -> Any:
        raise AssertionError

    def embed(self, audio: Audio) -> Any:
        return self.change(super().embed(audio))


class NoSize(FakeSpeakerEncoder):
    @property
    def dim(self) -> int:
        return 0


class OneShort(ChangesEmbedding):
    def change(self, embedding: Tensor) -> Tensor:
        return embedding[1:]


class KeepsABatch(ChangesEmbedding):
    def change(self, embedding: Tensor) -> Tensor:
        return embedding[None]


class EmbedsDoubles(ChangesEmbedding):
    def change(self, embedding: Tensor) -> Tensor:
        return embedding.double()


class Numbers(ChangesEmbedding):
    def change(self, embedding: Tensor) -> list[float]:
        return embedding.tolist()


class NotANumber(ChangesEmbedding):
    def change(self, embedding: Tensor) -> Tensor:
        return embedding * float("nan")


class OneVoice(ChangesEmbedding):
    def change(self, embedding: Tensor) -> Tensor:
        return torch.ones_like(embedding)


class RemembersTheLast(ChangesEmbedding):
    last: float | Tensor = 0.0

    def change(self, embedding: Tensor) -> Tensor:
        mixed, self.last = embedding + self.last, embedding
        return mixed


class WritesIntoItsInput(FakeSpeakerEncoder):
    def embed(self, audio: Audio) -> Tensor:
        audio.samples.mul_(0.5)
        return super().embed(audio)


class DeafToTheRate(FakeSpeakerEncoder):
    def embed(self, audio: Audio) -> Tensor:
        return super().embed(Audio(audio.samples, 16000))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (NoSize, "dim must be a positive number, got 0"),
        (OneShort, r"float32 of shape \(8,\), got torch.float32 of shape \(7,\)"),
        (KeepsABatch, r"of shape \(1, 8\)"),
        (EmbedsDoubles, "got torch.float64"),
        (Numbers, "got <class 'list'>"),
        (NotANumber, "embeddings must be finite"),
        (OneVoice, "different voices must have different embeddings"),
        (RemembersTheLast, "twice must give the same embedding"),
        (WritesIntoItsInput, "must not change the samples"),
        (DeafToTheRate, "a voice at 48000 Hz must be 5 times nearer"),
    ],
)
def test_broken_speaker_encoders_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_speaker_encoder(broken())


class NoVocabulary(FakeTextTokenizer):
    @property
    def vocab_size(self) -> int:
        return 0


class CutsTheVocabulary(FakeTextTokenizer):
    @property
    def vocab_size(self) -> int:
        return len(self.names) - 1


class BeyondTheVocabulary(FakeTextTokenizer):
    def encode(self, text: str) -> list[int]:
        return [i + 300 if i < 259 else i for i in super().encode(text)]


class KnowsEveryToken(FakeTextTokenizer):
    def token_id(self, token: str) -> int:
        return super().token_id(token) if token in self.names else 0


class LacksAMark(FakeTextTokenizer):
    MARKS = ("<s>", "<|BOT|>", "<|end|>")


class BeginsEveryText(FakeTextTokenizer):
    def encode(self, text: str) -> list[int]:
        return [0, *super().encode(text)]


class ReturnsATuple(FakeTextTokenizer):
    def encode(self, text: str) -> Any:
        return tuple(super().encode(text))


class ForgetsCase(FakeTextTokenizer):
    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("W", "w"))


class LosesLineEnds(FakeTextTokenizer):
    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).replace("\n", " ")


class HidesMarks(FakeTextTokenizer):
    def decode(self, ids: Sequence[int]) -> str:
        return super().decode([i for i in ids if i >= 3])


class CountsCalls(FakeTextTokenizer):
    calls = 0

    def encode(self, text: str) -> list[int]:
        self.calls += 1
        return [*super().encode(text), 3 + 32][: None if text and self.calls % 2 else -1]

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).rstrip(" ")


class SpellsMarks(FakeTextTokenizer):
    def encode(self, text: str) -> list[int]:
        return [3 + byte for byte in text.encode()] if "<|BOT|>" in text else super().encode(text)


class SpellsAudio(FakeTextTokenizer):
    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for i in super().encode(text):
            ids += [i] if i < 259 else [3 + byte for byte in self.names[i].encode()]
        return ids


class ShufflesAudio(FakeTextTokenizer):
    def __init__(self) -> None:
        super().__init__()
        self.names[-2:] = self.names[:-3:-1]


class SpellsAudioAfterWords(FakeTextTokenizer):
    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("w<audio_0>", "w <audio_0 >"))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (NoVocabulary, "vocab_size must be positive"),
        (CutsTheVocabulary, "24 audio tokens from id 259 do not fit a vocabulary of 282"),
        (BeyondTheVocabulary, r"ids .* of 'see you tomorrow' are not in 0..282"),
        (KnowsEveryToken, "must be refused with KeyError, but it was accepted"),
        (LacksAMark, r"the vocabulary must hold <\|EOT\|>"),
        (BeginsEveryText, r"no text must give no ids, got \[0\]"),
        (ReturnsATuple, "must return a list of int"),
        (ForgetsCase, "decode must give back the text"),
        (LosesLineEnds, "decode must give back the text"),
        (HidesMarks, "decode must give back the text"),
        (CountsCalls, "twice must give the same ids"),
        (SpellsMarks, r"<\|BOT\|> must be read as id 1 alone"),
        (SpellsAudio, "must be read as the 24 ids from 259 on"),
        (ShufflesAudio, "must be read as the 24 ids from 259 on"),
        (SpellsAudioAfterWords, "must be read between words as they are alone"),
    ],
)
def test_broken_text_tokenizers_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_text_tokenizer(broken(), TOKENS)
