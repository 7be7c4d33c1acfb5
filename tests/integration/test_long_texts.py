"""A text longer than a model can say at once: in parts, with pauses, as one recording."""

from __future__ import annotations

import math
from dataclasses import replace

import debug_parts as debug
import pytest
import torch
from same_results import assert_same, same_tokens

from stepaudio import Parts, TTSPipeline
from stepaudio.cutting import join_codes
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.istft import ISTFTVocoder
from stepaudio.errors import CancelledError
from stepaudio.seeds import part_seed
from stepaudio.sentences import split_text
from stepaudio.synthesis import ROWS_TOGETHER, outcome
from stepaudio.types import SamplingParams, VoicePrompt

SHORT = "well why not"
LONG = "Hello there, how are you today? See you tomorrow, said the cat to the dog. Well, why not."
DEFAULTS = replace(debug.DEFAULTS, part_seconds=2.0)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


@pytest.fixture(scope="module")
def pipe(parts: Parts) -> TTSPipeline:
    return TTSPipeline(parts, defaults=DEFAULTS)


@pytest.fixture(scope="module")
def voice(pipe: TTSPipeline) -> VoicePrompt:
    return pipe.voice_prompt(debug.speech())


def speak(pipe: TTSPipeline, text: str | list[str], voice: VoicePrompt, **how: object):
    return pipe.speak(text, voice=voice, seed=3, policy="research", **how)


def test_each_part_is_written_as_it_is_alone(pipe: TTSPipeline, voice: VoicePrompt) -> None:
    cut = split_text(LONG, 2.0)
    assert len(cut) > 2
    alone = [
        pipe.speak(part.text, voice=voice, seed=part_seed(3, number), policy="research")
        for number, part in enumerate(cut)
    ]
    result = speak(pipe, LONG, voice)
    assert same_tokens(result.tokens, join_codes([one.tokens for one in alone]))
    assert result.text == LONG
    assert result.stop_reason == outcome(one.stop_reason for one in alone)
    whole = speak(TTSPipeline(pipe.parts, defaults=debug.DEFAULTS), LONG, voice)
    assert whole.tokens.num_units < result.tokens.num_units


def test_pauses_lie_between_the_parts(
    pipe: TTSPipeline, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[torch.Tensor] = []
    stream = ISTFTVocoder.stream

    def watch(self, mels, **how):
        return stream(self, (heard.append(mel) or mel for mel in mels), **how)

    monkeypatch.setattr(ISTFTVocoder, "stream", watch)
    result = speak(pipe, LONG, voice)
    pauses = [round(part.pause * debug.MEL.frame_rate) for part in split_text(LONG, 2.0)]
    assert pauses == [8, 18, 8, 18, 0]
    silent = [bool((mel == math.log(debug.MEL.log_floor)).all()) for mel in heard]
    assert silent == [False, True] * 4 + [False]
    assert [mel.shape[1] for mel in heard[1::2]] == pauses[:-1]
    assert result.audio.seconds == pytest.approx(result.tokens.seconds + sum(pauses) / 50)


def test_a_batch_of_short_and_long(pipe: TTSPipeline, voice: VoicePrompt) -> None:
    texts = [SHORT, LONG, SHORT]
    results = speak(pipe, texts, voice)
    for text, result in zip(texts, results, strict=True):
        assert_same(result, speak(pipe, text, voice), atol=1e-4)


def test_more_parts_than_are_written_together(pipe: TTSPipeline, voice: VoicePrompt) -> None:
    texts = [SHORT] * ROWS_TOGETHER + [LONG]
    few = SamplingParams(min_new_tokens=5, max_new_tokens=10)
    results = speak(pipe, texts, voice, sampling=few)
    assert_same(results[-1], speak(pipe, LONG, voice, sampling=few), atol=1e-4)
    assert all(same_tokens(one.tokens, results[0].tokens) for one in results[:-1])


def test_a_stream_says_the_same(pipe: TTSPipeline, voice: VoicePrompt) -> None:
    with pipe.stream(LONG, voice=voice, seed=3, policy="research") as stream:
        chunks = list(stream)
    result, whole = stream.result, speak(pipe, LONG, voice)
    assert torch.equal(torch.cat([chunk.samples for chunk in chunks]), result.audio.samples)
    assert same_tokens(result.tokens, whole.tokens)
    assert len(result.audio) == len(whole.audio)
    assert result.stop_reason == whole.stop_reason


def test_leaving_a_stream_in_its_second_part(pipe: TTSPipeline, voice: VoicePrompt) -> None:
    asked = iter(range(10**6))
    with (
        pytest.raises(CancelledError),
        pipe.stream(
            LONG, voice=voice, seed=3, policy="research", cancel=lambda: next(asked) > 60
        ) as stream,
    ):
        list(stream)


def test_the_whole_is_marked_once(
    parts: Parts, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark runs over all parts, and the decoder hears the same voice in each of them."""
    prompts: list[VoicePrompt] = []
    decode = TokenFlowDecoder.decode

    def watch(self, tokens, voices, **how):
        prompts.extend(voices)
        return decode(self, tokens, voices, **how)

    monkeypatch.setattr(TokenFlowDecoder, "decode", watch)
    long = SamplingParams(min_new_tokens=100, max_new_tokens=150)
    pipe = TTSPipeline(parts, defaults=DEFAULTS)
    result = speak(pipe, LONG, voice, sampling=long)
    assert len(prompts) == len(split_text(LONG, 2.0))
    assert all(prompt is voice for prompt in prompts)
    assert pipe.watermarker is not None
    assert result.watermark is not None
    assert pipe.watermarker.detect(result.audio).payload == result.watermark.payload
