"""The linguistic tokenizer against recorded numbers of the published system."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import assert_close

from stepaudio.tokenizers.features import kaldi_fbank, read_cmvn
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer
from stepaudio.tokenizers.sanm import SANMConfig


def build(g, kmeans, shift, scale):
    spec = g.spec["config"]
    sizes = spec["encoder_conf"]
    _, chunk, overlap = spec["chunk_size"]
    config = LinguisticConfig(
        encoder=SANMConfig(
            input_dim=sizes["input_size"],
            width=sizes["output_size"],
            depth=sizes["num_blocks"],
            heads=sizes["attention_heads"],
            ffn=sizes["linear_units"],
            kernel=sizes["kernel_size"],
            chunk=chunk,
            overlap=overlap,
            look_back=spec["encoder_chunk_look_back"],
        ),
        n_mels=spec["frontend_conf"]["n_mels"],
        codebook_size=len(kmeans),
    )
    model = LinguisticTokenizer(config)
    tensors = {"cmvn_shift": shift, "cmvn_scale": scale, "codebook": kmeans, **g.weights()}
    model.load_state_dict(tensors)
    return model.eval()


def fill_prefixed(g, name, shape, kind):
    return torch.from_numpy(g.fill.fill(g.meta["fill_prefix"] + name, shape, kind))


@pytest.fixture(scope="module")
def tiny(golden):
    g = golden("sanm.tiny")
    with torch.no_grad():
        yield g, build(g, g["kmeans"], *g["cmvn"])


@pytest.fixture(scope="module")
def speech(golden):
    return golden("preprocess")["w16"].flatten()


def compare_codes(codes, expected, margin, limit=1e-2):
    assert codes.shape == expected.shape
    sure = margin > limit
    assert torch.equal(codes[sure], expected[sure].long())


def test_encoder_windows(tiny):
    g, model = tiny
    encoder = model.encoder
    windows = encoder.cut(g["xs"])
    assert (windows.new + encoder.config.overlap).tolist() == g["xs_window_len"].tolist()
    out, carry = encoder.encode(windows)
    out = torch.cat(
        [w[: encoder.config.overlap + n] for w, n in zip(out, windows.new, strict=True)]
    )
    assert_close(out[None], g["xs_out_windows"], 5e-5)

    # Keys of the second block after the last window: its own and those of the windows before.
    c = encoder.config
    _, before = encoder.encode(windows[:-1])
    new = int(windows.new[-1])
    keys = torch.cat([before[1], carry[1][-c.chunk :][:new]])[-c.chunk * c.look_back :, : c.width]
    expected = g["xs_cache_k_layer1"][0].transpose(0, 1).flatten(1)
    assert_close(keys, expected, 5e-5)


def test_features(tiny, speech):
    g, model = tiny
    samples = g.meta["cases"]["full"]["samples"]
    assert_close(model.features(speech[:samples])[None], g["full_feats"], 1e-3)


def test_encoder_on_recorded_features(tiny):
    g, model = tiny
    states = model.hidden(g["full_feats"])
    assert_close(states, g["full_enc"], 1e-4)
    compare_codes(model.quantize(states)[0], g["full_codes"], g["full_margin"])


def test_every_case_from_audio(tiny, speech):
    g, model = tiny
    cases = g.meta["cases"]
    lengths = {name: case.get("samples") or sum(case["pieces"]) for name, case in cases.items()}
    counts = {
        name: case["codes"] if "codes" in case else sum(case["codes_per_call"])
        for name, case in cases.items()
    }
    encoded = model.encode([speech[:n] for n in lengths.values()])
    for (name, samples), codes in zip(lengths.items(), encoded, strict=True):
        states = model.hidden(model.features(speech[:samples])[None])
        expected = g[f"{name}_codes"]
        assert len(codes) == counts[name] == model.code_count(samples), name
        if f"{name}_enc" in g.arrays:
            assert_close(states, g[f"{name}_enc"], 5e-3)
        two = torch.cdist(states[0], model.codebook).topk(2, largest=False).values
        margin = g[f"{name}_margin"] if f"{name}_margin" in g.arrays else two[:, 1] - two[:, 0]
        compare_codes(codes, expected, margin)


def test_mean_variance_file(tiny, tmp_path):
    g, _ = tiny
    shift, scale = g["cmvn"]
    path = tmp_path / "am.mvn"
    path.write_text(g.fill.mvn_text(shift.numpy(), scale.numpy()))
    read_shift, read_scale = read_cmvn(path)
    assert torch.equal(read_shift, shift)
    assert torch.equal(read_scale, scale)


def test_real_size(golden, speech):
    g = golden("sanm.real")
    dim = g["feats"].shape[-1]
    codes, width = g.spec["config"]["codes"], g["enc"].shape[-1]
    shift = fill_prefixed(g, "cmvn.shift", (dim,), "normal:mean=-12,std=1.0")
    scale = fill_prefixed(g, "cmvn.scale", (dim,), "uniform:lo=0.15,hi=0.35")
    kmeans = fill_prefixed(g, "kmeans", (codes, width), "normal:std=1")
    with torch.no_grad():
        model = build(g, kmeans, shift, scale)
        assert len(model.encoder.state_dict()) == g.spec["n_keys"]
        assert_close(model.hidden(g["feats"]), g["enc"], 1e-4)
        samples = int(re.search(r"first (\d+) samples", g.meta["note"]).group(1))
        feats = model.features(speech[:samples])
        assert_close(feats[None], g["feats"], 1e-3)
        assert_close(model.hidden(feats[None]), g["enc"], 5e-3)
        (encoded,) = model.encode([speech[:samples]])
        compare_codes(encoded, g["codes"], g["margin"])


def test_speaker_filter_banks(golden, speech):
    expected = golden("campplus")["fbank"]
    assert_close(kaldi_fbank(speech, window="povey"), expected, 2e-3)
