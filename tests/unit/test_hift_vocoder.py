from __future__ import annotations

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.hift_source import HarmonicSource
from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.errors import CheckpointError, SpecMismatchError
from stepaudio.types import MelSpec


@pytest.fixture(scope="module")
def vocoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HiFTVocoder(HiFTConfig.debug()).eval()
        torch.nn.init.constant_(model.f0_predictor.classifier.bias, 120.0)
        torch.nn.init.normal_(model.f0_predictor.classifier.weight, std=40.0)
    return model


def mel_of(frames: int, batch: int = 1) -> torch.Tensor:
    return 3 * torch.randn(batch, 80, frames, generator=torch.Generator().manual_seed(frames))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_published_key_table(fill, golden):
    with torch.device("meta"):
        model = HiFTVocoder(HiFTConfig.release())
    spec = golden("hift.real").spec
    assert len(spec["entries"]) == 328
    published = {e["name"]: torch.empty(e["shape"], device="meta") for e in spec["entries"]}
    folded = fold_weight_norm(published)
    assert len(folded) == 246
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in folded.items()
    }


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_length_and_range(vocoder, frames):
    wave = vocoder.synthesize(mel_of(frames, 2), generator=seeded())
    assert wave.shape == (2, frames * 480)
    assert wave.abs().max() <= 0.99


def test_seed_decides(vocoder):
    mel = mel_of(5)
    first = vocoder.synthesize(mel, generator=seeded(1))
    assert torch.equal(first, vocoder.synthesize(mel, generator=seeded(1)))
    assert not torch.equal(first, vocoder.synthesize(mel, generator=seeded(2)))


@pytest.mark.parametrize("sizes", [[90], [30, 31, 29], [1] * 60 + [30], [89, 1]])
def test_stream_is_offline(vocoder, sizes):
    mel = mel_of(sum(sizes))
    whole = vocoder.synthesize(mel, generator=seeded())[0]
    pieces = list(vocoder.stream(iter(mel[0].split(sizes, dim=-1)), generator=seeded()))
    assert_close(torch.cat(pieces), whole, 2e-4)


def test_stream_is_early(vocoder):
    mel = mel_of(90)
    first = next(vocoder.stream(iter(mel[0].split(vocoder.context + 1, dim=-1))))
    assert first.shape == (480,)


def test_context_covers_the_receptive_field(vocoder):
    """With the source given, only the generator's own reach is left."""
    frame, mel = 40, mel_of(80)
    source = 0.1 * torch.randn(1, 1, 80 * 480, generator=seeded())
    far = frame + vocoder.context - vocoder.f0_predictor.layers
    other = mel.clone()
    other[..., far:] += 1
    inside = slice(0, (frame + 1) * 480)
    with torch.no_grad():
        a, b = vocoder.decode(mel, source), vocoder.decode(other, source)
    assert_close(a[:, inside], b[:, inside], 1e-7)


def test_empty_stream(vocoder):
    assert list(vocoder.stream(iter([]))) == []


def test_long_phase_stays_exact():
    """A minute of constant pitch is still the sine it should be."""
    source = HarmonicSource(
        24000, 480, harmonics=0, amplitude=0.1, noise=0.0, voiced_threshold=10.0
    )
    with torch.no_grad():
        source.l_linear.weight.fill_(1.0)
        source.l_linear.bias.zero_()
    frames, hz = 3000, 123.4
    noise = torch.zeros(1, frames * 480, 1)
    with torch.no_grad():
        wave = source(torch.full((1, frames), hz), noise)[0, 0]
    # Phase stands still for the first half frame and one frame's turns are made at its centre.
    n = torch.arange(len(wave), dtype=torch.float64)
    turns = hz / 24000 * (n + 0.5 - 240 + 480)
    expected = torch.tanh(0.1 * torch.sin(2 * torch.pi * turns)).float()
    assert_close(wave[240:-240], expected[240:-240], 2e-3)


def test_gradients_reach_mel_and_weights(vocoder):
    mel = mel_of(4).requires_grad_()
    source = torch.zeros(1, 1, 4 * 480)
    vocoder.decode(mel, source).square().sum().backward()
    assert mel.grad is not None
    assert torch.isfinite(mel.grad).all()
    assert vocoder.conv_post.weight.grad is not None


def test_save_and_load(vocoder, tmp_path):
    vocoder.save_pretrained(tmp_path)
    again = HiFTVocoder.from_pretrained(tmp_path)
    assert again.config == vocoder.config
    mel = mel_of(3)
    wave = vocoder.synthesize(mel, generator=seeded())
    assert torch.equal(again.synthesize(mel, generator=seeded()), wave)


def test_missing_tensor_is_named(vocoder):
    tensors = dict(vocoder.state_dict())
    del tensors["conv_pre.bias"]
    with pytest.raises(CheckpointError, match=r"conv_pre\.bias"):
        HiFTVocoder(HiFTConfig.debug()).load_published(tensors, "file")


def test_hop_must_fit():
    with pytest.raises(SpecMismatchError, match="hop"):
        HiFTConfig(mel=MelSpec(hop_length=256))


def test_half_precision(vocoder):
    half = HiFTVocoder(vocoder.config)
    half.load_state_dict(vocoder.state_dict())
    wave = half.bfloat16().synthesize(mel_of(3), generator=seeded())
    assert wave.dtype == torch.float32
    assert torch.isfinite(wave).all()
