"""What a stage has finished, one JSON line per item: it can be stopped and started again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import track

from recipes.nano.data.corpus import Utterance

__all__ = ["Journal", "made_rows"]

T = TypeVar("T")


class Journal:
    """Finished items and what came of them, on disk after each.

    Args:
        path: the file; made where there is none. A line that a stop left half written is cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        found = self.path.read_bytes() if self.path.exists() else b""
        whole = found[: found.rfind(b"\n") + 1]
        if whole != found:
            self.path.write_bytes(whole)
        self.done: dict[str, Any] = dict(json.loads(line) for line in whole.splitlines())

    def __contains__(self, key: str) -> bool:
        return key in self.done

    def add(self, key: str, result: Any) -> None:
        """Note that ``key`` is finished, with a result that JSON can hold."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, result], ensure_ascii=False) + "\n")
        self.done[key] = result


def made_rows(
    journal: Journal,
    items: Mapping[str, T],
    work: Callable[[T], list[Utterance]],
    workers: int,
    title: str,
) -> list[Utterance]:
    """The rows of all items; those not in the journal are made now, each noted when it is done.

    Args:
        journal: of the stage.
        items: by key.
        work: makes the rows of one item; with several workers it runs in other processes.
        workers: processes.
        title: beside the progress bar.

    Returns:
        Rows in the order of the items.

    Raises:
        RuntimeError: an item failed; the ones before it are kept.
    """
    left = {key: item for key, item in items.items() if key not in journal}
    with ExitStack() as stack:
        made: Iterable[list[Utterance]] = map(work, left.values())
        if workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers))
            made = pool.map(work, left.values(), chunksize=4)
        rows = iter(made)
        for key in track(left, title):
            try:
                found = next(rows)
            except Exception as error:
                raise RuntimeError(f"{title} stopped at {key}: {error}") from error
            journal.add(key, [asdict(row) for row in found])
    return [Utterance(**row) for key in items for row in journal.done[key]]
