"""The conformance suite accepts the fakes and refuses each way of breaking a contract."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from fakes import (
    MEL,
    TOKENS,
    FakeFlowDecoder,
    FakeLM,
    FakePolicy,
    FakeRewardModel,
    FakeSpeakerEncoder,
    FakeTextTokenizer,
    FakeTokenizer,
    FakeVocoder,
)
from torch import Tensor

from stepaudio import testing
from stepaudio.testing import ConformanceError
from stepaudio.types import SpeechTokens, TokenizerSpec, TokenSpec, VoicePrompt


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (testing.check_tokenizer, FakeTokenizer),
        (testing.check_speech_lm, FakeLM),
        (testing.check_flow_decoder, FakeFlowDecoder),
        (testing.check_vocoder, FakeVocoder),
        (testing.check_reward_model, FakeRewardModel),
        (testing.check_policy, FakePolicy),
        (testing.check_speaker_encoder, FakeSpeakerEncoder),
        (partial(testing.check_text_tokenizer, tokens=TOKENS), FakeTextTokenizer),
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


class MakesDoubles(ChangesMel):
    def change(self, mel: Tensor, count: int) -> Tensor:
        return mel.double()


class StreamsDoubles(FakeFlowDecoder):
    def stream(self, tokens: Any, voice: Any, **kwargs: Any) -> Iterator[Tensor]:
        for mel in super().stream(tokens, voice, **kwargs):
            yield mel.double()


class StreamsUnseededNoise(FakeFlowDecoder):
    def stream(self, tokens: Any, voice: Any, **kwargs: Any) -> Iterator[Tensor]:
        return super().stream(tokens, voice)


class ChangesInput(FakeFlowDecoder):
    def change(self, tokens: SpeechTokens, voice: VoicePrompt) -> tuple[SpeechTokens, VoicePrompt]:
        raise AssertionError

    def _frames(self, tokens: Any, voice: Any, generator: Any) -> Tensor:
        return super()._frames(*self.change(tokens, voice), generator)


class DeafToTheVoice(ChangesInput):
    def change(self, tokens: SpeechTokens, voice: VoicePrompt) -> tuple[SpeechTokens, VoicePrompt]:
        return tokens, dataclasses.replace(voice, speaker=voice.speaker * 0)


class DeafToTheTokens(ChangesInput):
    def change(self, tokens: SpeechTokens, voice: VoicePrompt) -> tuple[SpeechTokens, VoicePrompt]:
        return dataclasses.replace(tokens, semantic=tokens.semantic * 0), voice


class StreamsAnyVoice(FakeFlowDecoder):
    def stream(self, tokens: Any, voice: Any, **kwargs: Any) -> Iterator[Tensor]:
        voice = dataclasses.replace(voice, speaker=voice.speaker * 0)
        return super().stream(tokens, voice, **kwargs)


class ForgivesAnyMel(ChangesInput):
    def change(self, tokens: SpeechTokens, voice: VoicePrompt) -> tuple[SpeechTokens, VoicePrompt]:
        return tokens, dataclasses.replace(voice, mel_spec=MEL)


class ForgivesAnyCodebooksOfTheVoice(ChangesInput):
    def change(self, tokens: SpeechTokens, voice: VoicePrompt) -> tuple[SpeechTokens, VoicePrompt]:
        known = dataclasses.replace(voice.tokens, spec=TOKENS)
        return tokens, dataclasses.replace(voice, tokens=known)


class ForgivesAnyCodebooks(ChangesInput):
    def change(self, tokens: SpeechTokens, voice: VoicePrompt) -> tuple[SpeechTokens, VoicePrompt]:
        return dataclasses.replace(tokens, spec=TOKENS), voice


class IgnoresSteps(FakeFlowDecoder):
    has_steps = True


class IgnoresGuidance(FakeFlowDecoder):
    has_guidance = True


class Refines(FakeFlowDecoder):
    """More steps and more guidance give another mel, also in a stream."""

    has_steps = True
    has_guidance = True

    def decode(
        self, tokens: Any, voices: Any, *, steps: Any = 1, guidance: Any = 0, **kwargs: Any
    ) -> list[Tensor]:
        return [mel + steps + guidance for mel in super().decode(tokens, voices, **kwargs)]

    def stream(
        self, tokens: Any, voice: Any, *, steps: Any = 1, guidance: Any = 0, **kwargs: Any
    ) -> Iterator[Tensor]:
        for mel in super().stream(tokens, voice, **kwargs):
            yield mel + steps + guidance


class HidesItsSteps(Refines):
    has_steps = False


class StreamsInOneStep(Refines):
    def stream(self, tokens: Any, voice: Any, *, steps: Any = 1, **kwargs: Any) -> Iterator[Tensor]:
        return super().stream(tokens, voice, **kwargs)


def test_a_flow_decoder_may_have_steps_and_guidance() -> None:
    testing.check_flow_decoder(Refines())


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
        (MakesDoubles, "mel must be float32, got torch.float64"),
        (StreamsDoubles, "mel must be float32, got torch.float64"),
        (StreamsUnseededNoise, "stream must give the same mel for the same generator state"),
        (DeafToTheVoice, "another voice must change the mel that decode gives"),
        (DeafToTheTokens, "other tokens must change the mel that decode gives"),
        (StreamsAnyVoice, "another voice must change the mel that stream gives"),
        (ForgivesAnyMel, "mel has another mel_spec must be refused by decode"),
        (ForgivesAnyCodebooksOfTheVoice, "voice with tokens of other codebooks must be refused"),
        (ForgivesAnyCodebooks, "tokens of other codebooks must be refused by decode"),
        (IgnoresSteps, "has_steps is True, but a change of steps does not"),
        (IgnoresGuidance, "has_guidance is True, but a change of guidance does not"),
        (HidesItsSteps, "has_steps is False, but a change of steps changes"),
        (
            StreamsInOneStep,
            "has_steps is True, but a change of steps does not change the mel that stream",
        ),
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


class LoudStream(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield torch.full_like(wave, 50.0)


class StreamsDoubleSamples(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield wave.double()


class NeedsTwoFrames(FakeVocoder):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        if mel.shape[-1] < 2:
            raise RuntimeError("too short")
        return super().synthesize(mel, **kwargs)

    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        yield self.synthesize(torch.cat(list(mels), dim=1)[None])[0]


class Framewise(FakeVocoder):
    @property
    def context(self) -> int | None:
        return 0


class HasSeams(Framewise):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel.cumsum(-1) if mel.dim() == 3 else mel, **kwargs)


class LooksFurtherAhead(HasSeams):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel.flip(-1), **kwargs)

    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        yield self.synthesize(torch.cat(list(mels), dim=1)[None])[0]


class EndlessContext(FakeVocoder):
    @property
    def context(self) -> Any:
        return float("inf")


def test_a_vocoder_may_have_a_context() -> None:
    testing.check_vocoder(Framewise())


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
        (LoudStream, r"streamed samples must lie in \[-1, 1\], got 50"),
        (StreamsDoubleSamples, "streamed samples must be float32, got torch.float64"),
        (NeedsTwoFrames, "a single frame .* it raised RuntimeError: too short"),
        (HasSeams, "must stream what it synthesizes"),
        (LooksFurtherAhead, "context is 0, but frames further ahead"),
        (EndlessContext, "number of frames or None, got inf"),
    ],
)
def test_broken_vocoders_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_vocoder(broken())
