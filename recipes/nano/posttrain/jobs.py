"""Several jobs at once, one process and one thread each, and how long each one took."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

__all__ = ["read_times", "run_jobs"]

Job = Callable[[], object]


def run_jobs(jobs: Mapping[str, Job], workers: int, times: Path) -> None:
    """Run all; a job that has nothing left to do is expected to see that itself.

    Args:
        jobs: by name; with several workers they must be picklable, such as
            :func:`functools.partial` of a function of a module.
        workers: processes; 1 runs everything here.
        times: file that gets a line for every job that ends.
    """
    if workers == 1:
        for name, job in jobs.items():
            _note(times, name, _timed(job))
        return
    # A forked process inherits the threads' locks of torch, but not the threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
        running = {pool.submit(_timed, job): name for name, job in jobs.items()}
        try:
            for ended in as_completed(running):
                _note(times, running[ended], ended.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_times(times: Path) -> dict[str, float]:
    """Seconds of every job, of all its starts together."""
    found: dict[str, float] = {}
    if times.exists():
        text = times.read_text(encoding="utf-8")
        # A run that was killed may have left half a line.
        for line in text[: text.rfind("\n") + 1].splitlines():
            row = json.loads(line)
            found[row["job"]] = round(found.get(row["job"], 0.0) + row["seconds"], 2)
    return found


def _timed(job: Job) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def _note(times: Path, name: str, seconds: float) -> None:
    row = {"job": name, "seconds": round(seconds, 2)}
    with times.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def _one_thread() -> None:
    torch.set_num_threads(1)
