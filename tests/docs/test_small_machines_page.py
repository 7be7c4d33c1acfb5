"""docs/small-machines.md says what benchmarks/results/quantize.json says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stepaudio.evaluation.systems import model_name

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "small-machines.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results" / "quantize.json"
REPORT: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_generated_from_the_results() -> None:
    made = load(ROOT / "docs" / "small_machines_page.py").page(PAGE, REPORT)
    assert made == PAGE, "run python docs/small_machines_page.py"
    assert "| int4 |" in made
    assert REPORT["model"] == model_name(None)


def test_the_memory_of_the_published_model_is_what_its_shapes_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    memory = load(ROOT / "benchmarks" / "quantize.py").memory()
    assert memory == REPORT["memory_of_published_model"]
    # 3,529,706,496 weights of two bytes.
    assert memory["kinds_gb"]["bfloat16"]["language_model"] == pytest.approx(7.06)
