"""A measured model card as files: JSON for programs, a page with targets, two pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepaudio.errors import OutputExistsError
from stepaudio.evaluation.report_numbers import show_interval, show_number
from stepaudio.evaluation.report_page import step_table
from stepaudio.evaluation.report_plots import draw_success, draw_trade_off
from stepaudio.evaluation.summary import ALL
from stepaudio.hub import write_atomic

__all__ = ["card_files", "card_markdown", "check_card_free", "write_card"]

_SENSES = {"at least": "≥", "at most": "≤"}
_MET = {True: "met", False: "**missed**", None: "unknown"}
# Columns of the table by label: heading, digits, in percent, with sign.
_COLUMNS = {
    "heard": ("heard as asked, %", 0, True, False),
    "errors": ("word error rate", 2, False, False),
    "similarity": ("similarity", 2, False, False),
    "pitch": ("F0, semitones", 1, False, True),
    "voiced": ("voiced share", 2, False, True),
    "tempo": ("tempo ×", 2, False, False),
}


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a fragment without headings, to be included by a page.

    Args:
        card: of :func:`stepaudio.evaluation.card.measure_card`.

    Returns:
        Markdown, ending in a line break.
    """
    machine, plan, targets = card["environment"], card["plan"], card["targets"]
    asked = sum(targets.values())
    lines = [
        f"Model **{card['model']}**, seed {plan['seed']}; stepaudio {machine['stepaudio']}, torch "
        f"{machine['torch']}, {machine['machine']}, {machine['cores']} cores, {machine['date']}. "
        f"Of {asked} targets **{targets['met']} are met**, {targets['missed']} missed, "
        f"{targets['unknown']} unknown. Values with 95 % intervals from resampling speakers.",
        "",
    ]
    for section in card["sections"].values():
        lines += _section(section, card["judges"])
    return "\n".join([*lines, *_method(card)]).rstrip() + "\n"


def _section(section: Mapping[str, Any], judges: Mapping[str, Any]) -> list[str]:
    if "figures" not in section:
        return [f"**{section['title']}**: missing ({section['missing']}).", ""]
    failed = f", {section['failed']} without sound" if section["failed"] else ""
    rows, speakers = section["rows"], section["speakers"]
    lines = [
        f"**{section['title']}** ({rows} rows, {speakers} speakers{failed})",
        "",
        "| | measured | target | |",
        "|---|---|---|---|",
        *(_figure(one) for one in section["figures"]),
        "",
    ]
    if section.get("labels"):
        lines += [*_labels(section["labels"]), ""]
    if section.get("slices"):
        lines += [*_slices(section["slices"]), ""]
    if section.get("steps"):
        lines += [*step_table(section["task"], section["steps"], judges[section["task"]]), ""]
    if section.get("second"):
        name, steps = section["second"]["judge"], section["second"]["steps"]
        lines += [f"By the judge of {name}:", "", *step_table(name, steps, judges[name]), ""]
    return lines


def _figure(one: Mapping[str, Any]) -> str:
    measured = _measured(one) if one["value"] is not None else f"missing: {one['missing']}"
    target = ""
    if one["target"] is not None:
        bound, sense = one["target"]["bound"], _SENSES[one["target"]["sense"]]
        number = show_number(bound, 0 if one["share"] else one["digits"], one["share"])
        target = f"{sense} {number}{' %' if one['share'] else ''}"
    return f"| {one['title']} | {measured} | {target} | {_MET[one['met']] if target else ''} |"


def _measured(one: Mapping[str, Any]) -> str:
    text = show_interval(one, one["digits"], one["share"])
    if not one["share"] or one["value"] is None:
        return text
    return text.replace(" (", " % (", 1) if "(" in text else f"{text} %"


def _slices(slices: Mapping[str, Mapping[str, Any]]) -> list[str]:
    titles = {one["name"]: one["title"] for of in slices.values() for one in of["figures"]}
    headings = [f"{name} ({of['speakers']} speakers)" for name, of in slices.items()]
    lines = [
        f"| by speaker | {' | '.join(headings)} |",
        "|---" * (len(slices) + 1) + "|",
    ]
    for name, title in titles.items():
        cells = [
            next((_measured(one) for one in of["figures"] if one["name"] == name), "–")
            for of in slices.values()
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _labels(labels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    there = [key for key in _COLUMNS if any(key in row for row in labels.values())]
    lines = [
        f"| Iter1, by label | {' | '.join(_COLUMNS[key][0] for key in there)} |",
        "|---" * (len(there) + 1) + "|",
    ]
    for label, row in labels.items():
        cells = []
        for key in there:
            _, digits, share, signed = _COLUMNS[key]
            cells.append(show_interval(row.get(key), digits, share, signed=signed))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _method(card: Mapping[str, Any]) -> list[str]:
    models = {
        f"{name}: {model['name']} ({model['version']})"
        for section in card["sections"].values()
        for name, model in section.get("metrics", {}).items()
    }
    models |= {
        f"judge of {task}: {judge['name']} ({judge['version']})"
        for task, judge in card["judges"].items()
    }
    return [
        *(f"- {line}" for line in sorted(models)),
        *(f"- {name}: **missing** ({reason})" for name, reason in card["missing"].items()),
    ]


def card_files(output: Path) -> list[Path]:
    """What :func:`write_card` may write.

    Args:
        output: the JSON file.

    Returns:
        Pictures, page, and the file itself.
    """
    stem = output.with_suffix("")
    return [
        stem.with_name(f"{stem.name}-success.svg"),
        stem.with_name(f"{stem.name}-trade-off.svg"),
        output.with_suffix(".md"),
        output,
    ]


def check_card_free(output: Path, *, force: bool) -> None:
    """Refuse to replace a card, before the work whose result it would hold.

    Args:
        output: the JSON file.
        force: it may be replaced.

    Raises:
        OutputExistsError: a file is there and ``force`` is False.
    """
    for path in card_files(output):
        if path.exists() and not force:
            raise OutputExistsError(f"{path} exists; ask to overwrite it, or choose another name")


def write_card(output: Path, card: Mapping[str, Any], *, force: bool = False) -> list[Path]:
    """Write the files of a card, each complete or not at all.

    Args:
        output: the JSON file; page and pictures go beside it.
        card: of :func:`stepaudio.evaluation.card.measure_card`.
        force: allow replacing files.

    Returns:
        The files written; pictures only where a judge was asked.

    Raises:
        OutputExistsError: one of them exists and ``force`` is False.
        MissingExtraError: matplotlib is not installed.
    """
    check_card_free(output, force=force)
    success, trade_off, page, output = card_files(output)
    written = []
    judged = [one for one in card["sections"].values() if "steps" in one]
    if judged:
        tasks = {one["task"]: {ALL: one["steps"]} for one in judged}
        report = {"tasks": tasks, "judges": card["judges"]}
        written = [
            draw_success(report, success, force=force),
            draw_trade_off(report, trade_off, force=force),
        ]
    texts = {
        page: card_markdown(card),
        # Last: whoever finds it finds the others.
        output: json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for path, text in texts.items():

        def write(place: Path, text: str = text) -> None:
            place.write_text(text, encoding="utf-8")

        written.append(write_atomic(path, write, force=force))
    return written
