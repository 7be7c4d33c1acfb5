"""Tables of a report by the label asked for: shares, gains, and what the judge answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stepaudio.evaluation.gains import EDITED
from stepaudio.evaluation.report_numbers import show_interval, show_number, step_title
from stepaudio.evaluation.scoring import heard_label

__all__ = ["answer_table", "label_table"]

_OFF_LIST = "off the list"


def label_table(task: str, steps: Mapping[str, Any]) -> list[str]:
    """Share (or score) of each label at every step, and what the first edit gained.

    Args:
        task: name of the first column.
        steps: cells of :func:`stepaudio.evaluation.summary.summarise`.

    Returns:
        Lines of Markdown with an empty one behind; none if no judge was asked.
    """
    judged = {name: cell for name, cell in steps.items() if "by_label" in cell}
    if not judged:
        return []
    share, digits = (False, 2) if task == "paralinguistic" else (True, 1)
    gained = judged.get(EDITED, {}).get("gains", {})
    titles = [step_title(name) for name in judged]
    titles += [f"{step_title(EDITED)} over {step_title(base)}" for base in gained]
    lines = [_row([task, *titles]), "|" + "---|" * (len(titles) + 1)]
    for label in dict.fromkeys(label for cell in judged.values() for label in cell["by_label"]):
        cells = [
            show_number(cell["by_label"].get(label), digits, share) for cell in judged.values()
        ]
        cells += [
            show_interval(gain["by_label"].get(label), digits, share, signed=True)
            for gain in gained.values()
        ]
        lines.append(_row([label, *cells]))
    cells = [show_number(cell["corrected"]["value"], digits, share) for cell in judged.values()]
    cells += [show_interval(gain["all"], digits, share, signed=True) for gain in gained.values()]
    return [*lines, _row(["**all**", *cells]), ""]


def answer_table(task: str, steps: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """What the judge answered where each label was asked for: before, resynthesis, last edit.

    Args:
        task: that was judged.
        steps: cells of :func:`stepaudio.evaluation.summary.summarise`.
        labels: the judge's.

    Returns:
        Lines of Markdown with an empty one behind; none if no judge was asked.
    """
    judged = {name: cell["answers"] for name, cell in steps.items() if "answers" in cell}
    edits = [name for name in judged if name.startswith("iter") and name != "iter0"]
    shown = {name: found for name, found in judged.items() if name not in edits[:-1]}
    if not shown:
        return []
    asked = dict.fromkeys(label for found in shown.values() for label in found)
    counted = {
        (label, name): _fold(found.get(label, {}), labels)
        for label in asked
        for name, found in shown.items()
    }
    heard = {answer for counts in counted.values() for answer in counts}
    # The judge's own order first; what is none of its labels comes last.
    columns = [label for label in labels if label in heard or label in asked]
    columns += sorted(heard - set(labels))
    lines = [
        f"What the judge of {task} answered, in % of the recordings of each label asked for:",
        "",
        _row(["asked", "heard in", *columns, "of"]),
        "|" + "---|" * (len(columns) + 3),
    ]
    for (label, name), counts in counted.items():
        total = sum(counts.values())
        cells = [f"{100 * counts[column] / max(1, total):.0f}" for column in columns]
        cells = [
            f"**{cell}**" if column == label else cell
            for column, cell in zip(columns, cells, strict=True)
        ]
        lines.append(_row([label, step_title(name), *cells, str(total)]))
    return [*lines, ""]


def _fold(answers: Mapping[str, int], labels: Sequence[str]) -> Counter[str]:
    """Answers under the labels they mean; all others but the missing ones are one."""
    folded: Counter[str] = Counter()
    for answer, count in answers.items():
        missing = answer.startswith("(")
        folded[heard_label(answer, labels) or (answer if missing else _OFF_LIST)] += count
    return folded


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
