"""Write docs/speed.md and its picture from benchmarks/results: ``python docs/speed_page.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speed_obstacles import NEVER_MEASURED, OBSTACLES, ONCE
from speed_plot import Bar, draw_bars

DOCS = Path(__file__).parent
PAGE = DOCS / "speed.md"
PICTURE = DOCS / "_static" / "figures" / "speed.svg"
RESULTS = DOCS.parent / "benchmarks" / "results"
#: Result files; those that are not there have no section.
FILES = ("compare", "quantize", "stages", "precision", "edits")

Reports = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """One measured figure and what it should be.

    Attributes:
        name: in tables.
        value: measured.
        shown: the figure with its unit.
        key: of its obstacle.
        least: it should be at least this.
        most: it should be at most this.
    """

    name: str
    value: float
    shown: str
    key: str
    least: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the goal is."""
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    @property
    def goal(self) -> str:
        """The goal in signs."""
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["", *(f"| {' | '.join(map(str, line))} |" for line in lines), ""]


def machine(report: dict[str, Any]) -> str:
    """What the figures were measured on, and whether anything else ran."""
    where = f" on {report['processor']}" if "processor" in report else ""
    text = (
        f"torch {report['torch']}{where}, {report['threads']} threads on {report['cores']} cores, "
        f"seed {report['seed']}."
    )
    if (report.get("load") or 0) > 0.5:
        text += f" Something else was running (load {report['load']})."
    return text


def goal_of(row: dict[str, Any]) -> Figure | None:
    """The goal of a row of compare.json, if it has one."""
    name, ratio = f"{row['row']} ({row['size']})", row["ratio"]
    shown = f"× {ratio:.3g}"
    if ": decode" in row["row"]:
        return Figure(name, ratio, shown, "hugging_face", least=1.5)
    if row["row"].startswith("full bias per token, 2000"):
        return Figure(name, ratio, shown, "full_bias", least=10)
    if row["row"].startswith("linguistic codes"):
        return Figure(name, ratio, shown, "chunk_loop", least=2)
    return None


def comparisons(report: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """Beside what else could be run."""
    figures, rows = [], []
    for row in report["rows"]:
        goal = goal_of(row)
        if goal is not None:
            figures.append(goal)
        marks = ("", "") if goal is None else (goal.goal, "yes" if goal.reached else "no")
        times = (f"{1000 * row[side]:.3g} ms" for side in ("ours", "theirs"))
        rows.append(
            (row["row"], f"{row['size']}, {row['dtype']}", *times, f"× {row['ratio']:.3g}", *marks)
        )
    lines = ["## Beside what else could be run", "", machine(report)]
    if report.get("transformers"):
        lines[-1] += f" transformers {report['transformers']}."
    lines += table(("", "model", "ours", "theirs", "faster", "goal", "reached"), rows)
    spent = {
        (row["size"], row["row"]): row["ours"]
        for row in report["rows"]
        if row["row"].startswith("full bias")
    }
    for size in dict.fromkeys(row["size"] for row in report["rows"]):
        near, far = (
            spent.get((size, f"full bias per token, {n} ids of context")) for n in (500, 2000)
        )
        if near and far:
            lines.append(
                f"A token of `{size}` after 2000 ids takes {far / near:.2f} times as long as one "
                "after 500."
            )
    return lines, figures


def rounded_weights(report: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """The language model beside the bandwidth."""
    values = report["release_shapes"]
    kinds = values["kinds"]
    figures = [
        Figure(
            "bfloat16, share of the bandwidth",
            kinds["bfloat16"]["share_of_bandwidth"],
            f"{kinds['bfloat16']['share_of_bandwidth']:.0%}",
            "bfloat16",
            least=0.8,
        ),
        *(
            Figure(
                f"{kind}, against bfloat16",
                kinds[kind]["times_bfloat16"],
                f"× {kinds[kind]['times_bfloat16']}",
                kind,
                least=least,
            )
            for kind, least in (("int8", 1.7), ("int4", 2.5))
        ),
    ]
    lines = [
        "## Reading weights",
        "",
        f"{values['layers']} layers of the published shape, one token after {values['context']}; "
        f"reading goes at {values['read_gb_per_second']} GB/s, so a token cannot take less than "
        f"the time to read its weights once. {machine(report)}",
    ]
    bandwidth = values["read_gb_per_second"]
    lines += table(
        ("", "ours, median (fastest)", "limit", "share", "against bfloat16"),
        [
            (
                kind,
                f"{row['ms_per_token']} ms ({row['fastest_ms_per_token']} ms)",
                f"{row['mb_read_per_token'] / bandwidth:.3g} ms",
                f"{row['share_of_bandwidth']:.0%}",
                f"× {row['times_bfloat16']}",
            )
            for kind, row in kinds.items()
        ],
    )
    return lines + goals(figures), figures


def goals(figures: Sequence[Figure]) -> list[str]:
    """Goals and whether they are reached."""
    return table(
        ("goal", "measured", "wanted", "reached"),
        [(f.name, f.shown, f.goal, "yes" if f.reached else "no") for f in figures],
    )


def stages(report: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """Every stage beside its limit."""
    lines = [
        "## Stages beside their limits",
        "",
        "The limit of decoding is reading all weights, keys and values once per step; that of all "
        "else its matrix products at the rate of large ones of the type of its weights (bfloat16 "
        "of the published language model, float32 otherwise). Both were measured in the same run. "
        f"The published shapes have random weights. {machine(report)}",
    ]
    rows = []
    for row in report["rows"]:
        per = " per step" if row["unit"] == "s per step" else ""
        cells = (
            f"{1000 * row['seconds']:.3g} ms{per}",
            "–" if row["limit_seconds"] is None else f"{1000 * row['limit_seconds']:.3g} ms",
            "–" if row["share_of_limit"] is None else f"{row['share_of_limit']:.0%}",
            "–" if row["realtime_factor"] is None else f"{row['realtime_factor']:.3g}",
            "–" if row["extra_memory_mb"] is None else f"{row['extra_memory_mb']} MB",
        )
        stage = f"{row['stage']} ({row['part']})" if row["part"] else row["stage"]
        size = f"{row['batch']} × {row['seconds_in']:g} s"
        rows.append((row["model"], stage, size, *cells))
    head = ("", "stage", "clips", "ours", "limit", "share", "real-time factor", "memory on top")
    lines += table(head, rows)
    if report["left_out"]:
        lines += [f"There was no time for {len(report['left_out'])} larger rows.", ""]
    linguistic = [row for row in report["rows"] if row["stage"] == "linguistic"]
    figures = [
        Figure(
            f"linguistic encoder of {name}, share of its matrix products",
            best := max(r["share_of_limit"] for r in linguistic if r["model"] == name),
            f"{best:.0%}",
            "linguistic",
            least=0.8,
        )
        for name in dict.fromkeys(row["model"] for row in linguistic)
    ]
    return lines + (goals(figures) if figures else []), figures


def precision(report: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """Flow and vocoders in bfloat16."""
    units = ", ".join(report["bfloat16_units"]) or "none that PyTorch tells of"
    lines = [
        "## Flow and vocoder in bfloat16",
        "",
        f"Clips of {report['seconds_in']:g} s, both types in turns, and how far the result is from "
        "that of float32. `release` has random weights. The flow is asked for by "
        '`EditPipeline.from_pretrained(flow_dtype="bfloat16")` or `--flow-dtype bfloat16`; '
        "vocoders always run in float32, and are cast here to see what that would bring. "
        f"{machine(report)} Units of this CPU for products in bfloat16: {units}.",
    ]
    lines += table(
        ("model", "stage", "float32", "bfloat16", "faster", "mel", "waveform"),
        [
            (
                row["model"],
                row["stage"],
                *(f"{1000 * row[kind]:.3g} ms" for kind in ("float32", "bfloat16")),
                f"× {row['ratio']:.3g}",
                f"{row['mel_db']:g} dB",
                f"{row['wave_db']:g} dB",
            )
            for row in report["rows"]
        ],
    )
    if "words" in report:
        heard = report["words"]
        one, other = (heard[kind]["errors"] for kind in ("float32", "bfloat16"))
        lines.append(
            f"Of the {heard['float32']['words']} words of {heard['clips']} recordings that the "
            f"embedded model turned into codes and back, {heard['recognizer']} misses {one} with "
            f"the flow in float32 and {other} in bfloat16; {heard['same_transcript']} transcripts "
            "are the same."
        )
    figures = [
        Figure(
            "flow of release in bfloat16, against float32",
            row["ratio"],
            f"× {row['ratio']:.3g}",
            "flow_bfloat16",
            least=3,
        )
        for row in report["rows"]
        if (row["model"], row["stage"]) == ("release", "flow")
    ]
    return lines + (goals(figures) if figures else []), figures


def edits(report: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """What a user of the embedded model waits for."""
    start, batch, stream = report["cold_start"], report["batch"], report["stream"]
    figures = [
        Figure(
            f"edit of {run['seconds_in']:g} s drawn {run['draws']} times, real-time factor",
            run["realtime_factor"],
            f"{run['realtime_factor']:g}",
            "realtime",
            most=0.3,
        )
        for run in report["edits"]
    ]
    figures.append(
        Figure(
            "start, until a pipeline is ready",
            start["ready_after"],
            f"{start['ready_after']:g} s",
            "cold_start",
            most=4,
        )
    )
    if start["peak_memory_mb"] is not None:
        memory = start["peak_memory_mb"]
        figures.append(
            Figure("peak memory of an edit, MB", memory, f"{memory} MB", "memory", most=1000)
        )
    figures += [
        Figure(
            f"batch of {batch['batch']} over its members alone",
            batch["ratio"],
            f"{batch['ratio']:g}",
            "batch",
            most=0.5,
        ),
        Figure(
            "first sound of a stream",
            stream["first_after"],
            f"{stream['first_after']:g} s",
            "first_chunk",
            most=0.5,
        ),
    ]
    lines = [
        "## Edits with the embedded model",
        "",
        f"{machine(report)} The first chunk of a stream lasts {stream['first_lasts']:g} s; the "
        f"second comes {stream['second_after'] - stream['first_after']:.2g} s after it.",
    ]
    return lines + goals(figures), figures


SECTIONS = {
    "compare": comparisons,
    "quantize": rounded_weights,
    "stages": stages,
    "precision": precision,
    "edits": edits,
}


def picture(reports: Reports) -> str:
    """Ratios of one run as bars."""
    bars = [
        Bar(f"{row['size']}: {row['row']}", row["ratio"], None if goal is None else goal.least)
        for row in reports.get("compare", {"rows": []})["rows"]
        for goal in [goal_of(row)]
    ]
    if "quantize" in reports:
        kinds = reports["quantize"]["release_shapes"]["kinds"]
        bars += [
            Bar(f"release: {kind} against bfloat16", kinds[kind]["times_bfloat16"], least)
            for kind, least in (("int8", 1.7), ("int4", 2.5))
        ]
    return draw_bars("times as fast as what stands beside it; the mark is the goal", bars)


def obstacles(figures: Sequence[Figure]) -> Iterator[str]:
    """Why goals are missed."""
    missed = {figure.key for figure in figures if not figure.reached}
    for key, (name, text) in OBSTACLES.items():
        if key in missed:
            yield f"**{name}.** {text}\n"


def page(reports: Reports) -> str:
    """The whole page.

    Args:
        reports: contents of result files, by :data:`FILES`.
    """
    reached: list[Figure] = []
    body: list[str] = []
    for name, report in reports.items():
        lines, figures = SECTIONS[name](report)
        body += [*lines, ""]
        reached += figures
    count = sum(figure.reached for figure in reached)
    head = [
        "# Speed",
        "",
        "Made by `python docs/speed_page.py` from the files of `benchmarks/results`; the commands "
        "that measured them are in `CONTRIBUTING.md`, and `make bench` measures on your machine. "
        "Nothing here is a promise for another one; both sides of a ratio were measured in turns, "
        "in one run.",
        "",
        f"Of {len(reached)} goals with a figure, {count} are reached.",
        "",
        "![Ratios as bars, goals marked](_static/figures/speed.svg)",
        "",
    ]
    tail = ["## What stands in the way", "", *obstacles(reached)]
    tail += ["## What has no figure here", "", *(f"- {text}" for text in NEVER_MEASURED), ""]
    tail += ["## What is done once", "", *(f"- {text}" for text in ONCE)]
    text = "\n".join([*head, *body, *tail]).rstrip() + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def read() -> Reports:
    """The result files that are there."""
    paths = {name: RESULTS / f"{name}.json" for name in FILES}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


if __name__ == "__main__":
    found = read()
    PAGE.write_text(page(found), encoding="utf-8")
    PICTURE.write_text(picture(found), encoding="utf-8")
