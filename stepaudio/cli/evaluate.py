"""``stepaudio eval``: the edit benchmark, and metrics of any recordings."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.instruments import (
    MEASURE,
    JudgeKey,
    JudgePrice,
    Judges,
    JudgeUrl,
    MaxCost,
    Metrics,
    Whisper,
    load_instruments,
    pair,
    split,
    warn_missing,
)
from stepaudio.cli.options import (
    AsJson,
    Device,
    Dtype,
    Floating,
    Force,
    Guidance,
    Model,
    Steps,
    Temperature,
    check_device,
)
from stepaudio.cli.screen import Screen, tell

if TYPE_CHECKING:
    from stepaudio.evaluation.benchmark_data import Row
    from stepaudio.evaluation.edit_benchmark import Item, RunConfig

__all__ = ["benchmark", "files"]

_WHICH = "Which rows"
_HOW = "How they are edited"

Folder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="Folder of the results.", show_default=False
    ),
]
Listed = Annotated[
    str | None, typer.Option(metavar="A,B,…", help="Only these.", rich_help_panel=_WHICH)
]

Limit = Annotated[
    int | None, typer.Option(min=1, help="Most rows of each label.", rich_help_panel=_WHICH)
]


def benchmark(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|MANIFEST",
            help="Folder of a benchmark, or a manifest of recordings to start from.",
            show_default=False,
        ),
    ],
    output: Folder,
    tasks: Listed = None,
    labels: Listed = None,
    langs: Listed = None,
    speakers: Listed = None,
    limit: Limit = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only make this part; measure nothing.", rich_help_panel=_WHICH
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK:LABEL",
            help="For a manifest: what to do to each recording; repeatable.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    iterations: Annotated[
        int,
        typer.Option(
            min=1, help="Of emotion and style; other tasks take one.", rich_help_panel=_HOW
        ),
    ] = 3,
    fixed_prompt: Annotated[
        bool,
        typer.Option(
            "--fixed-prompt", help="Keep the voice of iteration 0 throughout.", rich_help_panel=_HOW
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with a model.", rich_help_panel=_HOW)
    ] = 1,
    seed: Annotated[
        int, typer.Option(help="Of rows, speech and resampling.", rich_help_panel=_HOW)
    ] = 0,
    metrics: Metrics = None,
    whisper: Whisper = None,
    judge: Judges = None,
    judge_url: JudgeUrl = None,
    judge_key: JudgeKey = None,
    judge_price: JudgePrice = "0,0",
    max_cost: MaxCost = None,
    word_margin: Annotated[
        float,
        typer.Option(
            min=0.0, help="Joint success: error rate above the baseline.", rich_help_panel=MEASURE
        ),
    ] = 0.10,
    similarity_margin: Annotated[
        float,
        typer.Option(
            min=0.0, help="Joint success: similarity below the baseline.", rich_help_panel=MEASURE
        ),
    ] = 0.10,
    steps: Steps = None,
    guidance: Guidance = None,
    temperature: Temperature = None,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = Floating.auto,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Run an edit benchmark, measure it and write a report.

    An interrupted run goes on where it stopped when called again with the same options.
    """
    from stepaudio.evaluation.edit_benchmark import RunConfig, Store, steps_of
    from stepaudio.evaluation.measuring import measure_items
    from stepaudio.evaluation.report import build_report, check_free, item_lines, write_report
    from stepaudio.evaluation.scoring import JointRule
    from stepaudio.evaluation.systems import load_system, model_name
    from stepaudio.plotting import require_matplotlib

    part = _part(shard)
    rows, chosen = _rows(source, tasks, labels, langs, speakers, limit, edit, seed)
    rule = JointRule(word_margin, similarity_margin)
    if shard is None:
        check_free(output, force=force)
        require_matplotlib()
    check_device(device)
    config = RunConfig(
        model_name(model),
        iterations=iterations,
        fixed_prompt=fixed_prompt,
        seed=seed,
        baseline="iter0" if rows[0].recording is None else "resynth",
        settings={
            "steps": steps,
            "guidance": guidance,
            "temperature": temperature,
            "device": device,
            "dtype": dtype.value,
        },
        source=chosen,
    )
    load = functools.partial(
        load_system,
        model,
        device=device,
        dtype=dtype.value,
        temperature=temperature,
        steps=steps,
        guidance=guidance,
    )
    with Screen() as screen:
        instruments = None
        if shard is None:
            screen.wait("loading metrics and judges")
            instruments = load_instruments(
                rows, metrics, whisper, model, judge, judge_url, judge_key, judge_price, max_cost
            )
        _make(rows, load, output, config, part, workers, screen)
        store = Store(output)
        items = [store.read(row.id, step) for row in rows for step in steps_of(row, config)]
        there = [item for item in items if item is not None]
        values: dict[str, Any] = {
            "command": "eval benchmark",
            "output": str(output),
            "rows": len(rows),
            "items": len(items),
            "finished": len(there),
            "failed": sum(item.wav is None for item in there),
            "written": [],
        }
        if instruments is not None:
            scored = measure_items(rows, there, store, instruments, progress=screen.count)
            screen.wait("writing the report")
            report = build_report(
                "edit benchmark",
                scored,
                instruments,
                store.config(),
                rule=rule,
                baseline=config.baseline,
                seed=seed,
            )
            lines = item_lines(rows, there, scored, rule=rule, baseline=config.baseline)
            written = write_report(output, report, lines, force=force)
            values["written"] = [str(path) for path in written]
            values["missing"] = report["missing"]
            values["tasks"] = report["tasks"]
    warn_missing(values.get("missing", {}))
    line = f"{values['finished']} of {values['items']} items in {output}, {values['failed']} failed"
    tell(values, line, as_json)


def files(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST|FOLDER",
            help="Recordings: a manifest, or a folder of sound files.",
            show_default=False,
        ),
    ],
    output: Folder,
    langs: Listed = None,
    speakers: Listed = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of rows and resampling.", rich_help_panel=_WHICH)] = 0,
    metrics: Metrics = None,
    whisper: Whisper = None,
    judge: Judges = None,
    judge_url: JudgeUrl = None,
    judge_key: JudgeKey = None,
    judge_price: JudgePrice = "0,0",
    max_cost: MaxCost = None,
    model: Model = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Measure recordings and write a report."""
    from stepaudio.evaluation.boundary import Boundary
    from stepaudio.evaluation.measuring import Instrument, measure_items
    from stepaudio.evaluation.recordings import FileStore, read_recordings
    from stepaudio.evaluation.report import build_report, check_free, item_lines, write_report
    from stepaudio.evaluation.selection import Selection, select

    check_free(output, force=force)
    store = FileStore(output, read_recordings(source))
    wanted = Selection((), split(langs), split(speakers), limit, seed)
    rows = select(store.rows, wanted)
    with Screen() as screen:
        screen.wait("loading metrics and judges")
        instruments = load_instruments(
            rows, metrics, whisper, model, judge, judge_url, judge_key, judge_price, max_cost
        )
        if store.joins and metrics is None:
            joins = Instrument(Boundary(store.joins), together=True)
            instruments = replace(instruments, metrics=[*instruments.metrics, joins])
        items = [store.item(row) for row in rows]
        scored = measure_items(rows, items, store, instruments, progress=screen.count)
        config = {"source": str(source), "rows": len(rows), "seed": seed, "limit": limit}
        report = build_report("recordings", scored, instruments, config, seed=seed)
        lines = item_lines(rows, items, scored)
        written = write_report(output, report, lines, plots=False, force=force)
    warn_missing(report["missing"])
    values = {
        "command": "eval files",
        "output": str(output),
        "rows": len(rows),
        "written": [str(path) for path in written],
        "missing": report["missing"],
        "tasks": report["tasks"],
    }
    tell(values, f"{len(rows)} recordings measured, report in {output}", as_json)


def _rows(
    source: Path,
    tasks: str | None,
    labels: str | None,
    langs: str | None,
    speakers: str | None,
    limit: int | None,
    edits: list[str] | None,
    seed: int,
) -> tuple[list[Row], dict[str, Any]]:
    """The rows asked for, and how they were asked for."""
    from stepaudio.evaluation.benchmark_data import read_benchmark
    from stepaudio.evaluation.recordings import read_recordings, rows_of_recordings
    from stepaudio.evaluation.selection import Selection, select

    if source.is_dir():
        if edits:
            raise typer.BadParameter("a benchmark says what to do itself.", param_hint="'--edit'")
        rows = read_benchmark(source)
    else:
        # Some tasks, such as denoise, have no labels.
        asked = [(one.partition(":")[0], one.partition(":")[2]) for one in edits or []]
        found = read_recordings(source)
        # Rows that are not wanted need not be fit to be edited.
        langs_wanted, speakers_wanted = split(langs), split(speakers)
        found = [
            one
            for one in found
            if (not langs_wanted or one.lang in langs_wanted)
            and (not speakers_wanted or one.speaker in speakers_wanted)
        ]
        rows = rows_of_recordings(found, asked)
    wanted = Selection(split(tasks), split(langs), split(speakers), limit, seed, split(labels))
    chosen = {
        "name": source.name,
        "tasks": list(wanted.tasks),
        "labels": list(wanted.labels),
        "langs": list(wanted.langs),
        "speakers": list(wanted.speakers),
        "limit": limit,
        "edits": list(edits or []),
    }
    return select(rows, wanted), chosen


def _make(
    rows: list[Row],
    load: Any,
    output: Path,
    config: RunConfig,
    part: tuple[int, int],
    workers: int,
    screen: Screen,
) -> None:
    """Every item of the part, with a bar that counts them."""
    from stepaudio.evaluation.edit_benchmark import steps_of
    from stepaudio.evaluation.selection import shard
    from stepaudio.evaluation.workers import run_benchmark

    total = sum(len(steps_of(row, config)) for row in shard(rows, *part))
    finished = 0

    def done(_: Item) -> None:
        nonlocal finished
        finished += 1
        screen.count("recordings", finished, total)

    screen.wait("loading the model")
    run_benchmark(rows, load, str(output), config, part=part, workers=workers, done=done)


def _part(value: str | None) -> tuple[int, int]:
    if value is None:
        return 1, 1
    try:
        number, count = (int(part) for part in pair(value, "/", "--shard"))
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not like 1/4.", param_hint="'--shard'") from None
    if not 1 <= number <= count:
        raise typer.BadParameter(f"there is no part {value}.", param_hint="'--shard'")
    return number, count
