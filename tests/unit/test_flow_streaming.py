from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import assert_close
from test_flow import make_tokens, make_voice, random_flow, seeded
from torch import Tensor

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.chunking import ChunkPolicy
from stepaudio.decoder.crossfade import BigVGANRenderer, CrossFade
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.streaming import MelStream
from stepaudio.errors import SpecMismatchError, TokenError
from stepaudio.tokenizers.interleave import interleave
from stepaudio.types import MelSpec, SpeechTokens, TokenSpec


@pytest.fixture(scope="module")
def flow() -> TokenFlowDecoder:
    return random_flow()


def run(flow: TokenFlowDecoder, ids: Tensor, piece: int) -> list[Tensor]:
    stream = MelStream(flow, make_voice(2, 0), generator=seeded(1))
    mels = [mel for part in ids.split(piece) for mel in stream.push(part)]
    return mels + stream.finish()


def test_size_of_the_pieces_does_not_matter(flow: TokenFlowDecoder) -> None:
    ids = interleave(make_tokens(41, 3))
    all_at_once = run(flow, ids, len(ids))
    assert [mel.shape for mel in all_at_once] == [(8, 30), (8, 48), (8, 96), (8, 72)]
    for piece in (1, 7, 60):
        for mel, expected in zip(run(flow, ids, piece), all_at_once, strict=True):
            assert_close(mel, expected, 1e-6)


def test_length_is_that_of_the_whole_units(flow: TokenFlowDecoder) -> None:
    for units in (1, 5, 6, 7, 60):
        mels = run(flow, interleave(make_tokens(units, 3)), 5)
        assert sum(mel.shape[1] for mel in mels) == 6 * units


def test_incomplete_last_unit_is_filled(flow: TokenFlowDecoder) -> None:
    ids = interleave(make_tokens(2, 3))
    assert sum(mel.shape[1] for mel in run(flow, ids[:3], 5)) == 6
    assert sum(mel.shape[1] for mel in run(flow, ids[:6], 5)) == 12


def test_no_ids_no_mel(flow: TokenFlowDecoder) -> None:
    assert MelStream(flow, make_voice(2, 0)).finish() == []


def test_a_relative_mel_is_streamed_relative_too() -> None:
    flow, ids = random_flow(2.0), interleave(make_tokens(9, 3))
    colour = torch.linspace(-3, 2, 8)[:, None]
    voice = make_voice(2, 0)
    mel, other = (
        torch.cat([*stream.push(ids), *stream.finish()], dim=1)
        for stream in (
            MelStream(flow, voice, generator=seeded(1)),
            MelStream(flow, replace(voice, mel=voice.mel + colour), generator=seeded(1)),
        )
    )
    assert_close(other, mel + colour, 1e-4)


def test_one_chunk_without_prompt_equals_the_whole(flow: TokenFlowDecoder) -> None:
    tokens, voice = make_tokens(5, 3), make_voice(0, 0)
    whole = flow.decode([tokens], [voice], generators=[seeded(1)])[0]
    (streamed,) = flow.stream(iter([tokens]), voice, generator=seeded(1))
    assert_close(streamed, whole, 1e-5)


def test_a_late_start_streams_too(flow: TokenFlowDecoder) -> None:
    """From token features mixed with little noise, as the embedded model begins."""
    model = TokenFlowDecoder(replace(flow.config, start=0.6, temperature=0.3))
    model.load_state_dict(flow.state_dict())
    tokens, voice = make_tokens(5, 3), make_voice(0, 0)
    whole = model.decode([tokens], [voice], generators=[seeded(1)])[0]
    (streamed,) = model.stream(iter([tokens]), voice, generator=seeded(1))
    assert_close(streamed, whole, 1e-5)
    early = flow.decode([tokens], [voice], generators=[seeded(1)])[0]
    assert (early - whole).abs().max() > 1e-2


def test_a_stream_draws_the_noise_of_the_whole(flow: TokenFlowDecoder) -> None:
    stream = MelStream(flow, make_voice(2, 0), generator=seeded(3))
    pieces = [stream._draw(steps, cached=0) for steps in (6, 15, 24, 3)]
    assert torch.equal(torch.cat(pieces), torch.randn(96, 8, generator=seeded(3)))


def test_stream_takes_pieces_of_tokens(flow: TokenFlowDecoder) -> None:
    tokens = make_tokens(20, 3)
    pieces = [
        SpeechTokens(tokens.linguistic[2 * u : 2 * u + 2], tokens.semantic[3 * u : 3 * u + 3], s)
        for s in [tokens.spec]
        for u in range(20)
    ]
    mels = list(flow.stream(iter(pieces), make_voice(2, 0), generator=seeded(1), guidance=0.3))
    assert torch.cat(mels, dim=1).shape == (8, 120)
    assert len(mels) == 3


def test_pieces_that_are_not_whole_units_are_refused(flow: TokenFlowDecoder) -> None:
    """Else what is dropped would be missing in the middle of what is said."""
    tokens = make_tokens(5, 3)
    first = SpeechTokens(tokens.linguistic[:4], tokens.semantic[:6], tokens.spec)
    for linguistic, semantic in ((3, 6), (4, 7), (1, 1)):
        piece = SpeechTokens(tokens.linguistic[:linguistic], tokens.semantic[:semantic], first.spec)
        with pytest.raises(TokenError, match=f"piece 1 .* {linguistic} linguistic and {semantic} "):
            list(flow.stream(iter([first, piece]), make_voice(1, 0)))


def test_pieces_and_streams_may_be_empty(flow: TokenFlowDecoder) -> None:
    voice, tokens, nothing = make_voice(1, 0), make_tokens(3, 3), make_tokens(0, 0)
    assert list(flow.stream(iter([]), voice)) == list(flow.stream(iter([nothing]), voice)) == []
    plain, mixed = (
        torch.cat(list(flow.stream(iter(pieces), voice, generator=seeded(1))), dim=1)
        for pieces in ([tokens], [nothing, tokens, nothing])
    )
    assert torch.equal(mixed, plain)


def test_midpoint_streams_too(flow: TokenFlowDecoder) -> None:
    model = TokenFlowDecoder(replace(flow.config, solver="midpoint"))
    model.load_state_dict(flow.state_dict())
    voice = make_voice(0, 0)
    whole = model.decode([make_tokens(2, 3)], [voice], generators=[seeded(1)])[0]
    (streamed,) = model.stream(iter([make_tokens(2, 3)]), voice, generator=seeded(1))
    assert_close(streamed, whole, 1e-5)


def test_look_back_is_bounded(flow: TokenFlowDecoder) -> None:
    stream = MelStream(flow, make_voice(2, 0), generator=seeded(1))
    stream.push(interleave(make_tokens(200, 3)))
    assert stream._state is not None
    assert stream._state.cached_frames == 12 + 96


def test_what_does_not_fit_is_named(flow: TokenFlowDecoder) -> None:
    with pytest.raises(SpecMismatchError, match="ahead"):
        MelStream(flow, make_voice(1, 0), ChunkPolicy(lookahead=6))
    with pytest.raises(SpecMismatchError, match="front end"):
        MelStream(flow, replace(make_voice(1, 0), mel_spec=MelSpec()))
    with pytest.raises(SpecMismatchError, match=r"mel of shape \(9, 7\)"):
        MelStream(flow, replace(make_voice(1, 0), mel=torch.zeros(9, 7)))
    with pytest.raises(SpecMismatchError, match="codebooks"):
        list(flow.stream(iter([make_tokens(1, 0, TokenSpec())]), make_voice(1, 0)))
    with pytest.raises(ValueError, match="multiples of 3"):
        ChunkPolicy(sizes=(10,))


def test_cross_fade_keeps_the_length_and_the_inside() -> None:
    config = BigVGANConfig.debug()
    vocoder = BigVGANVocoder(config).eval()
    hop = config.mel.hop_length
    mel = torch.randn(config.mel.n_mels, 70, generator=seeded(0))
    fade = CrossFade(BigVGANRenderer(vocoder))
    parts = mel.split([20, 20, 30], dim=1)
    waves = [fade.push(part, last=index == 2) for index, part in enumerate(parts)]
    joined, whole = torch.cat(waves), vocoder.synthesize(mel[None])[0]
    assert joined.shape == whole.shape
    # Far from the joints nothing changes.
    assert_close(joined[: 4 * hop], whole[: 4 * hop], 1e-5)
    assert_close(joined[-8 * hop :], whole[-8 * hop :], 1e-5)


def test_cross_fade_needs_a_generator_that_does_not_pad() -> None:
    vocoder = BigVGANVocoder(replace(BigVGANConfig.debug(), reflect_input=False))
    with pytest.raises(SpecMismatchError, match="stream method"):
        BigVGANRenderer(vocoder)
