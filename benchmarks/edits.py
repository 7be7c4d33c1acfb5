"""What a user of the embedded model waits for: a start, an edit, a batch, the first sound.

    python benchmarks/edits.py [--clip SECONDS] [--batch N] [--repeats N] [-o FILE.json]

Runs on synthetic sound, so it needs no recording. Writes: the seconds from the call of Python to a
pipeline that is ready, and the peak memory of a process that then makes one edit; the real-time
factor of an edit, drawn once and as the model's defaults say; the time of a batch over that of its
members alone; and when the first chunk of a stream comes and how long it is. With the machine, the
versions, the threads, the seed and how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import describe, load, memory_megabytes, seconds
from stage_work import voice_like, writing

from stepaudio import Edit, EditPipeline
from stepaudio.evaluation.systems import model_name

SEED = 0
EDIT = Edit.emotion("sad")
# A quarter more than the input bounds how much an arbitrary sound makes the model say.
HOW: dict[str, Any] = {"text": "one two", "max_length_ratio": 1.25}


def once(pipeline: EditPipeline) -> EditPipeline:
    """The same parts, every edit drawn once."""
    return EditPipeline(pipeline.parts, defaults=replace(pipeline.defaults, draws=1))


def whole_edit(pipeline: EditPipeline, clip: float, repeats: int) -> dict[str, Any]:
    """Median seconds of each stage of an edit, per second of sound that came out."""
    sound = voice_like(clip)
    runs = [pipeline.edit(sound, EDIT, seed=SEED, **HOW) for _ in range(repeats + 1)][1:]
    stages = {
        stage: round(statistics.median(run.timings[stage] for run in runs), 4)
        for stage in runs[0].timings
    }
    out = runs[0].audio.seconds
    return {
        "draws": pipeline.defaults.draws,
        "seconds_in": clip,
        "seconds_out": round(out, 3),
        "stages": stages,
        "realtime_factor": round(sum(stages.values()) / out, 3),
    }


def batch_against_singles(
    pipeline: EditPipeline, clip: float, batch: int, repeats: int
) -> dict[str, Any]:
    """A batch and its members one after the other, in turns."""
    sounds, seeds = [voice_like(clip)] * batch, list(range(batch))
    together, alone = [], []
    for _ in range(repeats + 1):
        together.append(seconds(lambda: pipeline.edit(sounds, EDIT, seed=seeds, **HOW)))
        alone.append(
            seconds(lambda: [pipeline.edit(sounds[0], EDIT, seed=s, **HOW) for s in seeds])
        )
    batched, singles = (statistics.median(times[1:]) for times in (together, alone))
    return {
        "batch": batch,
        "seconds_in": clip,
        "batch_seconds": round(batched, 3),
        "singles_seconds": round(singles, 3),
        "ratio": round(batched / singles, 3),
    }


def first_chunk(pipeline: EditPipeline, clip: float, repeats: int) -> dict[str, Any]:
    """When the first and the second chunk of a stream come, and how long the first is."""
    sound, first, second, heard = voice_like(clip), [], [], 0.0
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with pipeline.stream(sound, EDIT, seed=SEED, **HOW) as stream:
            heard = next(stream).seconds
            first.append(time.perf_counter() - start)
            next(stream)
            second.append(time.perf_counter() - start)
    return {
        "seconds_in": clip,
        "first_after": round(statistics.median(first[1:]), 3),
        "first_lasts": round(heard, 3),
        "second_after": round(statistics.median(second[1:]), 3),
    }


def cold_start(clip: float, repeats: int) -> dict[str, Any]:
    """A new process: until its pipeline is ready, and its peak memory after one edit."""
    found = []
    for _ in range(repeats + 1):
        begin = time.time()
        told = subprocess.run(
            [sys.executable, __file__, "--child", "--clip", str(clip)],
            check=True,
            capture_output=True,
            text=True,
        )
        child = json.loads(told.stdout.splitlines()[-1])
        found.append((child["ready"] - begin, child["peak_memory_mb"]))
    # The first one brings the files into the memory of the system.
    return {
        "first_ready_after": round(found[0][0], 3),
        "ready_after": round(statistics.median(ready for ready, _ in found[1:]), 3),
        "peak_memory_mb": found[-1][1],
    }


def child(clip: float) -> None:
    """What :func:`cold_start` runs in a process of its own."""
    pipeline = writing(EditPipeline.from_pretrained(device="cpu"))
    ready = time.time()
    pipeline.edit(voice_like(clip), EDIT, seed=SEED, **HOW)
    memory = memory_megabytes()
    print(json.dumps({"ready": ready, "peak_memory_mb": None if memory is None else memory[1]}))


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--clip", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.clip)
        return
    busy = load()
    pipeline = writing(EditPipeline.from_pretrained(device="cpu"))
    single = once(pipeline)
    report = {
        **describe(SEED),
        "model": model_name(None),
        "load": busy,
        "cold_start": cold_start(args.clip, args.repeats),
        "edits": [whole_edit(one, args.clip, args.repeats) for one in (single, pipeline)],
        "batch": batch_against_singles(single, min(3.0, args.clip), args.batch, args.repeats),
        "stream": first_chunk(pipeline, args.clip, args.repeats),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
