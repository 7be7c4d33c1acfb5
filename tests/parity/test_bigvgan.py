from __future__ import annotations

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.types import MelSpec


def config_of(g) -> BigVGANConfig:
    c = g.spec["config"]
    if g.spec["component"] == "bigvgan_nvidia":
        return BigVGANConfig.from_nvidia(c)
    return BigVGANConfig(
        mel=MelSpec(n_mels=c["num_mels"]),
        initial_channels=c["upsample_initial_channel"],
        upsample_rates=tuple(c["upsample_rates"]),
        upsample_kernels=tuple(c["upsample_kernel_sizes"]),
        resblock=int(c["resblock"]),
        resblock_kernels=tuple(c["resblock_kernel_sizes"]),
        resblock_dilations=tuple(map(tuple, c["resblock_dilation_sizes"])),
        activation=c["activation"],
        log_scale=c["snake_logscale"],
        tanh_at_final=c["use_tanh_at_final"],
        bias_at_final=c["use_bias_at_final"],
        reflect_input=True,
    )


def build(g) -> BigVGANVocoder:
    model = BigVGANVocoder(config_of(g)).eval()
    model.load_published(g.weights(), "golden")
    return model


@pytest.mark.parametrize(
    "name", ["bigvgan_nvidia.tiny", "bigvgan_nvidia.variant", "bigvgan_vendored.tiny"]
)
def test_tiny(golden, name):
    g = golden(name)
    model = build(g)
    seen = {}
    for tap, module in (
        ("after_conv_pre", model.conv_pre),
        ("after_up0", model.ups[0][0]),
        ("after_act0", model.resblocks[0].activations[0]),
        ("after_res0", model.resblocks[0]),
        ("after_post_act", model.activation_post),
    ):
        module.register_forward_hook(lambda m, i, out, tap=tap: seen.setdefault(tap, out))
    with torch.no_grad():
        wave = model(g["mel"])
    for tap, value in seen.items():
        assert_close(value, g[tap], 2e-5 * max(1.0, g[tap].abs().max().item()))
    assert_close(wave[:, None], g["wav"], 2e-5)


@pytest.mark.parametrize("name", ["bigvgan_nvidia.v2_24khz_100band_256x", "bigvgan_vendored.real"])
def test_published_size(golden, name):
    g = golden(name)
    model = build(g)
    with torch.no_grad():
        assert_close(model(g["mel"])[:, None], g["wav"], 2e-5)
