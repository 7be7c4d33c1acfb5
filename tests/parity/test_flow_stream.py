"""The streaming road end to end against flow_stream.tiny and hift_stream.tiny."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_bigvgan
import test_hift
import torch
from conftest import Golden, assert_close
from flow_golden import flow_config
from torch import Tensor

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.chunking import ChunkPolicy
from stepaudio.decoder.crossfade import (
    BigVGANRenderer,
    ChunkRenderer,
    CrossFade,
    HiFTRenderer,
    SpeechStream,
)
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.hift import HiFTVocoder
from stepaudio.decoder.streaming import MelStream
from stepaudio.hub import load_strict
from stepaudio.tokenizers.interleave import deinterleave, regroup_for_decoder
from stepaudio.types import VoicePrompt


@pytest.fixture(scope="module")
def reference(golden: Callable[[str], Golden]) -> Golden:
    return golden("flow_stream.tiny")


@pytest.fixture(scope="module")
def hift_reference(golden: Callable[[str], Golden]) -> Golden:
    return golden("hift_stream.tiny")


def make_flow(reference: Golden, *, published_rounding: bool = False) -> TokenFlowDecoder:
    steps = reference.meta["n_timesteps"]
    config = flow_config(
        reference.spec["config"], steps=steps, published_rounding=published_rounding
    )
    model = TokenFlowDecoder(config)
    load_strict(model, reference.weights(), "golden weights")
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def flow(reference: Golden) -> TokenFlowDecoder:
    return make_flow(reference)


def vocoder_of(reference: Golden) -> Golden:
    """The golden file as seen by the vocoder's tests: its spec and its weights."""
    meta = {"spec": reference.meta["vocoder_spec"], "fill_prefix": reference.meta["vocoder_prefix"]}
    return Golden({}, meta, reference.fill)


@pytest.fixture(scope="module")
def bigvgan(reference: Golden) -> BigVGANVocoder:
    return test_bigvgan.build(vocoder_of(reference))


@pytest.fixture
def hift(hift_reference: Golden, monkeypatch: pytest.MonkeyPatch) -> HiFTVocoder:
    """With every random draw of its source set to zero."""

    def no_noise(batch: int, frames: int, hop: int, channels: int, **where: object) -> Tensor:
        return torch.zeros(batch, frames * hop, channels)

    monkeypatch.setattr("stepaudio.decoder.hift.draw_noise", no_noise)
    return test_hift.build(vocoder_of(hift_reference))


def make_stream(flow: TokenFlowDecoder, reference: Golden) -> MelStream:
    voice = VoicePrompt(
        deinterleave(reference["prompt_mixed"]),
        reference["prompt_feat"][0].T,
        reference["spk"][0],
        mel_spec=flow.config.mel,
    )
    policy = ChunkPolicy(sizes=tuple(reference.meta["chunk_sizes"]))
    return MelStream(flow, voice, policy, noise=reference["noise"][0].T)


def speak(
    flow: TokenFlowDecoder, renderer: ChunkRenderer, reference: Golden
) -> tuple[list[int], list[Tensor]]:
    """Which calls returned sound, and the sound."""
    stream = SpeechStream(make_stream(flow, reference), CrossFade(renderer))
    calls, waves = [], []
    for call, piece in enumerate([*reference["mixed"].split(reference.meta["piece"]), None]):
        wave = stream.finish() if piece is None else stream.push(piece)
        if wave is not None:
            calls.append(call)
            waves.append(wave)
    return calls, waves


def whole_mel(flow: TokenFlowDecoder, reference: Golden) -> Tensor:
    """``[1, C, T]`` without streaming, from the recorded noise."""
    prompt = regroup_for_decoder(reference["prompt_mixed"])
    pairs = torch.cat([prompt, regroup_for_decoder(reference["mixed"])])[None]
    mu, mask = flow.encode_tokens(pairs, torch.tensor([pairs.shape[1]]))
    frames = flow.config.encoder.up_factor * len(prompt)
    known = torch.zeros_like(mu)
    known[0, :frames] = flow.align_prompt(reference["prompt_feat"][0].T, frames).T
    noise = reference["noise"][..., : mu.shape[1]].transpose(1, 2)
    speaker = flow.project_speaker(reference["spk"])
    return flow.sample(mu, speaker, known, noise, mask)[:, frames:].transpose(1, 2)


def test_mel_chunks(
    flow: TokenFlowDecoder, reference: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, cached = [], []
    from stepaudio.decoder import streaming

    decode = streaming.continue_stream

    def watch(flow, pairs, noise, state, *, last):  # type: ignore[no-untyped-def]
        mel, state = decode(flow, pairs, noise, state, last=last)
        read.append(len(pairs))
        cached.append(state.cached_frames)
        return mel, state

    monkeypatch.setattr(streaming, "continue_stream", watch)
    stream = make_stream(flow, reference)
    mels = []
    for piece in reference["mixed"].split(reference.meta["piece"]):
        mels += stream.push(piece)
    mels += stream.finish()
    assert [mel.shape[1] for mel in mels] == reference["mel_chunk_len"].tolist()
    assert read == reference["tok_chunk_len"].tolist()
    assert cached == reference["att_len_before_cut"].tolist()
    assert_close(torch.cat(mels, dim=1)[None], reference["mel_chunks"], 2e-4)


def test_speech_by_bigvgan(
    flow: TokenFlowDecoder, bigvgan: BigVGANVocoder, reference: Golden
) -> None:
    calls, waves = speak(flow, BigVGANRenderer(bigvgan), reference)
    assert calls == reference["emit_call"].tolist()
    assert [len(wave) for wave in waves] == reference["emit_len"].tolist()
    assert_close(torch.cat(waves)[None], reference["speech"], 2e-5)


def test_whole_speech_by_bigvgan(
    flow: TokenFlowDecoder, bigvgan: BigVGANVocoder, reference: Golden
) -> None:
    wave = bigvgan.synthesize(whole_mel(flow, reference))
    assert_close(wave, reference["speech_nonstream"], 2e-5)


def test_speech_by_hift(
    flow: TokenFlowDecoder, hift: HiFTVocoder, reference: Golden, hift_reference: Golden
) -> None:
    calls, waves = speak(flow, HiFTRenderer(hift), reference)
    assert calls == reference["emit_call"].tolist()
    assert [len(wave) for wave in waves] == hift_reference["emit_len"].tolist()
    assert_close(torch.cat(waves)[None], hift_reference["speech"], 1e-3)


def test_whole_speech_by_hift(
    flow: TokenFlowDecoder, hift: HiFTVocoder, reference: Golden, hift_reference: Golden
) -> None:
    wave = hift.synthesize(whole_mel(flow, reference))
    assert_close(wave, hift_reference["speech_nonstream"], 1e-3)


def test_whole_speech_of_the_published_caller(
    hift: HiFTVocoder, reference: Golden, hift_reference: Golden
) -> None:
    mel = whole_mel(make_flow(reference, published_rounding=True), reference)
    expected = hift_reference["speech_nonstream_bf16"]
    assert_close(hift.synthesize(mel)[:, : expected.shape[1]], expected, 1e-3)
