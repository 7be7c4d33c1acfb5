"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "stepaudio"
FILES = sorted(PACKAGE.rglob("*.py"))
# What only extras install.
EXTRAS = [
    "accelerate",
    "audioseal",
    "ctranslate2",
    "fastapi",
    "faster_whisper",
    "gradio",
    "jiwer",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "peft",
    "pyworld",
    "ray",
    "tensorboard",
    "torchaudio",
    "transformers",
    "uvicorn",
]


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.fixture(params=FILES, ids=name_of)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_only_devices_knows_accelerators(file: Path) -> None:
    if file.name != "devices.py":
        assert "cuda" not in file.read_text(encoding="utf-8").lower()


def test_one_idea_per_file(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 500
    assert file.name not in ("utils.py", "helpers.py", "common.py", "misc.py")


def test_public_names_are_listed(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defines = any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        for node in tree.body
    )
    listed = any(
        isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        for node in tree.body
    )
    assert listed or not defines, "public functions or classes, but no __all__"


@pytest.mark.parametrize(
    "package", ["convert", "data", "decoder", "lm", "rl", "safety", "tokenizers", "training"]
)
def test_a_package_says_what_each_file_holds(package: str) -> None:
    text = (PACKAGE / package / "__init__.py").read_text(encoding="utf-8")
    named = re.findall(rf"^- :mod:`~stepaudio\.{package}\.(\w+)`: \w", text, re.MULTILINE)
    assert sorted(named) == sorted(
        file.stem for file in (PACKAGE / package).glob("*.py") if file.stem != "__init__"
    )


def test_reinforcement_offers_its_contracts() -> None:
    from stepaudio import interfaces, rl

    assert rl.Policy is interfaces.Policy
    assert rl.RewardModel is interfaces.RewardModel


def test_the_library_does_not_print_or_seed(file: Path) -> None:
    if file.name == "cli.py" or "cli" in file.parent.name:
        return
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"print", "torch.manual_seed", "random.seed", "np.random.seed"}


def test_every_module_imports_with_the_core_alone() -> None:
    modules = []
    for file in FILES:
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        # Kernels are imported where there is a GPU to run them.
        if parts[-1] != "__main__" and not parts[-1].endswith("_kernel"):
            modules.append(re.sub(r"\.__init__$", "", ".".join(parts)))
    code = (
        "import importlib, sys\n"
        f"for name in {EXTRAS!r}:\n    sys.modules[name] = None\n"
        f"for name in {modules!r}:\n    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
