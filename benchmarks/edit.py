"""How long each stage of an edit takes with the embedded model.

    python benchmarks/edit.py [-o FILE.json] [--repeats N]

Runs on synthetic sound, so it needs no recording; prints and writes seconds per stage, the
realtime factor and the peak memory, with the machine, the versions and the seed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
from typing import Any

import torch

import stepaudio
from stepaudio import Audio, Edit, EditPipeline

SEED = 0


def voice_like(seconds: float) -> Audio:
    """A buzz with a moving pitch and syllables, so that no stage is handed silence."""
    time = torch.arange(int(seconds * 24000)) / 24000
    phase = 2 * torch.pi * torch.cumsum(120 + 20 * torch.sin(2 * torch.pi * 0.7 * time), 0) / 24000
    buzz = sum(torch.sin(k * phase) / k for k in range(1, 20))
    return Audio(0.2 * buzz * (0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * time)), 24000)


def measure(pipeline: EditPipeline, seconds: float, repeats: int) -> dict[str, Any]:
    """Median seconds per stage for a clip of this length, the first run left out."""
    audio = voice_like(seconds)
    runs = []
    for _ in range(repeats + 1):
        # A quarter more than the input bounds how much an arbitrary sound makes the model say.
        runs.append(
            pipeline.edit(
                audio, Edit.speed("slower"), text="one two", seed=SEED, max_length_ratio=1.25
            )
        )
    runs = runs[1:]
    stages = {
        stage: round(statistics.median(r.timings[stage] for r in runs), 4)
        for stage in runs[0].timings
    }
    out = runs[0].audio.seconds
    total = sum(stages.values())
    return {
        "seconds_in": seconds,
        "seconds_out": round(out, 3),
        "stages": stages,
        "realtime_factor": round(total / out, 3),
    }


def main() -> None:
    """Measure clips of 3 and 10 seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    pipeline = EditPipeline.from_pretrained(device="cpu")
    report = {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "stepaudio": stepaudio.__version__,
        "seed": SEED,
        "clips": [measure(pipeline, seconds, args.repeats) for seconds in (3.0, 10.0)],
    }
    # Kilobytes on Linux.
    report["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
