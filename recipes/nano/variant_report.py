"""Files of a comparison: all numbers as JSON, and a table beside them for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stepaudio.evaluation.bootstrap import Interval
from stepaudio.evaluation.report import environment
from stepaudio.hub import write_atomic

__all__ = ["cell", "table", "write_report"]


def cell(value: object) -> str:
    """A number of a table: an interval with its ends, a share of one with two digits.

    Args:
        value: an :class:`~stepaudio.evaluation.bootstrap.Interval`, or its fields, or a number, or
            None for what cannot be had.
    """
    if isinstance(value, Mapping):
        value = Interval(**value)
    if isinstance(value, Interval):
        if value.value is None:
            return "–"
        ends = "" if value.low is None else f" ({value.low:.2f} to {value.high:.2f})"
        return f"{value.value:.2f}{ends}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def table(first: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown.

    Args:
        first: heading of the names of the rows.
        columns: headings by key.
        rows: values by key, by name; a key that is not there is left empty.

    Returns:
        Lines without a last newline.
    """
    lines = [f"| {first} | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1)]
    lines[1] += "|"
    lines += [
        f"| {name} | " + " | ".join(cell(row.get(key)) for key in columns) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def write_report(path: str | Path, page: str, **parts: Any) -> None:
    """What was found, with machine, versions and seed, and the page beside it.

    Args:
        path: JSON file; the page has its name and ``.md``.
        page: Markdown.
        **parts: what the JSON holds.
    """
    place = Path(path)
    text = json.dumps({**parts, "seed": 0, "environment": environment()}, indent=1) + "\n"
    for file, content in ((place, text), (place.with_suffix(".md"), page + "\n")):
        write_atomic(file, partial(_put, text=content), force=True)


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
