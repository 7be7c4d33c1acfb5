"""The conformance suite accepts the fakes and refuses each way of breaking a contract."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fakes
import pytest
import torch
from fakes import (
    MEL,
    FakeFlowDecoder,
    FakeLM,
    FakePolicy,
    FakeRewardModel,
    FakeTokenizer,
    FakeVocoder,
)
from torch import Tensor

from stepaudio import testing
from stepaudio.testing import ConformanceError
from stepaudio.types import SpeechTokens, TokenizerSpec, TokenSpec


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (testing.check_tokenizer, FakeTokenizer),
        (testing.check_speech_lm, FakeLM),
        (testing.check_flow_decoder, FakeFlowDecoder),
        (testing.check_vocoder, FakeVocoder),
        (testing.check_reward_model, FakeRewardModel),
        (testing.check_policy, FakePolicy),
    ],
)
def test_the_fakes_conform(check: Callable[[Any], None], good: type) -> None:
    check(good())


def test_the_suite_needs_no_test_framework() -> None:
    code = (
        "import sys, stepaudio.testing; "
        "sys.exit(bool({'pytest', '_pytest', 'hypothesis'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
            SpeechTokens(empty, empty, fakes.TOKENS)
            if audio.seconds < 0.12
            else super(AcceptsClicks, self).encode([audio])[0]
            for audio in audios
        ]


class ReturnsOneObject(FakeTokenizer):
    def encode(self, audios: Sequence[Any]) -> Any:
        return super().encode(audios)[0]


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
    ],
)
def test_broken_tokenizers_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_tokenizer(broken())


class ChangesMel(FakeFlowDecoder):
    def change(self, mel: Tensor, count: int) -> Tensor:
        raise AssertionError

    def decode(self, tokens: Any, voices: Any, **kwargs: Any) -> list[Tensor]:
        mels = super().decode(tokens, voices, **kwargs)
        return [self.change(mel, len(mels)) for mel in mels]


class KeepsThePrompt(ChangesMel):
    def change(self, mel: Tensor, count: int) -> Tensor:
        return torch.cat([mel[:, :6], mel], dim=1)


class Transposes(ChangesMel):
    def change(self, mel: Tensor, count: int) -> Tensor:
        return mel.T


class Overflows(ChangesMel):
    def change(self, mel: Tensor, count: int) -> Tensor:
        return mel / 0


class MelSeesTheBatch(ChangesMel):
    def change(self, mel: Tensor, count: int) -> Tensor:
        return mel + count


class UnseededNoise(FakeFlowDecoder):
    def decode(self, tokens: Any, voices: Any, **kwargs: Any) -> list[Tensor]:
        return super().decode(tokens, voices)


class StreamsTooLittle(FakeFlowDecoder):
    def stream(self, tokens: Any, voice: Any, **kwargs: Any) -> Iterator[Tensor]:
        for mel in super().stream(tokens, voice, **kwargs):
            yield mel[:, :-2]


class ForgivesMissingVoices(FakeFlowDecoder):
    def decode(self, tokens: Any, voices: Any, **kwargs: Any) -> list[Tensor]:
        return super().decode(
            tokens, [voices[i % len(voices)] for i in range(len(tokens))], **kwargs
        )


class ForgivesAnySpeaker(FakeFlowDecoder):
    def _frames(self, tokens: Any, voice: Any, generator: Any) -> Tensor:
        fitting = dataclasses.replace(voice, speaker=voice.speaker[:3])
        return super()._frames(tokens, fitting, generator)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (KeepsThePrompt, "6 units must give 36 frames at 50 Hz, got 42"),
        (Transposes, r"must have shape \[4, T\]"),
        (Overflows, "mel must be finite"),
        (MelSeesTheBatch, "another mel alone"),
        (UnseededNoise, "same mel for the same generator state"),
        (StreamsTooLittle, "got 52"),
        (ForgivesMissingVoices, "two streams with one voice"),
        (ForgivesAnySpeaker, "speaker embedding of size 4 instead of 3"),
    ],
)
def test_broken_flow_decoders_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_flow_decoder(broken())


class ChangesWave(FakeVocoder):
    def change(self, wave: Tensor) -> Tensor:
        raise AssertionError

    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return self.change(super().synthesize(mel, **kwargs))


class OneHopShort(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave[:, : -MEL.hop_length]


class TooLoud(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave * 100


class Doubles(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave.double()


class SilentlyBroken(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave * float("nan")


class NormalisesTheBatch(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave / len(wave)


class GlobalNoise(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return (wave + 0.01 * torch.randn(wave.shape)).clamp(-1, 1)


class DropsThePieceEnds(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield wave[:-1]


class StreamsBatches(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield wave[None]


class AcceptsAnyBins(FakeVocoder):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel[:, : MEL.n_mels] if mel.dim() == 3 else mel, **kwargs)


class AcceptsNoBatch(FakeVocoder):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel if mel.dim() == 3 else mel[None], **kwargs)


class NoisyButSeeded(FakeVocoder):
    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        wave = super().synthesize(mel)
        return (wave + 0.01 * torch.randn(wave.shape, generator=generator)).clamp(-1, 1)


def test_a_vocoder_may_have_seeded_noise() -> None:
    testing.check_vocoder(NoisyButSeeded())


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (OneHopShort, "hop_length is 480"),
        (TooLoud, r"must lie in \[-1, 1\]"),
        (Doubles, "must be float32"),
        (SilentlyBroken, "must be finite"),
        (NormalisesTheBatch, "same in a batch"),
        (GlobalNoise, "same samples for the same generator state"),
        (DropsThePieceEnds, "19200 samples, got 19199"),
        (StreamsBatches, "one-dimensional pieces"),
        (AcceptsAnyBins, "5 instead of 4 bins"),
        (AcceptsNoBatch, "without a batch dimension"),
    ],
)
def test_broken_vocoders_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_vocoder(broken())
