"""The model card, measured: every section made, measured and told, in one file.

A section is a folder below ``runs``, begun and continued like any run of the edit benchmark; its
own report and the numbers of every recording are left there. What needs a package, a judge or a
corpus that is not there is told as missing, with the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stepaudio.edits import PARALINGUISTIC_TAGS
from stepaudio.errors import EvaluationError
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.bootstrap import Interval
from stepaudio.evaluation.card_inputs import Material
from stepaudio.evaluation.card_measures import Context, by_label
from stepaudio.evaluation.card_numbers import Measured
from stepaudio.evaluation.card_sections import SECTIONS, Section
from stepaudio.evaluation.card_slices import by_group
from stepaudio.evaluation.contracts import Judge
from stepaudio.evaluation.edit_benchmark import Item, RunConfig, Store, steps_of
from stepaudio.evaluation.event_judge import OTHER, EventJudge
from stepaudio.evaluation.measuring import Instrument, Instruments, Told, measure_items
from stepaudio.evaluation.registry import MetricSettings, load_metrics
from stepaudio.evaluation.report import build_report, environment, item_lines, write_report
from stepaudio.evaluation.scoring import Scored
from stepaudio.evaluation.selection import Selection, select
from stepaudio.evaluation.summary import ALL
from stepaudio.evaluation.systems import load_system, model_name
from stepaudio.evaluation.workers import run_benchmark
from stepaudio.locate import locate
from stepaudio.parts import load_defaults

__all__ = ["CardPlan", "chosen_sections", "measure_card"]


@dataclass(frozen=True)
class CardPlan:
    """How a card is measured.

    Attributes:
        work: folder of everything that is made.
        model: folder or hub id; None is the embedded one.
        device: where it runs.
        seed: of rows, edits and resampling.
        limits: most rows of each label, by section; a section that is not named takes its own.
        workers: processes that make recordings.
        threads: of the section that is timed.
    """

    work: Path
    model: str | None = None
    device: str = "auto"
    seed: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1
    threads: int = 2


def chosen_sections(names: Sequence[str]) -> dict[str, Section]:
    """Sections by name.

    Args:
        names: keys of :data:`~stepaudio.evaluation.card_sections.SECTIONS`; empty takes all.

    Returns:
        The sections, in their own order.

    Raises:
        EvaluationError: no such section.
    """
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise EvaluationError(
            f"there is no section {unknown[0]!r}; choose from {', '.join(SECTIONS)}"
        )
    return {name: one for name, one in SECTIONS.items() if not names or name in names}


def measure_card(
    sections: Mapping[str, Section],
    material: Material,
    plan: CardPlan,
    judges: Mapping[str, Judge],
    missing: Mapping[str, str],
    *,
    progress: Told | None = None,
) -> dict[str, Any]:
    """Make and measure all that is not there yet.

    Args:
        sections: of :func:`chosen_sections`.
        material: what they are measured on.
        plan: how.
        judges: by task, or by the name of a section's second judge.
        missing: judges that are not there, by ``"judge of TASK"``, with the reason.
        progress: told what is being done, how much of it is done, and of how much.

    Returns:
        The card as plain values: ``sections`` by name with their ``figures``, and everything needed
        to repeat or doubt them.

    Raises:
        EvaluationError: the folder holds results of another plan, or a worker died.
    """
    bench = _Bench(material, plan, judges, missing, progress)
    bench.say_what_cannot_be_told(sections)
    told = {name: bench.section(name, section) for name, section in sections.items()}
    figures = [one for section in told.values() for one in section.get("figures", ())]
    met = [one["met"] for one in figures if one["target"] is not None]
    return {
        "kind": "model card",
        "model": model_name(plan.model),
        "environment": environment(),
        "plan": {
            "seed": plan.seed,
            "limits": dict(plan.limits),
            "workers": plan.workers,
            "timed_threads": plan.threads,
            "device": plan.device,
            "corpora": asdict(material.corpora),
        },
        "bootstrap": {"level": 0.95, "resampled": "speakers", "seed": plan.seed},
        "targets": {
            "met": sum(one is True for one in met),
            "missed": sum(one is False for one in met),
            "unknown": sum(one is None for one in met),
        },
        "judges": bench.judges_told,
        "missing": dict(bench.missing),
        "sections": told,
    }


class _Bench:
    """Material, instruments and judges, used by one section after the other."""

    def __init__(
        self,
        material: Material,
        plan: CardPlan,
        judges: Mapping[str, Judge],
        missing: Mapping[str, str],
        progress: Told | None,
    ) -> None:
        self.material, self.plan, self.judges, self.progress = material, plan, judges, progress
        self.missing = dict(missing)
        self.judges_told: dict[str, Any] = {}
        self._metrics: dict[tuple[str, str], Instrument | None] = {}
        speeds = load_defaults(locate(plan.model)).speeds
        tempo = {label: 1 / length for label, length in speeds.items()}
        self.context = Context(plan.model, tempo, self._tags())

    def say_what_cannot_be_told(self, sections: Mapping[str, Section]) -> None:
        """Name the labels that the model or a judge knows nothing of, where they matter."""
        if "speed" in sections and not self.context.tempo:
            self.missing["nominal tempo"] = "the model does not say what tempo its labels mean"
        unknown = [tag for tag in PARALINGUISTIC_TAGS if tag not in self.context.tags]
        if "sounds" in sections and unknown:
            self.missing["sounds"] = f"the judge does not know {', '.join(unknown)}"

    def section(self, name: str, section: Section) -> dict[str, Any]:
        """Everything about one section."""
        plan = self.plan
        rows: list[Row] = []
        try:
            rows = section.rows(self.material, self.context)
            limit = plan.limits.get(name, section.limit)
            rows = select(rows, Selection(limit=limit, seed=plan.seed, ranked=section.ranked))
            if section.prepare is not None:
                rows = section.prepare(rows, self.material, plan.work / "inputs" / name)
        except EvaluationError as error:
            self.missing[f"section {name}"] = str(error)
            return {"title": section.titled(rows), "missing": str(error)}
        config = RunConfig(
            model_name(plan.model),
            iterations=section.iterations,
            seed=plan.seed,
            baseline=section.baseline,
            settings={"device": plan.device},
            source={"section": name, "limit": limit, "corpora": asdict(self.material.corpora)},
        )
        store = Store(plan.work / "runs" / name)
        items = self._made(name, section, rows, store, config)
        return self._told(name, section, rows, items, store, config)

    def _made(
        self, name: str, section: Section, rows: list[Row], store: Store, config: RunConfig
    ) -> list[Item]:
        steps = [(row, step) for row in rows for step in steps_of(row, config)]
        finished = 0

        def done(_: Item) -> None:
            nonlocal finished
            finished += 1
            if self.progress is not None:
                self.progress(name, finished, len(steps))

        load = functools.partial(
            load_system,
            self.plan.model,
            device=self.plan.device,
            dtype="auto",
            temperature=None,
            steps=None,
            guidance=None,
        )
        workers = 1 if section.timed else self.plan.workers
        with _threads(self.plan.threads if section.timed else None):
            run_benchmark(rows, load, str(store.folder), config, workers=workers, done=done)
        items = [store.read(row.id, step) for row, step in steps]
        return [item for item in items if item is not None]

    def _told(
        self,
        name: str,
        section: Section,
        rows: list[Row],
        items: list[Item],
        store: Store,
        config: RunConfig,
    ) -> dict[str, Any]:
        task, seed = section.judge, self.plan.seed
        instruments = self._instruments(section)
        scored, report = self._measured(rows, items, store, instruments, config)
        lines = item_lines(rows, items, scored, baseline=config.baseline)
        write_report(store.folder, report, lines, plots=False, force=True)
        second: dict[str, list[Scored]] = {}
        steps: dict[str, Any] = {}
        names = set(instruments.names)
        if section.second in self.judges:
            # Its own name in the place of the task: its answers are kept beside the first judge's.
            own = replace(instruments, judges={section.second: self.judges[section.second]})
            named = [replace(row, task=section.second) for row in rows]
            second[section.second], again = self._measured(named, items, store, own, config)
            steps = again["tasks"][section.second][ALL]
            names |= own.names
        found = Measured(rows, items, scored, names, seed, second)
        told: dict[str, Any] = {
            "title": section.titled(rows),
            "rows": len(rows),
            "speakers": len({row.speaker or row.id for row in rows}),
            "failed": sum(item.wav is None for item in items),
            "metrics": report["metrics"],
            "figures": [
                one.plain(name, self.missing) for one in section.figures(found, self.context)
            ],
        }
        if found.labels:
            labels = by_label(found, config.baseline)
            told["labels"] = {name: row for name, of in labels.items() if (row := _plain(of))}
        if not section.timed:
            voices = (*self.material.speech, *self.material.mandarin)
            told["slices"] = by_group(name, found, self.context, section.figures, voices)
        if task in instruments.judges:
            told["task"] = task
            told["steps"] = report["tasks"][task][ALL]
        if steps:
            told["second"] = {"judge": section.second, "steps": _only_heard(steps)}
        return told

    def _measured(
        self,
        rows: list[Row],
        items: list[Item],
        store: Store,
        instruments: Instruments,
        config: RunConfig,
    ) -> tuple[list[Scored], dict[str, Any]]:
        """What the instruments say of every item, and the report of it."""
        scored = measure_items(rows, items, store, instruments, progress=self.progress)
        report = build_report(
            "edit benchmark",
            scored,
            instruments,
            store.config(),
            baseline=config.baseline,
            seed=self.plan.seed,
        )
        self.judges_told |= report["judges"]
        return scored, report

    def _instruments(self, section: Section) -> Instruments:
        metrics = []
        for name in section.metrics:
            key = (name, section.whisper if name == "words" else "")
            if key not in self._metrics:
                settings = MetricSettings(section.whisper, self.plan.model)
                found, absent = load_metrics([name], settings)
                self._metrics[key] = found[0] if found else None
                self.missing |= absent
            metrics.append(self._metrics[key])
        judges = {section.judge: self.judges[section.judge]} if section.judge in self.judges else {}
        for task in (section.judge, section.second):
            if task and task not in self.judges:
                self.missing.setdefault(f"judge of {task}", "none was asked for")
        return Instruments([one for one in metrics if one is not None], judges, self.missing)

    def _tags(self) -> tuple[str, ...]:
        """The sounds that the judge knows; all of them for one that says nothing of that."""
        judge = self.judges.get("paralinguistic")
        if not isinstance(judge, EventJudge):
            return PARALINGUISTIC_TAGS
        known = [label for label in judge.classifier.config.labels if label != OTHER]
        return tuple(tag for tag in PARALINGUISTIC_TAGS if tag in known)


def _plain(intervals: Mapping[str, Interval]) -> dict[str, dict[str, Any]]:
    return {name: one.rounded() for name, one in intervals.items() if one.value is not None}


def _only_heard(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a second judge adds: no metrics once more, and no count that upstream does not have."""
    return {
        step: {name: value for name, value in cell.items() if name != "upstream"} | {"metrics": {}}
        for step, cell in steps.items()
    }


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute on so many threads; None leaves it as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
