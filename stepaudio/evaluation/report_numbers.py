"""How steps, numbers and intervals are written in the tables of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["show_interval", "show_number", "step_title"]

_NOTHING = "–"


def step_title(step: str) -> str:
    """``"Iter1"`` of ``"iter1"``; other steps go by their names."""
    return f"Iter{step.removeprefix('iter')}" if step.startswith("iter") else step


def show_number(value: float | None, digits: int, share: bool, *, signed: bool = False) -> str:
    """A number of so many digits.

    Args:
        value: None where it cannot be had.
        digits: after the point.
        share: written in percent.
        signed: written with its sign, as differences are.

    Returns:
        A dash for None.
    """
    if value is None:
        return _NOTHING
    return f"{100 * value if share else value:{'+' if signed else ''}.{digits}f}"


def show_interval(
    interval: Mapping[str, Any] | None, digits: int, share: bool, *, signed: bool = False
) -> str:
    """A number with its two ends.

    Args:
        interval: with ``value``, ``low`` and ``high``; None where there is none.
        digits: after the point.
        share: written in percent.
        signed: written with their signs.

    Returns:
        A dash without a value; no ends if they are unknown, as with one speaker.
    """
    if interval is None or interval["value"] is None:
        return _NOTHING
    text = show_number(interval["value"], digits, share, signed=signed)
    if interval.get("low") is None:
        return text
    low, high = (
        show_number(interval[end], digits, share, signed=signed) for end in ("low", "high")
    )
    return f"{text} ({low} to {high})"
