from __future__ import annotations

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.mel import log_mel


@pytest.fixture
def vocoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ISTFTVocoder(ISTFTConfig.debug()).eval()
        for parameter in model.parameters():  # an untrained model would hide errors of context
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def mel_of(frames: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 8, frames, generator=torch.Generator().manual_seed(frames)) - 3


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_length(vocoder, frames):
    wave = vocoder.synthesize(mel_of(frames, 2))
    assert wave.shape == (2, frames * 16)
    assert wave.abs().max() <= 1


def test_batch_is_singles(vocoder):
    mel = mel_of(12, 3)
    assert_close(vocoder.synthesize(mel)[1:2], vocoder.synthesize(mel[1:2]), 1e-5)


@pytest.mark.parametrize("sizes", [[40], [1] * 40, [3, 20, 17], [39, 1]])
def test_stream_is_offline(vocoder, sizes):
    mel = mel_of(sum(sizes))
    pieces = list(vocoder.stream(iter(mel[0].split(sizes, dim=-1))))
    assert_close(torch.cat(pieces), vocoder.synthesize(mel)[0], 1e-5)


def test_stream_does_not_wait_for_the_end(vocoder):
    mel = mel_of(60)
    first = next(vocoder.stream(iter(mel[0].split(vocoder.context + 2, dim=-1))))
    assert first.shape == (2 * 16,)


def test_context_is_tight(vocoder):
    """A frame beyond the context has no influence, the frame at its edge has some."""
    frame, reach = 30, vocoder.context
    mel = mel_of(60)
    base = vocoder.synthesize(mel)[0, frame * 16 : (frame + 1) * 16]
    for distance, moves in ((reach, True), (reach + 1, False)):
        other = mel.clone()
        other[..., frame + distance] += 1
        changed = vocoder.synthesize(other)[0, frame * 16 : (frame + 1) * 16]
        assert ((changed - base).abs().max() > 1e-7) == moves


def test_empty_stream(vocoder):
    assert list(vocoder.stream(iter([]))) == []


def test_envelope_starts_with_the_right_colour():
    model = ISTFTVocoder(ISTFTConfig(width=16, depth=1))
    noise = torch.randn(1, 24000, generator=torch.Generator().manual_seed(0)) * 0.1
    mel = log_mel(noise, model.spec)
    again = log_mel(model(mel), model.spec)
    # Frames without phases still interfere; a wrong level would be off by the bin width, 2.5.
    assert (again - mel).mean().abs() < 0.5


def test_gradients_reach_every_parameter(vocoder):
    vocoder(mel_of(10)).square().sum().backward()
    for name, parameter in vocoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_save_and_load(vocoder, tmp_path):
    vocoder.save_pretrained(tmp_path)
    again = ISTFTVocoder.from_pretrained(tmp_path)
    assert again.config == vocoder.config
    assert torch.equal(again.synthesize(mel_of(7)), vocoder.synthesize(mel_of(7)))


def test_half_precision(vocoder):
    half = ISTFTVocoder(vocoder.config)
    half.load_state_dict(vocoder.state_dict())
    wave = half.bfloat16().synthesize(mel_of(7))
    assert wave.dtype == torch.float32
    assert torch.isfinite(wave).all()
