from __future__ import annotations

import dataclasses
import re

import torch
from conftest import assert_close

from stepaudio.decoder.mel import log_mel, mel_filters
from stepaudio.types import MelSpec


def spec_of(config: dict) -> MelSpec:
    return MelSpec(
        sample_rate=config["sampling_rate"],
        n_mels=config["num_mels"],
        n_fft=config["n_fft"],
        hop_length=config["hop_size"],
        win_length=config["win_size"],
        fmin=config["fmin"],
        fmax=config["fmax"],
    )


def test_filter_bank(golden):
    g = golden("mel")
    spec = spec_of(g.meta["config"])
    assert_close(mel_filters(spec, torch.device("cpu"), torch.float32), g["filters"], 1e-7)


def test_log_mel(golden):
    g = golden("mel")
    spec = spec_of(g.meta["config"])
    mel = log_mel(g["wav24"], spec).mT
    assert_close(mel, g["mel"], 1e-3)
    assert (mel - g["mel"]).abs().mean() < 1e-5


def test_log_mel_other_fmax(golden):
    g = golden("mel")
    spec = dataclasses.replace(spec_of(g.meta["config"]), fmax=12000.0)
    assert_close(log_mel(g["wav24"], spec).mT, g["mel_fmax12000"], 1e-3)


def test_log_mel_odd_length(golden):
    g = golden("mel")
    spec = spec_of(g.meta["config"])
    expected = g["mel_short"]
    found = re.search(r"first (\d+) samples", g.meta["note"])
    assert found is not None
    length = int(found.group(1))
    assert length // spec.hop_length == expected.shape[1]
    assert_close(log_mel(g["wav24"][:, :length], spec).mT, expected, 1e-3)


def test_log_mel_nvidia(golden):
    g = golden("mel_nvidia")
    spec = spec_of(g.meta["config"])
    assert_close(log_mel(golden("mel")["wav24"], spec), g["mel"], 1e-3)
