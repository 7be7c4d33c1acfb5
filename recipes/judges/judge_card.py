"""How good a judge is, in numbers for programs, a table and a picture for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import stepaudio
from recipes.judges.clips import Clip
from stepaudio.evaluation.bootstrap import mean_interval
from stepaudio.evaluation.confusion import Confusion

__all__ = ["strangers", "write_card"]


def write_card(
    out: str | Path,
    confusion: Confusion,
    answers: Sequence[tuple[Clip, str]],
    settings: str,
    *,
    more: Mapping[str, Any] | None = None,
    words: str = "",
    truth: str = "acted",
) -> str:
    """Write ``judge.json``, ``judge.md`` and ``confusion.svg``; nothing in them is a weight.

    Args:
        out: folder.
        confusion: on unseen speakers.
        answers: what was heard in every recording.
        settings: of the training, in words.
        more: further numbers for programs.
        words: the same for people.
        truth: what the rows of the matrix are, for the picture.

    Returns:
        The Markdown.
    """
    out = Path(out)
    right = [float(clip.label == heard) for clip, heard in answers]
    speakers = [clip.speaker for clip, _ in answers]
    sets = {}
    for name in sorted({clip.group.partition("/")[0] for clip, _ in answers}):
        of = [n for n, (clip, _) in enumerate(answers) if clip.group.partition("/")[0] == name]
        interval = mean_interval([right[n] for n in of], [speakers[n] for n in of])
        sets[name] = _plain(asdict(interval))
    card: dict[str, Any] = {
        "judge": "statistics-classifier",
        "stepaudio": stepaudio.__version__,
        "torch": torch.__version__,
        "settings": settings,
        "protocol": confusion.protocol,
        "recordings": confusion.total,
        "speakers": len(confusion.speakers),
        "accuracy": _plain(asdict(mean_interval(right, speakers))),
        "balanced_accuracy": round(confusion.balanced_accuracy or 0.0, 4),
        "recalls": {label: round(value, 4) for label, value in confusion.recalls.items()},
        "by_set": sets,
        "labels": list(confusion.labels),
        "counts": [list(row) for row in confusion.counts],
        **(more or {}),
    }
    whole = card["accuracy"]
    lines = [
        f"{confusion.total} recordings of {len(confusion.speakers)} speakers heard right:",
        f"{100 * whole['value']:.1f} % ({100 * whole['low']:.1f} to {100 * whole['high']:.1f}),",
        f"{100 * card['balanced_accuracy']:.1f} % balanced; chance is",
        f"{100 / len(confusion.labels):.0f} %.",
        f"{settings}; {confusion.protocol}.",
        "",
        "Heard, in percent of each row:",
        "",
        confusion.markdown(),
        "| corpus | speakers | recordings | right, % |",
        "|---|---|---|---|",
        *(
            f"| {name} | {one['speakers']} | {one['n']} | {100 * one['value']:.0f} |"
            for name, one in sets.items()
        ),
    ]
    text = "\n".join(lines) + "\n" + (f"\n{words}\n" if words else "")
    out.mkdir(parents=True, exist_ok=True)
    (out / "judge.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (out / "judge.md").write_text(text, encoding="utf-8")
    _draw(confusion, truth, out / "confusion.svg")
    return text


def strangers(
    labels: Sequence[str], answers: Sequence[tuple[Clip, str]]
) -> tuple[dict[str, Any], str]:
    """Tell how a judge hears people of a corpus that it was not trained on.

    Args:
        labels: of the judge; those that the corpus lacks are not in the table.
        answers: what was heard in every recording.

    Returns:
        ``more`` and ``words`` of :func:`write_card`.
    """
    confusion = Confusion.of(
        labels,
        [(clip.label, heard) for clip, heard in answers],
        speakers=(clip.speaker for clip, _ in answers),
    )
    right = [float(clip.label == heard) for clip, heard in answers]
    interval = mean_interval(right, [clip.speaker for clip, _ in answers])
    numbers = {
        "recordings": confusion.total,
        "speakers": len(confusion.speakers),
        "accuracy": _plain(asdict(interval)),
        "recalls": {label: round(value, 4) for label, value in confusion.recalls.items()},
        "counts": [list(row) for row in confusion.counts],
    }
    sets = sorted({clip.group.partition("/")[0] for clip, _ in answers})
    rows = confusion.markdown().splitlines()
    present = [row for row, counts in zip(rows[2:], confusion.counts, strict=True) if any(counts)]
    lines = [
        f"Other people, of {', '.join(sets)}: {confusion.summary()}.",
        "",
        *rows[:2],
        *present,
    ]
    return {"strangers": numbers}, "\n".join(lines)


def _plain(interval: dict[str, Any]) -> dict[str, Any]:
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in interval.items()}


def _draw(confusion: Confusion, truth: str, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stepaudio"}):
        figure = Figure(figsize=(4.6, 4.0), layout="constrained")
        axes = figure.subplots()
        shares = [[n / max(1, sum(row)) for n in row] for row in confusion.counts]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                colour = "white" if share > 0.5 else "black"
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color=colour)
        places = range(len(confusion.labels))
        axes.set_xticks(places, confusion.labels, rotation=45, ha="right")
        axes.set_yticks(places, confusion.labels)
        axes.set(xlabel="heard", ylabel=truth)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
