"""For whom a model works: the figures of a section by gender, accent and language of the speakers.

A group is told only where there is another one to hold it against. Groups differ in more than what
they are named by: in the recordings, their words and their rooms, so that a difference shows who is
served worse, not why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.card_figures import TARGETS, Figure
from stepaudio.evaluation.card_measures import Context
from stepaudio.evaluation.card_numbers import Measured
from stepaudio.evaluation.recordings import Recording

__all__ = ["by_group", "groups"]

# Told of a group besides what has a target: success is worth little without the words.
_ALWAYS = "errors"


def groups(rows: Sequence[Row], voices: Sequence[Recording]) -> dict[str, Callable[[Row], bool]]:
    """Who can be compared with whom.

    Args:
        rows: of one section.
        voices: recordings that tell ``gender`` and ``accent`` of the speakers.

    Returns:
        What tells a row of a group, by names such as ``"gender f"``; only traits in which the
        speakers differ. A gender that is not told belongs to no group, an accent that is not told
        to the group ``"accent not noted"``.
    """
    gender = {one.speaker: one.gender for one in voices if one.gender}
    accent = {one.speaker: one.accent for one in voices if one.accent}
    traits: dict[str, Callable[[Row], str]] = {
        "gender": lambda row: gender.get(row.speaker, ""),
        "accent": lambda row: accent.get(row.speaker, "not noted"),
        "language": lambda row: row.lang,
    }
    found: dict[str, Callable[[Row], bool]] = {}
    for trait, of in traits.items():
        values = sorted({of(row) for row in rows} - {""})
        if len(values) > 1:
            found |= {f"{trait} {value}": _is(of, value) for value in values}
    return found


def by_group(
    section: str,
    found: Measured,
    context: Context,
    figures: Callable[[Measured, Context], list[Figure]],
    voices: Sequence[Recording],
) -> dict[str, dict[str, Any]]:
    """The figures of a section for each group: those with a target, and the error rate.

    Args:
        section: its name.
        found: all that was measured of it.
        context: of its figures.
        figures: what it tells.
        voices: recordings that tell who the speakers are.

    Returns:
        Plain values by the name of the group; empty if there is nobody to compare.
    """
    told: dict[str, dict[str, Any]] = {}
    for name, belongs in groups(found.rows, voices).items():
        part = found.where(belongs)
        told[name] = {
            "rows": len(part.rows),
            "speakers": len({row.speaker or row.id for row in part.rows}),
            "figures": [
                _plain(one)
                for one in figures(part, context)
                if one.interval.value is not None
                and (one.name == _ALWAYS or f"{section}.{one.name}" in TARGETS)
            ],
        }
    return told


def _is(of: Callable[[Row], str], value: str) -> Callable[[Row], bool]:
    return lambda row: of(row) == value


def _plain(one: Figure) -> Mapping[str, Any]:
    told = {"name": one.name, "title": one.title, "share": one.share, "digits": one.digits}
    return told | one.interval.rounded()
