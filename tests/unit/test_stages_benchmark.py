"""benchmarks/stages.py on tiny models: every stage runs, and its limit is what it should be."""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import debug_parts as debug
import pytest
import torch
from torch.nn import functional

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("stages")
    monkeypatch.setattr(
        module, "matrix_rate", lambda dtype: {torch.float32: 1e9, torch.bfloat16: 4e9}[dtype]
    )
    monkeypatch.setattr(module, "bandwidth", lambda _: 1e9)
    return module


@torch.no_grad()
def test_every_stage_is_measured_beside_its_limit(stages: ModuleType) -> None:
    model = importlib.import_module("models").Model("debug", debug.debug_parts(), None, "")
    rows, left = stages.all_rows([model], stages.STAGES, [0.6], [1, 2], 1, float("inf"))
    assert not left
    assert [(row["stage"], row["batch"]) for row in rows[::9]] == [
        ("preprocessing", n) for n in (1, 2)
    ]
    assert len(rows) == 2 * len(stages.STAGES)
    by_name = {(row["stage"], row["batch"]): row for row in rows}
    for stage in ("linguistic", "semantic", "voice", "prefill", "flow", "vocoder"):
        assert by_name[stage, 1]["limit"] == "matrix rate"
        assert by_name[stage, 1]["limit_seconds"] > 0
    # Twice as many prompts are twice as many products, but the same weights to read.
    for stage, times in (("prefill", 2.0), ("decode", 1.0)):
        one, two = (by_name[stage, n]["limit_seconds"] for n in (1, 2))
        assert two == pytest.approx(times * one, rel=0.25)
    assert by_name["decode", 1]["limit"] == "bandwidth"
    assert "| debug | flow | 0.6 s | 2 | s |" in stages.line(by_name["flow", 2])


@torch.no_grad()
def test_the_limit_is_that_of_the_type_of_the_weights(stages: ModuleType) -> None:
    parts = debug.debug_parts()
    half = replace(parts, lm=copy.deepcopy(parts.lm).bfloat16())
    limits = []
    for each in (parts, half):
        model = importlib.import_module("models").Model("debug", each, None, "")
        rows, _ = stages.all_rows([model], ["prefill"], [0.6], [1], 1, float("inf"))
        limits.append(rows[0]["limit_seconds"])
    assert limits[0] == pytest.approx(4 * limits[1], rel=0.01)


def test_what_there_is_no_time_for_is_named(stages: ModuleType) -> None:
    model = importlib.import_module("models").Model("debug", debug.debug_parts(), None, "")
    rows, left = stages.all_rows([model], ["prompt"], [0.6, 1.2], [1], 1, -1.0)
    assert not rows
    assert [one["seconds_in"] for one in left] == [0.6, 1.2]


def test_operations_of_fused_attention_count(stages: ModuleType) -> None:
    q = torch.randn(1, 2, 16, 8)
    found = stages.count_operations(lambda: functional.scaled_dot_product_attention(q, q, q))
    assert found == 2 * 2 * (2 * 16 * 16 * 8)


def test_a_part_of_the_published_model_has_its_share_of_the_vocabulary(stages: ModuleType) -> None:
    config = importlib.import_module("models").release_part(4)
    assert (config.num_hidden_layers, config.vocab_size, config.hidden_size) == (4, 9344, 3072)
