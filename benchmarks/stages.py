"""How near each stage of an edit comes to what the machine can do, and how much memory it needs.

    python benchmarks/stages.py [--models nano release] [--clips 3 10 30] [--batches 1 4 16]
        [--stages NAME ...] [--minutes M] [--repeats N] [--layers N] [-o FILE.json]

Runs on synthetic sound: the embedded model, and random weights of the published shapes. Every row
is the median of the repeats, the first run left out, beside the shortest time this machine allows,
which is measured in the same run: for decoding, the bytes that must be read over the read
bandwidth; for all else, the matrix products over the rate of large products of the type of the
weights (bfloat16 of the published language model, float32 of all else). Rows come in the order of
the speech they cover; with ``--minutes``, those that would take too much of what is left are named
instead. With the machine, the versions, the threads, the seed and how busy the machine was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import bandwidth, describe, forget_peak, load, matrix_rate, memory_megabytes
from models import MODELS, Model, load_model
from stage_work import STAGES, Work, work_of
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

SEED = 0
CLIPS, BATCHES = (3.0, 10.0, 30.0), (1, 4, 16)
TOKENS = 40
HEAD = """\
| model | stage | clip | batch | unit | ours | limit | share of it | real-time factor |
|---|---|---:|---:|---|---:|---:|---:|---:|"""
# What takes long is not repeated as often: it varies less.
_ENOUGH_SECONDS = 20.0
_LARGE = 2**26


def _attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Operations of PyTorch's fused attention on a CPU, which its counter leaves out."""
    return int(sdpa_flop_count(query, key, value))


def count_operations(do: Callable[[], object]) -> int:
    """Floating point operations of all matrix products and convolutions in something."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={fused: _attention}) as counter:
        do()
    return int(counter.get_total_flops())


def measure(work: Work, repeats: int) -> tuple[dict[str, Any], float]:
    """One row, and the seconds that measuring it took.

    Args:
        work: what to do.
        repeats: most runs that count.

    Returns:
        JSON values and seconds.
    """
    begin = time.perf_counter()
    operations = count_operations(work.run)
    forget_peak()
    before = memory_megabytes()
    spent: list[float] = []
    start = time.perf_counter()
    while len(spent) < repeats and (not spent or time.perf_counter() - start < _ENOUGH_SECONDS):
        spent.append(work.run())
    after = memory_megabytes()
    if work.reads is None:
        possible, limit = matrix_rate(work.dtype), "matrix rate"
        least = operations / possible
    else:
        large = torch.ones(_LARGE)
        possible, limit = max(bandwidth(large) for _ in range(5)), "bandwidth"
        least = work.reads / possible
    median = statistics.median(spent)
    row = {
        "seconds": round(median, 6),
        "repeats": len(spent),
        "limit": limit if least else None,
        "limit_per_second": round(possible / 1e9, 2),
        "limit_seconds": round(least, 6) if least else None,
        "share_of_limit": round(least / median, 3) if least else None,
        "realtime_factor": round(median / work.speech, 4) if work.whole else None,
        "extra_memory_mb": after[1] - before[0] if before and after else None,
    }
    return row, time.perf_counter() - begin


def all_rows(
    models: Sequence[Model],
    stages: Sequence[str],
    clips: Sequence[float],
    batches: Sequence[int],
    repeats: int,
    budget: float,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows in the order of the speech they cover, and those there was no time for.

    Args:
        models: to measure.
        stages: of them.
        clips: lengths in seconds.
        batches: clips at once.
        repeats: of each row.
        budget: seconds for all of them.

    Returns:
        Rows that were measured, and names of those that were not.
    """
    begin = time.perf_counter()
    rows: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    costs: dict[tuple[str, str], tuple[float, float]] = {}
    sizes = sorted(itertools.product(clips, batches), key=lambda size: (size[0] * size[1], size))
    for (clip, batch), model, stage in itertools.product(sizes, models, stages):
        name = {"model": model.name, "stage": stage, "seconds_in": clip, "batch": batch}
        speech, cost = costs.get((model.name, stage), (1.0, 0.0))
        rest = begin + budget - time.perf_counter()
        # No row takes so much of what is left that the others could not be measured.
        if rest < 0 or cost * clip * batch / speech > rest / 4:
            left.append(name)
            continue
        row, took = measure(work_of(stage, model, clip, batch, TOKENS), repeats)
        costs[model.name, stage] = (clip * batch, took)
        part = model.part if stage in ("prefill", "decode") else ""
        unit = "s per step" if stage == "decode" else "s"
        rows.append({**name, "part": part, "unit": unit, **row})
        print(line(rows[-1]), flush=True)
    return rows, left


def line(row: dict[str, Any]) -> str:
    """One row as Markdown."""
    stage = f"{row['stage']} ({row['part']})" if row["part"] else row["stage"]
    numbers = (
        "–" if row[name] is None else f"{row[name]:{form}}"
        for name, form in (
            ("seconds", ".4g"),
            ("limit_seconds", ".4g"),
            ("share_of_limit", ".0%"),
            ("realtime_factor", ".3g"),
        )
    )
    cells = (row["model"], stage, f"{row['seconds_in']:g} s", row["batch"], row["unit"], *numbers)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--clips", nargs="+", type=float, default=list(CLIPS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=4, help="of the 32 of the published model")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for all rows")
    args = parser.parse_args()
    busy = load()
    print(HEAD, flush=True)
    with torch.no_grad():
        models = [load_model(name, args.layers, SEED) for name in args.models]
        rows, left = all_rows(
            models, args.stages, args.clips, args.batches, args.repeats, 60 * args.minutes
        )
    report = {
        **describe(SEED),
        "load": busy,
        "rows": rows,
        "left_out": left,
    }
    if left:
        print(f"\nno time for {len(left)} rows; raise --minutes")
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
