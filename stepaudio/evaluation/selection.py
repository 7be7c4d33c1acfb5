"""Which rows of a benchmark to run: by task, label, language, speaker, and a balanced few."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stepaudio.errors import EvaluationError
from stepaudio.evaluation.benchmark_data import Row

__all__ = ["Selection", "select", "shard"]


@dataclass(frozen=True)
class Selection:
    """What to take; an empty list takes all.

    Attributes:
        tasks: kinds of change.
        langs: languages.
        speakers: voices.
        limit: most rows of each label; None takes all.
        seed: which rows those are.
        labels: what is asked for.
        ranked: the rows stand in the order in which they are to be taken.
    """

    tasks: tuple[str, ...] = ()
    langs: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    limit: int | None = None
    seed: int = 0
    labels: tuple[str, ...] = ()
    ranked: bool = False


def select(rows: Sequence[Row], wanted: Selection) -> list[Row]:
    """Take some rows.

    With a limit, the rows of a label are spread evenly over languages and speakers, or the first
    ones if the rows are ranked; a larger limit keeps the rows of a smaller one.

    Args:
        rows: with unique ids.
        wanted: which.

    Returns:
        The chosen rows in their own order.

    Raises:
        EvaluationError: a task, label, language or speaker that no row has, a limit below 1, or
            nothing left.
    """
    for name, given, known in (
        ("task", wanted.tasks, {row.task for row in rows}),
        ("label", wanted.labels, {row.label for row in rows}),
        ("language", wanted.langs, {row.lang for row in rows}),
        ("speaker", wanted.speakers, {row.speaker for row in rows}),
    ):
        for value in given:
            if value not in known:
                raise EvaluationError(
                    f"no row has the {name} {value!r}; there are {', '.join(sorted(known))}"
                )
    if wanted.limit is not None and wanted.limit < 1:
        raise EvaluationError(f"the limit per label must be at least 1, not {wanted.limit}")
    left = [
        row
        for row in rows
        if (not wanted.tasks or row.task in wanted.tasks)
        and (not wanted.labels or row.label in wanted.labels)
        and (not wanted.langs or row.lang in wanted.langs)
        and (not wanted.speakers or row.speaker in wanted.speakers)
    ]
    if not left:
        raise EvaluationError(
            "no row has the tasks, labels, languages and speakers asked for together"
        )
    if wanted.limit is None:
        return left
    if wanted.ranked:
        return _first(left, wanted.limit)
    return _balanced(left, wanted.limit, wanted.seed)


def shard(rows: Sequence[Row], number: int, count: int) -> list[Row]:
    """The part of the rows that one of several machines works on.

    Args:
        rows: all of them, the same on every machine.
        number: of the part, from 1.
        count: of parts.

    Returns:
        Every ``count``-th row.

    Raises:
        EvaluationError: no such part.
    """
    if not 1 <= number <= count:
        raise EvaluationError(f"there is no shard {number} of {count}; count from 1")
    return list(rows[number - 1 :: count])


def _first(rows: Sequence[Row], limit: int) -> list[Row]:
    seen: Counter[tuple[str, str]] = Counter()
    chosen = []
    for row in rows:
        seen[row.task, row.label] += 1
        if seen[row.task, row.label] <= limit:
            chosen.append(row)
    return chosen


def _balanced(rows: Sequence[Row], limit: int, seed: int) -> list[Row]:
    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode()).digest()

    labels: dict[tuple[str, str], dict[str, dict[str, list[str]]]] = {}
    for row in rows:
        langs = labels.setdefault((row.task, row.label), {})
        langs.setdefault(row.lang, {}).setdefault(row.speaker, []).append(row.id)
    chosen: set[str] = set()
    for label, langs in labels.items():
        # One row of every voice before a second one of any, languages by turns.
        turns: list[tuple[int, int, bytes, str]] = []
        for lang, voices in langs.items():
            order = sorted((rank(f"{label} {voice}"), voice) for voice in voices)
            for number, (_, voice) in enumerate(order):
                turns += [
                    (round_number, number, rank(f"{label} {lang}"), name)
                    for round_number, name in enumerate(sorted(voices[voice], key=rank))
                ]
        chosen.update(name for *_, name in sorted(turns)[:limit])
    return [row for row in rows if row.id in chosen]
