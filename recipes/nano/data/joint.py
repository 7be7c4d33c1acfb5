"""Stage: one manifest of everything, with its licences and what it amounts to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from recipes.nano.data.corpus import Utterance, write_manifest
from stepaudio.hub import write_atomic

__all__ = ["joined_rows", "licences_page", "origin", "summary", "summary_page", "write_joint"]

#: A file in which a corpus names its licences and whom to credit.
LICENCES = "LICENCES.md"


def origin(row: Utterance) -> str:
    """The engine that spoke a row, or the corpus: its id up to the first underscore."""
    return row.engine or row.id.partition("_")[0].partition("-")[0]


def joined_rows(parts: Iterable[Sequence[Utterance]]) -> list[Utterance]:
    """Rows of several stages; of two with the same id the later one is taken.

    Args:
        parts: rows of each stage, in order: a recording of the corpus comes again once its words
            are placed, or once it is one half of a pair.

    Returns:
        All rows.

    Raises:
        ValueError: a row without a licence, or made from one that is not there.
    """
    rows = {row.id: row for part in parts for row in part}
    for row in rows.values():
        if not row.licence:
            raise ValueError(f"{row.id} has no licence; its manifest must name one")
        if row.source and row.source not in rows:
            raise ValueError(f"{row.id} was made from {row.source}, which is in no manifest")
    return list(rows.values())


def summary(
    rows: Sequence[Utterance], seconds: Mapping[str, float], planned: Mapping[str, float]
) -> dict[str, Any]:
    """Hours and rows per change, language, origin, maker and licence.

    Args:
        rows: of the joint manifest.
        seconds: of each row by id.
        planned: hours expected of each stage.

    Returns:
        ``{"hours", "rows", "speakers", "planned", "by": {kind: {name: {"hours", "rows"}}}}``.
    """
    kinds: dict[str, Callable[[Utterance], str]] = {
        "change": lambda row: row.change if row.text else "noise for mixing",
        "language": lambda row: row.lang,
        "origin": origin,
        "made by": lambda row: row.made,
        "licence": lambda row: row.licence,
    }
    by: dict[str, dict[str, dict[str, float]]] = {}
    for kind, name_of in kinds.items():
        found: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            found[name_of(row)].append(seconds[row.id])
        by[kind] = {
            name: {"hours": round(sum(lengths) / 3600, 3), "rows": len(lengths)}
            for name, lengths in sorted(found.items())
        }
    return {
        "hours": round(sum(seconds[row.id] for row in rows) / 3600, 2),
        "rows": len(rows),
        "speakers": len({row.speaker for row in rows if row.text}),
        "planned": dict(planned),
        "by": by,
    }


def summary_page(told: Mapping[str, Any]) -> str:
    """A summary as Markdown tables."""
    lines = [f"# {told['hours']:.1f} hours, {told['rows']} rows, {told['speakers']} speakers", ""]
    for kind, names in told["by"].items():
        lines += [f"| {kind} | hours | rows |", "|---|---|---|"]
        lines += [f"| {name} | {n['hours']:.2f} | {n['rows']} |" for name, n in names.items()]
        lines.append("")
    lines += ["| stage | hours planned |", "|---|---|"]
    lines += [f"| {stage} | {hours:.2f} |" for stage, hours in told["planned"].items()]
    return "\n".join(lines) + "\n"


def licences_page(rows: Sequence[Utterance], corpus_page: str) -> str:
    """Licences of everything that is heard in the rows, as Markdown.

    Args:
        rows: of the joint manifest.
        corpus_page: what the corpus itself says of its licences and whom to credit.

    Returns:
        The page.
    """
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in rows:
        found[origin(row), row.licence, "spoken" if row.text else "noise"] += 1
        labels = row.labels or {}
        for licence in labels.get("noise", {}).get("licences", ()):
            found["mixed in", licence, labels["noise"]["kind"]] += 1
        sound = labels.get("sound", {})
        if sound.get("made") == "human":
            found["mixed in", sound["licence"], "breaths"] += 1
    lines = ["# Licences", "", "| origin | licence | what | rows |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(key)} | {count} |" for key, count in sorted(found.items())]
    return "\n".join([*lines, "", corpus_page]).rstrip() + "\n"


def write_joint(
    out: Path, parts: Iterable[Sequence[Utterance]], corpus: Path, planned: Mapping[str, float]
) -> str:
    """Write ``manifest.jsonl``, ``LICENCES.md``, ``summary.json`` and ``summary.md``.

    Args:
        out: folder of all four.
        parts: rows of each stage.
        corpus: its manifest.
        planned: hours expected of each stage.

    Returns:
        The summary as Markdown.
    """
    rows = joined_rows(parts)
    seconds = {row.id: soundfile.info(row.path).duration for row in rows}
    told = summary(rows, seconds, planned)
    credits_file = corpus.parent / LICENCES
    credits_page = credits_file.read_text(encoding="utf-8") if credits_file.exists() else ""
    page = summary_page(told)
    for name, text in {
        LICENCES: licences_page(rows, credits_page),
        "summary.json": json.dumps(told, indent=1, ensure_ascii=False) + "\n",
        "summary.md": page,
    }.items():
        _write(out / name, text)
    write_manifest(out / "manifest.jsonl", rows)
    return page


def _write(path: Path, text: str) -> None:
    write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"), force=True)
