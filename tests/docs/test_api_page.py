"""The API page names every module of the package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_module_is_named_once() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^- \{py:mod\}`stepaudio\.(\w+)`: \w", text, re.MULTILINE)
    package = ROOT / "stepaudio"
    modules = {file.stem for file in package.glob("*.py") if not file.stem.startswith("__")}
    packages = {init.parent.name for init in package.glob("*/__init__.py")}
    assert sorted(named) == sorted(modules | packages)
