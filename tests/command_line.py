"""Calling the command line within the process, and what its answers must look like."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import stepaudio
from stepaudio.cli import app

#: Child processes find the package from any folder.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(stepaudio.__file__).parents[1])}


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def ok(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def told(*arguments: str) -> dict[str, Any]:
    value = json.loads(ok(*arguments, "--json"))
    assert isinstance(value, dict)
    return value


def refused(*arguments: str, code: int = 1) -> str:
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "should not happen" not in result.output
    assert result.stdout == ""
    if code == 1:
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        return str(result.stderr)
    # Usage errors stand in a box, whose lines are broken anywhere.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)
    return " ".join(re.sub(r"[│╭╮╰╯─|+]", " ", plain).split())
