from __future__ import annotations

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.types import MelSpec


def config_of(c: dict) -> HiFTConfig:
    return HiFTConfig(
        mel=MelSpec(sample_rate=c["sampling_rate"], n_mels=c["in_channels"]),
        base_channels=c["base_channels"],
        harmonics=c["nb_harmonics"],
        sine_amplitude=c["nsf_alpha"],
        noise_std=c["nsf_sigma"],
        voiced_threshold=c["nsf_voiced_threshold"],
        upsample_rates=tuple(c["upsample_rates"]),
        upsample_kernels=tuple(c["upsample_kernel_sizes"]),
        istft_n_fft=c["istft_params"]["n_fft"],
        istft_hop=c["istft_params"]["hop_len"],
        resblock_kernels=tuple(c["resblock_kernel_sizes"]),
        resblock_dilations=tuple(c["resblock_dilation_sizes"][0]),
        source_kernels=tuple(c["source_resblock_kernel_sizes"]),
        slope=c["lrelu_slope"],
        audio_limit=c["audio_limit"],
        f0_channels=c["f0_cond_channels"],
    )


def build(g) -> HiFTVocoder:
    model = HiFTVocoder(config_of(g.spec["config"])).eval()
    model.load_published(g.weights(), "golden")
    return model


@pytest.fixture(scope="module")
def tiny(golden):
    g = golden("hift.tiny")
    return g, build(g)


def test_f0(tiny):
    g, model = tiny
    assert_close(model.predict_f0(g["mel"]), g["f0"], 2e-3)


def test_source_from_given_pitch(tiny):
    g, model = tiny
    source = model.m_source(g["f0_given"], g["noise"])
    assert_close(source, g["source_from_f0_given"], 5e-4)
    assert torch.equal(model.m_source.voiced(g["f0_given"]), g["uv_from_f0_given"].bool())


def test_source_from_predicted_pitch(tiny):
    g, model = tiny
    wave, source = model.vocode(g["mel"], noise=g["noise"])
    assert_close(source, g["source"], 1e-3)
    assert_close(wave, g["wav_from_f0"], 1e-3)


def test_source_spectrum(tiny):
    g, model = tiny
    assert_close(model.source_spectrum(g["source_given"]), g["stft"], 1e-5)


def test_intermediates(tiny):
    g, model = tiny
    seen = {}
    for name, module in (
        ("after_conv_pre", model.conv_pre),
        ("after_up0", model.ups[0]),
        ("source_branch0", model.source_resblocks[0]),
        ("after_conv_post", model.conv_post),
    ):
        module.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out}))
    model.decode(g["mel"], g["source_given"])
    for name, value in seen.items():
        assert_close(value, g[name], 1e-5 * max(1.0, g[name].abs().max().item()))


def test_decode(tiny):
    g, model = tiny
    assert_close(model.decode(g["mel"], g["source_given"]), g["wav"], 2e-6)


def test_cached_source(tiny):
    g, model = tiny
    cached = 0.5 * g["source"][..., :1000]
    wave, source = model.vocode(g["mel"], cached_source=cached, noise=g["noise"])
    assert_close(wave, g["wav_cached"], 1e-3)
    assert torch.equal(source[..., :1000], cached)


def test_published_size(golden):
    g = golden("hift.real")
    model = build(g)
    with torch.no_grad():
        assert_close(model.predict_f0(g["mel"]), g["f0"], 2e-3)
        assert_close(model.decode(g["mel"], g["source_given"]), g["wav"], 2e-6)
