"""CAM++ against the golden arrays: unfolded weights, folded ONNX weights, and from samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_close

from stepaudio.audio import Audio
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig, neutral_batchnorm
from stepaudio.errors import AudioError
from stepaudio.hub import load_strict
from stepaudio.tokenizers.features import kaldi_fbank

ATOL = 2e-5
ATOL_FROM_AUDIO = 2e-3


def config_of(spec) -> CAMPPlusConfig:
    values = spec["config"]
    shapes = {entry["name"]: entry["shape"] for entry in spec["entries"]}
    return CAMPPlusConfig(
        n_mels=values["feat_dim"],
        embedding_dim=values["embedding_size"],
        head_channels=shapes["head.conv1.weight"][0],
        init_channels=values["init_channels"],
        growth=values["growth_rate"],
        bottleneck=values["bn_size"],
        blocks=tuple(values["blocks"]),
        dilations=tuple(values["dilations"]),
    )


def build(gold) -> CAMPPlus:
    model = CAMPPlus(config_of(gold.spec))
    load_strict(model, gold.weights(), "golden weights")
    return model.eval()


@pytest.fixture(scope="module")
def real(golden):
    return build(golden("campplus"))


def inputs(golden) -> dict[str, torch.Tensor]:
    fbank = golden("campplus")["fbank"]
    return {
        "embedding": fbank[None],
        "embedding75": fbank[None, :75],
        "embedding_long": torch.cat([fbank, fbank.flip(0), 0.5 * fbank])[None],
    }


def test_release_is_the_published_size(golden):
    gold = golden("campplus")
    assert config_of(gold.spec) == CAMPPlusConfig.release()
    with torch.device("meta"):
        shapes = {k: list(v.shape) for k, v in CAMPPlus(CAMPPlusConfig()).state_dict().items()}
    assert shapes == {entry["name"]: entry["shape"] for entry in gold.spec["entries"]}


@pytest.mark.parametrize("name", ["embedding", "embedding75", "embedding_long"])
@torch.no_grad()
def test_embedding(golden, real, name):
    assert_close(real(inputs(golden)[name]), golden("campplus")[name], ATOL)


@torch.no_grad()
def test_taps(golden, real):
    gold = golden("campplus")
    fbank = gold["fbank"][None]
    head = real.head((fbank - fbank.mean(1, keepdim=True)).transpose(1, 2))
    assert_close(head[..., : gold["after_head"].shape[-1]], gold["after_head"], ATOL)
    tdnn = real.xvector.tdnn(head)
    assert_close(tdnn[..., : gold["after_tdnn"].shape[-1]], gold["after_tdnn"], ATOL)
    frames = real.xvector.frames(head)
    stats = torch.cat([frames.mean(-1), frames.std(-1)], -1)
    assert_close(stats, gold["stats"], 5e-5)


@pytest.mark.parametrize("name", ["embedding", "embedding75", "embedding_long"])
@torch.no_grad()
def test_tiny_embedding(golden, name):
    gold = golden("campplus.tiny")
    assert_close(build(gold)(inputs(golden)[name]), gold[name], ATOL)


@torch.no_grad()
def test_from_samples(golden, real):
    gold = golden("campplus")
    fbank = kaldi_fbank(golden("preprocess")["w16"].reshape(-1), n_mels=80, window="povey")
    assert_close(fbank, gold["fbank"], 2e-3)
    assert_close(real(fbank[None]), gold["embedding"], ATOL_FROM_AUDIO)


def test_neutral_batchnorm_only_adds():
    bias = torch.linspace(-3, 3, 7)
    norm = torch.nn.BatchNorm1d(7)
    norm.load_state_dict(neutral_batchnorm(bias, norm.eps))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 7, 11))).float()
    assert_close(norm.eval()(x), x + bias[:, None], 1e-6)


def test_trains_on_a_batch_and_a_batch_equals_its_singles():
    model = CAMPPlus(CAMPPlusConfig.debug())
    fbank = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 50, 80))).float()
    model.train()(fbank).square().sum().backward()
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)
    model.eval()
    with torch.no_grad():
        singles = torch.cat([model(f[None]) for f in fbank])
        assert_close(model(fbank), singles, 1e-5)


@torch.no_grad()
def test_embed_from_audio(golden, real):
    samples = golden("preprocess")["w16"].reshape(-1)
    audio = Audio(samples, 16000)
    vector = real.embed(audio)
    assert vector.shape == (real.dim,)
    assert_close(vector[None], golden("campplus")["embedding"], ATOL_FROM_AUDIO)
    with pytest.raises(AudioError):
        real.embed(Audio(samples[:500], 16000))


def test_too_short():
    with pytest.raises(AudioError, match="3 frames"):
        CAMPPlus(CAMPPlusConfig.debug())(torch.zeros(1, 2, 80))
