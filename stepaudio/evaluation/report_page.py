"""A report as a page for people, and the page of all committed reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.edit_benchmark import RESYNTHESIS
from stepaudio.evaluation.report_labels import answer_table, label_table
from stepaudio.evaluation.report_numbers import show_interval, step_title
from stepaudio.evaluation.summary import ALL
from stepaudio.hub import config_from_dict

__all__ = ["benchmarks_page", "markdown", "step_table"]

_TITLES = {"edit benchmark": "Edit benchmark", "recordings": "Recordings"}
# Rows of a table: how the number is called, where it is, digits, and whether it is a share.
_SHOWN = (
    ("words.wer", "word error rate", 3),
    ("words.cer", "character error rate", 3),
    ("dnsmos.ovrl", "DNSMOS overall", 2),
    ("dnsmos.p808", "DNSMOS P.808", 2),
    ("distillmos.mos", "DistillMOS", 2),
    ("prosody.f0_median_hz", "median F0, Hz", 0),
    ("prosody.duration_ratio", "duration over before", 2),
    ("silence.silence_share", "silence share", 2),
    ("boundary.spectral_max", "largest jump at a join", 2),
)
_HEAD = """# Benchmarks

Generated from the result files in `docs/results` by `python docs/benchmarks_page.py`; a test
compares this page with them. Intervals are 95 %, by resampling speakers.
"""


def markdown(report: Mapping[str, Any], *, level: int = 1) -> str:
    """A report in Markdown.

    Args:
        report: from :func:`stepaudio.evaluation.report.build_report`.
        level: of the first heading.

    Returns:
        The text, ending in a line break.
    """
    head = "#" * level
    config, machine = report["config"], report["environment"]
    lines = [f"{head} {_TITLES[report['kind']]}", ""]
    facts = [f"**Model**: {config['model']}."] if "model" in config else []
    if "iterations" in config:
        prompt = "fixed" if config["fixed_prompt"] else "moving"
        facts.append(f"{config['rows']} rows, {prompt} prompt, seed {config['seed']}.")
    facts.append(
        f"stepaudio {machine['stepaudio']}, torch {machine['torch']}, {machine['machine']}, "
        f"{machine['date']}."
    )
    lines += [" ".join(facts), ""]
    for task, groups in report["tasks"].items():
        for group, steps in groups.items():
            name = task or "recordings"
            lines += [f"{head}# {name}{'' if group == ALL else f', {group}'}", ""]
            lines += [*step_table(task, steps, report["judges"].get(task)), ""]
        lines += label_table(task, groups[ALL])
        if task in report["judges"]:
            lines += answer_table(task, groups[ALL], report["judges"][task]["labels"])
    lines += [*_method(report, head), *_confusions(report, head)]
    return "\n".join(lines).rstrip() + "\n"


def step_table(task: str, steps: Mapping[str, Any], judge: Mapping[str, Any] | None) -> list[str]:
    """Numbers of one task, a column for each step.

    Args:
        task: kind of change.
        steps: cells by step, of :func:`stepaudio.evaluation.summary.summarise`.
        judge: who judged; None if nobody did.

    Returns:
        Lines of a Markdown table.
    """
    names = list(steps)
    lines = [
        f"| | {' | '.join(step_title(name) for name in names)} |",
        "|---|" + "---|" * len(names),
    ]

    def add(title: str, cells: Sequence[str]) -> None:
        if any(cell != "–" for cell in cells):
            lines.append(f"| {title} | {' | '.join(cells)} |")

    cells = [steps[name] for name in names]
    if judge is not None:
        share, digits = (False, 2) if task == "paralinguistic" else (True, 1)
        title = "score, 1 to 3" if task == "paralinguistic" else "accuracy, %"
        add(f"**{title}**", [show_interval(cell.get("corrected"), digits, share) for cell in cells])
        add("answers off the list, none", [_counts(cell) for cell in cells])
        add(
            "as upstream counts (rows kept)",
            [
                f"{show_interval(cell['upstream'], digits, share)} ({cell['upstream']['n']})"
                if "upstream" in cell
                else "–"
                for cell in cells
            ],
        )
        for key, title in (
            ("joint", "**joint success, %**"),
            ("words_kept", "words kept, %"),
            ("speaker_kept", "speaker kept, %"),
        ):
            add(title, [show_interval(cell.get(key), 1, True) for cell in cells])
    shown = [*_SHOWN]
    found = dict.fromkeys(name for cell in cells for name in cell["metrics"])
    shown += [
        (name, f"similarity, {name.removeprefix('speaker:').removesuffix('.similarity')}", 3)
        for name in found
        if name.startswith("speaker:") and name.endswith(".similarity")
    ]
    shown += [
        (name, f"margin to others, {name.removeprefix('speaker:').removesuffix('.margin_max')}", 3)
        for name in found
        if name.startswith("speaker:") and name.endswith(".margin_max")
    ]
    for name, title, digits in shown:
        add(title, [show_interval(cell["metrics"].get(name), digits, False) for cell in cells])
    add("rows (without sound)", [f"{cell['rows']} ({cell['failed']})" for cell in cells])
    return lines


def _method(report: Mapping[str, Any], head: str) -> list[str]:
    rule = report["joint"]
    lines = [f"{head}# How it was measured", ""]
    for task, judge in report["judges"].items():
        served = f"; answered by {', '.join(judge['served'])}" if "served" in judge else ""
        lines.append(f"- judge of {task}: {judge['name']} ({judge['version']}{served})")
    for name, model in report["metrics"].items():
        lines.append(f"- {name}: {model['name']} ({model['version']})")
    for name, reason in report["missing"].items():
        lines.append(f"- {name}: **missing** ({reason})")
    if report["judges"] and report["kind"] == "edit benchmark":
        if rule["baseline"] == RESYNTHESIS:
            lines.append(
                "- resynth: the source taken to tokens and back and otherwise left alone; the gain "
                "over it is what the edit adds to the codec's own doing, row by row"
            )
        lines.append(
            f"- joint success: the change is made (a sound: score {rule['sound_score']} or more), "
            f"error rate ≤ {rule['baseline']} + {rule['word_margin']:.2f}, similarity ≥ "
            f"{rule['baseline']} − {rule['similarity_margin']:.2f}, row by row"
        )
    return lines


def _confusions(report: Mapping[str, Any], head: str) -> list[str]:
    lines = []
    for task, judge in report["judges"].items():
        if "confusion" in judge:
            table = config_from_dict(Confusion, judge["confusion"], f"judge of {task}").markdown()
            lines += ["", f"{head}# What the judge of {task} says of people it had not heard", ""]
            lines.append(table.rstrip())
    return lines


def _counts(cell: Mapping[str, Any]) -> str:
    return f"{cell['off_list']}, {cell['unanswered']}" if "off_list" in cell else "–"


def benchmarks_page(results: str | Path) -> str:
    """The page of the documentation that shows every committed result file.

    Reports of this package are rendered; for a result file of another kind, the Markdown fragment
    of the same name beside it is included.

    Args:
        results: folder of the ``.json`` files.

    Returns:
        Markdown.
    """
    parts = [_HEAD]
    for file in sorted(Path(results).glob("*.json")):
        report = json.loads(file.read_text(encoding="utf-8"))
        parts.append(f"## {file.stem}\n")
        if report.get("kind") in _TITLES:
            parts.append(markdown(report, level=3))
        else:
            parts.append(f"```{{include}} {file.parent.name}/{file.stem}.md\n```\n")
    return "\n".join(parts)
