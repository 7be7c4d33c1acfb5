"""The conformance suite refuses each way in which a flow decoder can break its contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fakes import (
    MEL,
    TOKENS,
    FakeFlowDecoder,
)
from torch import Tensor

from stepaudio import testing
from stepaudio.testing import ConformanceError
from stepaudio.types import SpeechTokens, VoicePrompt


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
