"""Fixtures shared by every test: golden arrays, the weights that belong to them, small sounds."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


def pytest_configure(config: pytest.Config) -> None:
    """Keys, logs and records of the tests are not those of whoever runs them."""
    folder = tempfile.TemporaryDirectory(prefix="stepaudio-trust-")
    config.add_cleanup(folder.cleanup)
    os.environ["STEPAUDIO_TRUST_DIR"] = folder.name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        default=str(GOLDEN),
        help="folder with golden arrays of the same file and array names (default: tests/golden)",
    )


def _load_fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Golden:
    """One golden file: its arrays, its ``meta`` and the weights it was made with."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    fill: ModuleType

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(self.arrays[name]))

    @property
    def spec(self) -> dict[str, Any]:
        """The specification (names, shapes, config) of the module under test."""
        return self.fill.load_spec(str(GOLDEN / "specs" / f"{self.meta['spec']}.json"))

    def weights(self) -> dict[str, torch.Tensor]:
        """Deterministic weights under their published names."""
        filled = self.fill.fill_spec(self.spec, self.meta["fill_prefix"])
        return {name: torch.from_numpy(value) for name, value in filled.items()}


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.getoption("--golden-dir"))


@pytest.fixture(scope="session")
def fill() -> ModuleType:
    """The module that makes deterministic weights from names."""
    return _load_fill()


@pytest.fixture(scope="session")
def golden(golden_dir: Path, fill: ModuleType) -> Callable[[str], Golden]:
    """Load a golden file by name, e.g. ``golden("flow_dit.tiny")``."""

    def load(name: str) -> Golden:
        with np.load(golden_dir / f"{name}.npz", allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key != "meta"}
            meta = json.loads(str(file["meta"])) if "meta" in file.files else {}
        return Golden(arrays, meta, fill)

    return load


@pytest.fixture(scope="session")
def published_dir() -> Path:
    """Folder with the real published tokenizer files."""
    folder = os.environ.get("STEPAUDIO_PUBLISHED_DIR")
    if not folder:
        pytest.skip("STEPAUDIO_PUBLISHED_DIR is not set: the published files are not at hand")
    return Path(folder)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
    """Compare with an absolute bound and name the largest difference."""
    assert actual.shape == expected.shape, (tuple(actual.shape), tuple(expected.shape))
    worst = (actual.double() - expected.double()).abs().max().item() if actual.numel() else 0.0
    assert worst <= atol, f"largest difference {worst:.3g} exceeds {atol:g}"
