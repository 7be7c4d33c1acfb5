"""Tables of what was measured, as the documentation shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["tables"]

Report = dict[str, Any]


def tables(report: Report) -> list[str]:
    """The tables of a report, in the order of :func:`recipes.trust.detector.measure.report`.

    Args:
        report: plain values.

    Returns:
        Markdown, one table each.
    """
    return [
        _table(
            ("made by", "sounds", "equal error", "never heard", "synthetic", "unknown", "real"),
            [
                (
                    f"{row['name']}: {row['kind']}",
                    row["count"],
                    _percent(row["equal_error_heard"]),
                    _percent(row["equal_error_unheard"]),
                    *_labels(row),
                )
                for row in report["generators"]
            ],
        ),
        _table(
            ("after", "equal error", "this model's sound", "people called synthetic",
             "people unknown", "made called synthetic", "made unknown"),
            [
                (
                    row["after"],
                    _percent(row["equal_error"]),
                    _percent(row["equal_error_own"]),
                    *(_percent(row[who][what]) for who in ("people", "made")
                      for what in ("synthetic", "unknown")),
                )
                for row in report["codecs"]
            ],
        ),
        _table(
            ("people of", "recordings", "synthetic", "unknown", "real"),
            [(row["set"], row["count"], *_labels(row)) for row in report["people"]],
        ),
        _table(
            ("people of", "above the others' score"),
            [(row["set"], _percent(row["auc"])) for row in report["control"]],
        ),
        _table(
            ("said", "sounds", "mean said", "synthetic"),
            [
                (
                    f"{_percent(row['from'])} to {_percent(row['to'])}",
                    row["count"],
                    _percent(row["stated"]),
                    _percent(row["synthetic"]),
                )
                for row in report["calibration"]
            ],
        ),
        _table(
            ("what", "sounds", "synthetic", "unknown", "real"),
            [(row["what"], row["count"], *_labels(row)) for row in report["others"]],
        ),
        _table(
            ("sound", "after", "sounds", "watermark found", "synthetic", "unknown", "real"),
            [
                (
                    "people" if not row["made"] else "marked" if row["marked"] else "not marked",
                    row["after"],
                    row["count"],
                    _percent(row["watermark_found"]),
                    *_labels(row),
                )
                for row in report["marks"]
            ],
        ),
    ]  # fmt: skip


def _labels(row: Report) -> tuple[str, str, str]:
    return _percent(row["synthetic"]), _percent(row["unknown"]), _percent(row["real"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
