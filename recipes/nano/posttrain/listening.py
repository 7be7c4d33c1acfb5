"""Policies heard: edits of edits of real recordings, by the edit benchmark of the library.

Everything is measured with instruments that took no part in the rewards. An item is made, and a
number measured, once; see :mod:`stepaudio.evaluation.edit_benchmark`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.nano.posttrain.trainings import Folders
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.edit_benchmark import RunConfig, Store, run_rows, steps_of
from stepaudio.evaluation.measuring import Instruments, measure_items
from stepaudio.evaluation.registry import (
    JudgeSettings,
    MetricSettings,
    load_judges,
    load_metrics,
)
from stepaudio.evaluation.report import build_report, item_lines, write_report
from stepaudio.evaluation.systems import PipelineSystem
from stepaudio.hub import weights_digest
from stepaudio.lm.step1 import Step1LM
from stepaudio.pipeline import EditPipeline
from stepaudio.tokenizers.text import SentencePieceText

__all__ = ["METRICS", "Trial", "listen"]

#: What is measured of every policy; names of :data:`stepaudio.evaluation.registry.METRICS`.
METRICS = ("words", "speaker", "dnsmos", "distillmos", "prosody")


@dataclass(frozen=True)
class Trial:
    """How a policy is heard.

    Attributes:
        name: of the folder below ``heard``.
        policy: of the training; ``"sft"`` is the model to start from.
        iterations: edits in a row.
        fixed_prompt: the decoder keeps the voice of the recording throughout.
        metrics: what is measured.
        seed: of the draws.
    """

    name: str
    policy: str
    iterations: int = 3
    fixed_prompt: bool = False
    metrics: tuple[str, ...] = METRICS
    seed: int = 0


def listen(
    trial: Trial, rows: Sequence[Row], folders: Folders, text: Path, judges: Mapping[str, str]
) -> None:
    """Make and measure all items of a trial; nothing if its report is there.

    Args:
        trial: what to do.
        rows: to do it with.
        folders: of the experiment.
        text: folder of the text tokenizer.
        judges: by task, as :func:`stepaudio.evaluation.registry.load_judges` takes them.
    """
    store = Store(folders.out / "heard" / trial.name)
    if (store.folder / "report.json").exists():
        return
    lm = Step1LM.from_pretrained(folders.model(trial.policy))
    loaded = EditPipeline.from_pretrained(
        folders.pipeline, device="cpu", lm=lm, text=SentencePieceText.from_pretrained(text)
    )
    # One draw: what the policy does, not what drawing again saves. Nobody else hears this sound,
    # so it is left unmarked, and the instruments hear the model alone.
    system = PipelineSystem(
        EditPipeline(
            loaded.parts,
            defaults=replace(loaded.defaults, draws=1),
            name=trial.policy,
            watermarker=None,
        )
    )
    config = RunConfig(
        f"{trial.policy} ({weights_digest(lm)[:8]})",
        iterations=trial.iterations,
        fixed_prompt=trial.fixed_prompt,
        seed=trial.seed,
        settings={"draws": 1, "watermark": False},
    )
    store.begin(config, rows)
    run_rows(rows, system, store, config)
    found = [store.read(row.id, step) for row in rows for step in steps_of(row, config)]
    items = [item for item in found if item is not None]
    tasks = {row.task for row in rows}
    instruments = _instruments(
        trial.metrics, tuple(sorted((t, j) for t, j in judges.items() if t in tasks))
    )
    scored = measure_items(rows, items, store, instruments)
    report = build_report("edit benchmark", scored, instruments, store.config(), seed=trial.seed)
    lines = item_lines(rows, items, scored)
    write_report(store.folder, report, lines, plots=False, force=True)


@functools.lru_cache(maxsize=4)
def _instruments(metrics: tuple[str, ...], judges: tuple[tuple[str, str], ...]) -> Instruments:
    """Loaded once per process."""
    built, missing = load_metrics(metrics, MetricSettings())
    found, silent = load_judges(dict(judges), JudgeSettings())
    return Instruments(built, found, {**missing, **silent})
