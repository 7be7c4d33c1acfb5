"""From a corpus to the data of all trainings, in one command that goes on where it was stopped.

    python -m recipes.nano.data CORPUS_MANIFEST -o runs/nano/data --hours 60 --workers 2

It leaves a folder per stage, ``manifest.jsonl`` of everything, ``LICENCES.md``, ``summary.json``,
``summary.md`` and ``features``, which the trainings read.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import soundfile
from rich.console import Console

from recipes.nano.data.build import Builder
from recipes.nano.data.corpus import read_manifest
from recipes.nano.data.plan import planned
from recipes.nano.data.stages import run_stages

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Make the data."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="manifest of the recordings")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=60.0, help="wanted in all")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--until", help="last stage to make (default: all)")
    parser.add_argument(
        "--minutes", type=float, default=2.5, help="of each of the aligner's three trainings"
    )
    parser.add_argument(
        "--heard", type=int, default=200, help="rows whose words are checked by ASR; 0: none"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    spoken = [row for row in read_manifest(args.corpus) if row.text]
    seconds = sum(soundfile.info(row.path).duration for row in spoken)
    plan = planned(args.hours, seconds / 3600)
    builder = Builder(
        args.corpus, args.out, plan, args.workers, args.minutes, args.heard, args.seed
    )
    stages = builder.stages()
    if args.until is not None:
        if args.until not in stages:
            parser.error(f"--until must be one of {', '.join(stages)}")
        names = list(stages)
        stages = {name: stages[name] for name in names[: names.index(args.until) + 1]}
    settings = {
        "corpus": hashlib.sha256(args.corpus.read_bytes()).hexdigest(),
        "hours": args.hours,
        "minutes": args.minutes,
        "seed": args.seed,
    }
    run_stages(stages, args.out, settings, Console().print)


if __name__ == "__main__":
    main()
