"""benchmarks/compare.py at tiny shapes: both sides of a row compute the same thing."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("compare")


def test_every_row_checks_that_both_sides_agree(compare: ModuleType) -> None:
    rows, missing = compare.compare("debug", 1)
    beside = [row["row"].split(",")[0].split(":")[0] for row in rows]
    assert set(beside) >= {
        "full bias per token",
        "linguistic codes chunk by chunk",
        "plain BigVGAN activation",
    }
    assert ("Hugging Face generate" in beside) != ("Hugging Face generate" in missing)
    assert ("TRL's PPO" in beside) != ("TRL's PPO" in missing)
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in rows)
    assert "| debug | full bias per token, 40 ids" in compare.table(
        {"rows": rows, "missing": missing}
    )


def test_a_full_bias_is_the_one_of_the_model(compare: ModuleType) -> None:
    # Distances 2, 1, 0 to the third position; slope 2^-8 of a single head.
    bias = importlib.import_module("alternatives")._full_bias(1, 3)
    assert bias[0, 2].tolist() == pytest.approx([-(2**0.5) / 256, -1 / 256, 0.0])
    assert bias[0, 0, 1:].tolist() == [float("-inf")] * 2


def test_different_results_are_not_compared(compare: ModuleType) -> None:
    with pytest.raises(SystemExit, match="nothing was measured"):
        compare.check_same(torch.zeros(2), torch.ones(2), "two")
