"""What a run leaves behind: one JSON file, one line per item, a page and pictures.

Everything needed to repeat or doubt a number is in the JSON file: versions, machine, models of
metrics and judges, configuration, seeds, and what could not be measured and why.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import stepaudio
from stepaudio.errors import OutputExistsError
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.edit_benchmark import Item
from stepaudio.evaluation.measuring import Instruments
from stepaudio.evaluation.scoring import JointRule, Scored, first_of_each
from stepaudio.evaluation.summary import outcomes, summarise
from stepaudio.hub import write_atomic

__all__ = ["FILES", "build_report", "check_free", "environment", "item_lines", "write_report"]

#: What :func:`write_report` writes; pictures only where there are iterations.
FILES = ("report.json", "items.jsonl", "report.md", "success.svg", "trade-off.svg")


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "stepaudio": stepaudio.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        # Not the release of the kernel: it can hold the name of a machine or a provider.
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def build_report(
    kind: str,
    scored: Sequence[Scored],
    instruments: Instruments,
    config: Mapping[str, Any],
    *,
    rule: JointRule | None = None,
    baseline: str = "iter0",
    seed: int = 0,
) -> dict[str, Any]:
    """All numbers of a run as plain values.

    Args:
        kind: ``"edit benchmark"`` or ``"recordings"``.
        scored: measured items.
        instruments: what measured.
        config: of the run.
        rule: of joint success; None is the default one.
        baseline: step that items are compared with.
        seed: of the resampling.

    Returns:
        The report; its ``tasks`` are those of :func:`stepaudio.evaluation.summary.summarise`.
    """
    rule = JointRule() if rule is None else rule
    labels = {task: judge.labels for task, judge in instruments.judges.items()}
    tables = summarise(scored, rule=rule, baseline=baseline, labels=labels, seed=seed)
    judges: dict[str, Any] = {}
    for task, judge in instruments.judges.items():
        judges[task] = {**asdict(judge.model), "labels": list(judge.labels)}
        # What an endpoint calls itself, and when it answered; kept verdicts say it of themselves.
        served = getattr(judge, "served", ())
        if served:
            judges[task]["served"] = list(served)
        # A classifier knows how often it is wrong itself.
        confusion = getattr(judge, "confusion", None)
        if isinstance(confusion, Confusion):
            judges[task]["confusion"] = asdict(confusion)
    return {
        "kind": kind,
        "environment": environment(),
        "config": dict(config),
        "items": len(scored),
        "repeated": len(scored) - len(first_of_each(scored)),
        "metrics": {one.metric.name: asdict(one.metric.model) for one in instruments.metrics},
        "judges": judges,
        "missing": dict(instruments.missing),
        "joint": {**asdict(rule), "baseline": baseline},
        "bootstrap": {"level": 0.95, "resampled": "speakers", "seed": seed},
        "tasks": json.loads(json.dumps(tables)),
    }


def item_lines(
    rows: Sequence[Row],
    items: Sequence[Item],
    scored: Sequence[Scored],
    *,
    rule: JointRule | None = None,
    baseline: str = "iter0",
) -> list[dict[str, Any]]:
    """One object per item: row, recording, numbers, answer and outcome.

    Args:
        rows: of the items.
        items: as they were made.
        scored: the same items measured, in the same order.
        rule: of joint success; None is the default one.
        baseline: step that items are compared with.

    Returns:
        Plain values.
    """
    by_id = {row.id: row for row in rows}
    found = outcomes(first_of_each(scored), JointRule() if rule is None else rule, baseline)
    lines = []
    for item, one in zip(items, scored, strict=True):
        row, result = by_id[item.row], found[item.row, item.step]
        lines.append(
            {
                **asdict(item),
                "published_id": row.published_id,
                "task": row.task,
                "label": row.label,
                "speaker": row.speaker,
                "lang": row.lang,
                "set": row.set,
                "text": row.text,
                "answer": one.answer,
                "outcome": {**asdict(result), "success": result.success},
                "values": dict(one.values),
            }
        )
    return lines


def check_free(folder: str | Path, *, force: bool) -> None:
    """Refuse to replace a report, before the work whose result it would hold.

    Args:
        folder: of the run.
        force: it may be replaced.

    Raises:
        OutputExistsError: there is a report and ``force`` is False.
    """
    for name in FILES:
        path = Path(folder) / name
        if path.exists() and not force:
            raise OutputExistsError(f"{path} exists; ask to overwrite it, or choose another folder")


def write_report(
    folder: str | Path,
    report: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    *,
    plots: bool = True,
    force: bool = False,
) -> list[Path]:
    """Write the files of a report, each complete or not at all.

    Args:
        folder: made if needed.
        report: from :func:`build_report`.
        lines: from :func:`item_lines`.
        plots: draw pictures, which takes matplotlib.
        force: allow replacing files.

    Returns:
        The files written.

    Raises:
        OutputExistsError: one of them exists and ``force`` is False.
        MissingExtraError: matplotlib is not installed.
    """
    from stepaudio.evaluation.report_page import markdown

    folder = Path(folder)
    check_free(folder, force=force)
    texts = {
        "items.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
        "report.md": markdown(report),
        # Last: whoever finds it finds the others.
        "report.json": json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    written = []
    if plots:
        from stepaudio.evaluation.report_plots import draw_success, draw_trade_off

        written = [
            draw_success(report, folder / "success.svg", force=force),
            draw_trade_off(report, folder / "trade-off.svg", force=force),
        ]
    for name, text in texts.items():

        def write(path: Path, text: str = text) -> None:
            path.write_text(text, encoding="utf-8")

        written.append(write_atomic(folder / name, write, force=force))
    return written
