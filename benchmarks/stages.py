"""How long each stage of an edit takes with the embedded model, and how much memory it needs.

    python benchmarks/stages.py [-o FILE.json] [--repeats N]

Runs on synthetic sound, so it needs no recording; prints and writes, for clips of 3, 10 and 20 s
and batches of 1 and 4: seconds per stage (median of the repeats, the first run left out), the
real-time factor, the peak memory while the stage ran, and the seconds until a stream gives its
first chunk.
With the machine, the versions, the threads and the seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe

from stepaudio import Audio, Edit, EditPipeline

SEED = 0
EDIT = Edit.speed("slower")
# A quarter more than the input bounds how much an arbitrary sound makes the model say.
HOW: dict[str, Any] = {"text": "one two", "seed": SEED, "max_length_ratio": 1.25}
CLIPS = ((3.0, 1), (3.0, 4), (10.0, 1), (10.0, 4), (20.0, 1))


def voice_like(seconds: float) -> Audio:
    """A buzz with a moving pitch and syllables, so that no stage is handed silence."""
    time = torch.arange(int(seconds * 24000)) / 24000
    phase = 2 * torch.pi * torch.cumsum(120 + 20 * torch.sin(2 * torch.pi * 0.7 * time), 0) / 24000
    buzz = sum(torch.sin(k * phase) / k for k in range(1, 20))
    return Audio(0.2 * buzz * (0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * time)), 24000)


class PeakMemory:
    """Peak resident memory of each stage, where the system tells it (Linux)."""

    def __init__(self) -> None:
        self.megabytes: dict[str, int] = {}
        self._known = Path("/proc/self/clear_refs").exists()
        self._forget()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called at the beginning of a stage, within it and at its end."""
        if not self._known:
            return
        if not done:
            self._forget()
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        self.megabytes[stage] = max(self.megabytes.get(stage, 0), peak // 1024)

    def _forget(self) -> None:
        if self._known:
            # 5 sets the peak back to what is in use now; see proc(5).
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(pipeline: EditPipeline, seconds: float, batch: int, repeats: int) -> dict[str, Any]:
    """One length of clip at one size of batch."""
    clips = [voice_like(seconds)] * batch
    memory = PeakMemory()
    runs = [pipeline.edit(clips, EDIT, progress=memory, **HOW) for _ in range(repeats + 1)][1:]
    stages = {
        stage: round(batch * statistics.median(run[0].timings[stage] for run in runs), 4)
        for stage in runs[0][0].timings
    }
    out = sum(result.audio.seconds for result in runs[0])
    return {
        "seconds_in": seconds,
        "batch": batch,
        "seconds_out": round(out, 3),
        "stages": stages,
        "realtime_factor": round(sum(stages.values()) / out, 3),
        "peak_memory_mb": memory.megabytes,
    }


def first_chunk(pipeline: EditPipeline, seconds: float, repeats: int) -> float:
    """Median seconds until a stream gives its first chunk."""
    clip, waited = voice_like(seconds), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with pipeline.stream(clip, EDIT, **HOW) as stream:
            next(stream)
        waited.append(time.perf_counter() - start)
    return round(statistics.median(waited[1:]), 4)


def main() -> None:
    """Measure all clips and batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    pipeline = EditPipeline.from_pretrained(device="cpu")
    report = {
        **describe(SEED),
        "clips": [measure(pipeline, seconds, batch, args.repeats) for seconds, batch in CLIPS],
        "seconds_to_first_chunk": {
            str(seconds): first_chunk(pipeline, seconds, args.repeats) for seconds in (3.0, 10.0)
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
