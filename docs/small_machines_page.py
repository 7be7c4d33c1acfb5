"""Write the tables of docs/small-machines.md: ``python docs/small_machines_page.py``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE = DOCS / "small-machines.md"
RESULTS = DOCS.parent / "benchmarks" / "results" / "quantize.json"

MACHINES = (8, 12, 16, 24)
#: Gigabytes left to the system, the program and intermediate results.
LEFT = 2.0


def fitting(row: dict[str, float], machine: int) -> str:
    """How a kind runs with so many gigabytes."""
    if row["everything"] <= machine - LEFT:
        return "as it is"
    return "`--offload`" if row["stage_by_stage"] <= machine - LEFT else "–"


def memory(report: dict[str, Any]) -> str:
    """What the published model needs, and on which machines it fits."""
    values = report["memory_of_published_model"]
    parts = ", ".join(f"{name} {size} GB" for name, size in values["parts_gb"].items())
    lines = [
        "For the published model, computed from its shapes, not measured: weights, and the keys",
        f"and values of a full context (8192 ids). {LEFT:g} GB are left to the system, the program",
        f"and intermediate results. Besides the language model: {parts}.",
        "With int8 and int4, `dtype` is bfloat16, which halves the embedding, the keys and values.",
        "",
        "| language model | its weights | everything | largest stage | "
        + " | ".join(f"{size} GB" for size in MACHINES)
        + " |",
        "|---|---|---|---|" + "---|" * len(MACHINES),
    ]
    for kind, row in values["kinds_gb"].items():
        sizes = [f"{row[key]} GB" for key in ("language_model", "everything", "stage_by_stage")]
        cells = [kind, *sizes, *(fitting(row, machine) for machine in MACHINES)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures(report: dict[str, Any]) -> str:
    """Time per token and loss of likelihood."""
    lines = [
        f"torch {report['torch']} on {report['processor']}, {report['threads']} of "
        f"{report['cores']} cores, load {report['load']} when it began; seed {report['seed']}.",
    ]
    if report["load"] > 0.5:
        lines.append("Something else was running: compare the rows with each other only.")
    layer = report["one_layer"]
    lines += [
        "",
        f"One layer of {layer['inputs']} inputs and {layer['outputs']} outputs, for one input, its "
        "weights not in a cache, fastest of several times:",
        "",
        "| | ms |",
        "|---|---|",
        *(f"| {name} | {'–' if ms is None else ms} |" for name, ms in layer["ms"].items()),
    ]
    for name, title in (
        ("release_shapes", "Layers of the published shape, random weights"),
        ("nano", "The embedded model"),
    ):
        values = report[name]
        lines += [
            "",
            f"{title} ({values['layers']} layers, vocabulary {values['vocabulary']}, context "
            f"{values['context']}); reading goes at {values['read_gb_per_second']} GB/s:",
            "",
            "| | ms per token | against bfloat16 | MB read per token | share of bandwidth | "
            "ms for the prompt |",
            "|---|---|---|---|---|---|",
        ]
        for kind, row in values["kinds"].items():
            lines.append(
                f"| {kind} | {row['ms_per_token']} | × {row['times_bfloat16']} | "
                f"{row['mb_read_per_token']} | {row['share_of_bandwidth']:.0%} | "
                f"{row['ms_of_prefill']} |"
            )
        if not values["bfloat16_is_of_use"]:
            lines += ["", "bfloat16 is slower than float32 on this machine."]
    quality = report["quality_of_nano"]
    lines += [
        "",
        f"What rounding costs the embedded model, on {quality['tokens']} tokens it wrote in "
        f"float32 ({quality['nats_per_token']} nats per token):",
        "",
        "| | more nats per token | same most likely token |",
        "|---|---|---|",
    ]
    for kind, row in quality["kinds"].items():
        lines.append(f"| {kind} | {row['more_nats_per_token']} | {row['same_best_token']:.1%} |")
    lines += ["", "Larger models lose less by rounding; for the published one it is not measured."]
    return "\n".join(lines)


def page(text: str, report: dict[str, Any]) -> str:
    """The page with both tables as the report says."""
    for name, made in (("memory", memory(report)), ("figures", figures(report))):
        pattern = rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, rf"\1\n{made}\n\n\2", text, flags=re.S)
    return text


if __name__ == "__main__":
    report = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
