"""What a stage has finished, one JSON line per item: it can be stopped and started again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


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
