from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import NVIDIA_CONFIGS, BigVGANConfig
from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.errors import CheckpointError, SpecMismatchError
from stepaudio.types import MelSpec

# Parameters of the published generators, magnitudes of the weight normalisation included.
PARAMETERS = {
    "v2_44khz_128band_512x": 122_184_529,
    "v2_44khz_128band_256x": 112_747_345,
    "v2_24khz_100band_256x": 112_446_289,
    "v2_22khz_80band_256x": 112_231_249,
    "v2_22khz_80band_fmax8k_256x": 112_231_249,
    "24khz_100band": 112_446_290,
    "22khz_80band": 112_231_250,
    "base_24khz_100band": 14_025_154,
    "base_22khz_80band": 13_953_474,
}
DEBUG = BigVGANConfig.debug()
VARIANTS = {
    "debug": DEBUG,
    "zero_padded": dataclasses.replace(DEBUG, reflect_input=False),
    "resblock2": dataclasses.replace(DEBUG, resblock=2, activation="snake", tanh_at_final=True),
}


def build(config: BigVGANConfig) -> BigVGANVocoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BigVGANVocoder(config).eval()


def on_meta(config: BigVGANConfig) -> BigVGANVocoder:
    with torch.device("meta"):
        return BigVGANVocoder(config)


def normed(model: BigVGANVocoder) -> list[torch.nn.Module]:
    """Layers whose published form is weight-normalised: every convolution."""
    kinds = (torch.nn.Conv1d, torch.nn.ConvTranspose1d)
    return [m for m in model.modules() if isinstance(m, kinds)]


def mel_of(frames: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 8, frames, generator=torch.Generator().manual_seed(frames))


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_published_counts(name):
    model = on_meta(BigVGANConfig.nvidia(name))
    layers = normed(model)
    magnitudes = sum(layer.weight.shape[0] for layer in layers)
    assert sum(p.numel() for p in model.parameters()) + magnitudes == PARAMETERS[name]
    keys = 526 if name.startswith("base") else 783 if name.startswith("v2") else 784
    assert len(model.state_dict()) + len(layers) == keys


def test_every_nvidia_config_is_counted():
    assert set(NVIDIA_CONFIGS) == set(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("bigvgan_vendored.real", BigVGANConfig.release()),
        ("bigvgan_nvidia.v2_24khz_100band_256x", BigVGANConfig.nvidia("v2_24khz_100band_256x")),
    ],
)
def test_published_key_table(golden, name, config):
    spec = golden(name).spec
    published = {e["name"]: torch.empty(e["shape"], device="meta") for e in spec["entries"]}
    assert len(published) == 783
    assert sum(t.numel() for t in published.values()) == spec["n_values"]
    folded = fold_weight_norm(published)
    assert {k: v.shape for k, v in on_meta(config).state_dict().items()} == {
        k: v.shape for k, v in folded.items()
    }


def test_nvidia_config_is_the_named_one(golden):
    values = golden("bigvgan_nvidia.v2_24khz_100band_256x").spec["config"]
    assert BigVGANConfig.from_nvidia(values) == BigVGANConfig.nvidia("v2_24khz_100band_256x")


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 9])
def test_length_and_range(variant, frames):
    wave = build(VARIANTS[variant]).synthesize(mel_of(frames, 2))
    assert wave.shape == (2, frames * 12)
    assert wave.abs().max() <= 1


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("sizes", [[70], [1] * 70, [20, 31, 19]])
def test_stream_is_offline(variant, sizes):
    model, mel = build(VARIANTS[variant]), mel_of(sum(sizes))
    pieces = list(model.stream(iter(mel[0].split(sizes, dim=-1))))
    assert_close(torch.cat(pieces), model.synthesize(mel)[0], 1e-6)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_context_covers_the_receptive_field(variant):
    model, frame = build(VARIANTS[variant]).double(), 60
    mel = mel_of(120).double()
    base = model.synthesize(mel)
    other = mel.clone()
    other[..., frame] += 1
    moved = ((model.synthesize(other) - base)[0] != 0).nonzero().flatten() // 12
    assert frame - model.context <= moved.min()
    assert moved.max() <= frame + model.context


def test_reads_an_nvidia_download(golden, tmp_path):
    g = golden("bigvgan_nvidia.tiny")
    (tmp_path / "config.json").write_text(json.dumps(g.spec["config"]))
    torch.save({"generator": g.weights()}, tmp_path / "bigvgan_generator.pt")
    model = BigVGANVocoder.from_nvidia(tmp_path)
    assert not model.training
    with torch.no_grad():
        assert_close(model(g["mel"])[:, None], g["wav"], 2e-5)


def test_broken_download_is_refused(golden, tmp_path):
    config = golden("bigvgan_nvidia.tiny").spec["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="missing"):
        BigVGANVocoder.from_nvidia(tmp_path)
    (tmp_path / "bigvgan_generator.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a BigVGAN generator"):
        BigVGANVocoder.from_nvidia(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="sampling_rate"):
        BigVGANVocoder.from_nvidia(tmp_path)


def test_unknown_names_are_refused():
    with pytest.raises(CheckpointError, match="v2_24khz_100band_256x"):
        BigVGANConfig.nvidia("v3")
    with pytest.raises(CheckpointError, match="snakebeta"):
        BigVGANConfig(activation="relu")
    with pytest.raises(SpecMismatchError, match="hop"):
        BigVGANConfig(mel=MelSpec(hop_length=256))


def test_gradients_reach_mel_and_weights():
    model, mel = build(DEBUG), mel_of(12).requires_grad_()
    model(mel).square().sum().backward()
    assert mel.grad is not None
    assert all(p.grad is not None for p in model.parameters())


def test_save_and_load(tmp_path):
    model = build(DEBUG)
    model.save_pretrained(tmp_path)
    again = BigVGANVocoder.from_pretrained(tmp_path)
    assert again.config == DEBUG
    assert torch.equal(again.synthesize(mel_of(5)), model.synthesize(mel_of(5)))
