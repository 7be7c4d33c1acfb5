"""benchmarks/precision.py on tiny models: every row is there, and distances are distances."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import debug_parts as debug
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def precision(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("precision")


@torch.no_grad()
def test_flow_and_vocoder_are_measured_in_both_types(precision: ModuleType) -> None:
    model = importlib.import_module("models").Model("debug", debug.debug_parts(), None, "")
    rows = [precision.measure(stage, 1) for stage in precision.stages_of(model, 0.6)]
    assert [row["stage"] for row in rows] == ["flow", "ISTFTVocoder"]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["float32"] / row["bfloat16"], rel=0.01)
        assert 10 < row["mel_db"] < 100
        assert 0 < row["wave_db"] < 100
    for role in ("flow", "vocoder"):
        kinds = {values.dtype for values in getattr(model.parts, role).parameters()}
        assert kinds == {torch.float32}


def test_a_tenth_of_the_signal_is_20_decibels_away(precision: ModuleType) -> None:
    signal = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert precision.decibels(signal, 0.9 * signal) == 20.0
