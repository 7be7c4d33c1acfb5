"""The same run in several processes, each with a model of its own.

A small model on a CPU spends its time between the operations of torch, where threads wait for each
other; processes do not. Rows are handed out one by one, so that nobody idles at the end.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch

from stepaudio.errors import CancelledError, EvaluationError, StepAudioError
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.edit_benchmark import (
    Done,
    RunConfig,
    Store,
    System,
    run_row,
    run_rows,
    steps_of,
)
from stepaudio.evaluation.selection import shard
from stepaudio.result import Cancel

__all__ = ["run_benchmark"]

_POLL_SECONDS = 0.2
# A process in the middle of a stage may take this long to notice that it should stop.
_GRACE_SECONDS = 30.0


def run_benchmark(
    rows: Sequence[Row],
    load: Callable[[], System],
    folder: str,
    config: RunConfig,
    *,
    part: tuple[int, int] = (1, 1),
    workers: int = 1,
    cancel: Cancel | None = None,
    done: Done | None = None,
) -> None:
    """Make every item of a benchmark that is not there yet.

    Args:
        rows: all rows of the run, the same for every part.
        load: makes the system; called once per process, and only if something is left to do. With
            several workers it must be picklable, such as a :func:`functools.partial`.
        folder: of the results; claimed for this configuration.
        config: of the run.
        part: which part of how many this machine works on.
        workers: processes.
        cancel: asked all the time; True stops, and what is finished stays.
        done: told of every item.

    Raises:
        EvaluationError: the folder belongs to another configuration, or a process died.
        CancelledError: ``cancel`` returned True.
    """
    if workers < 1:
        raise EvaluationError(f"there must be at least one worker, not {workers}")
    mine = shard(rows, *part)
    store = Store(folder)
    store.begin(config, rows)
    left = []
    for row in mine:
        items = [store.read(row.id, step) for step in steps_of(row, config)]
        if None in items:
            left.append(row)
        elif done is not None:
            for item in items:
                assert item is not None
                done(item)
    if not left:
        return
    if workers == 1 or len(left) == 1:
        run_rows(left, load(), store, config, cancel=cancel, done=done)
    else:
        _Team(left, load, folder, config, min(workers, len(left))).run(cancel, done)


class _Team:
    """Processes that take rows from one queue and tell what they finish on another."""

    def __init__(
        self,
        rows: Sequence[Row],
        load: Callable[[], System],
        folder: str,
        config: RunConfig,
        size: int,
    ) -> None:
        # A forked process inherits the threads' locks of torch, but not the threads.
        context = multiprocessing.get_context("spawn")
        self.news: Any = context.Queue()
        self.stop = context.Event()
        self.todo: Any = context.Queue()
        for row in [*rows, *[None] * size]:
            self.todo.put(row)
        threads = max(1, (os.cpu_count() or 1) // size)
        self.processes = [
            context.Process(
                target=_work,
                args=(self.todo, self.news, self.stop, load, folder, config, threads),
                daemon=True,
            )
            for _ in range(size)
        ]

    def run(self, cancel: Cancel | None, done: Done | None) -> None:
        """Until all rows are done, one process fails, or the caller wants to stop."""
        for process in self.processes:
            process.start()
        try:
            self._listen(cancel, done)
        finally:
            self.stop.set()
            # Rows that nobody will take must not keep this process from ending.
            self.todo.cancel_join_thread()
            for process in self.processes:
                process.join(_GRACE_SECONDS)
                if process.is_alive():
                    process.terminate()

    def _listen(self, cancel: Cancel | None, done: Done | None) -> None:
        at_work = len(self.processes)
        while at_work:
            if cancel is not None and cancel():
                raise CancelledError("stopped; run again with the same options to go on")
            try:
                kind, value = self.news.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if any(process.exitcode for process in self.processes):
                    raise EvaluationError(
                        "a worker was killed, perhaps for lack of memory; "
                        "run again with fewer workers to go on"
                    ) from None
                continue
            if kind == "item" and done is not None:
                done(value)
            elif kind == "error":
                raise EvaluationError(f"a worker failed: {value}")
            elif kind == "end":
                at_work -= 1


def _work(
    todo: Any,
    news: Any,
    stop: Any,
    load: Callable[[], System],
    folder: str,
    config: RunConfig,
    threads: int,
) -> None:
    # Ctrl-C reaches all processes at once; the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    try:
        system, store = load(), Store(folder)
        while (row := todo.get()) is not None:
            run_row(
                row,
                system,
                store,
                config,
                cancel=stop.is_set,
                done=lambda item: news.put(("item", item)),
            )
    except CancelledError:
        pass
    except StepAudioError as error:
        news.put(("error", str(error)))
    except Exception:
        news.put(("error", traceback.format_exc()))
    news.put(("end", None))
