"""Stages in a row, each in a folder of its own, and a note of which are finished.

A finished stage is not made again; one that was stopped goes on, since its own journal knows where.
A folder that was begun with other settings is refused: half of its rows would be of one kind and
half of another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepaudio.hub import write_atomic

__all__ = ["run_stages"]

NOTE = "stages.json"


def run_stages(
    stages: Mapping[str, Callable[[Path], object]],
    out: Path,
    settings: Mapping[str, Any],
    tell: Callable[[str], object],
) -> None:
    """Make every stage that is not finished, in order.

    Args:
        stages: by name; each does its work in the folder it is given.
        out: folder of all of them.
        settings: all that the rows depend on, as JSON can hold it.
        tell: hears a line about every stage.

    Raises:
        ValueError: the folder was begun with other settings.
    """
    note = out / NOTE
    said: dict[str, Any] = {"settings": json.loads(json.dumps(dict(settings))), "minutes": {}}
    if note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        differ = [
            f"{name} {found['settings'].get(name)!r}"
            for name in sorted({*found["settings"], *said["settings"]})
            if found["settings"].get(name) != said["settings"].get(name)
        ]
        if differ:
            raise ValueError(
                f"{out} was begun with {', '.join(differ)}; give the same again or another folder"
            )
        said = found
    for name, run in stages.items():
        if name in said["minutes"]:
            tell(f"{name}: finished before")
            continue
        began = time.monotonic()
        (out / name).mkdir(parents=True, exist_ok=True)
        _write(note, said)
        tell(f"{name}: begins")
        run(out / name)
        said["minutes"][name] = round((time.monotonic() - began) / 60, 2)
        _write(note, said)
        tell(f"{name}: finished, {said['minutes'][name]} minutes")


def _write(path: Path, said: Mapping[str, Any]) -> None:
    text = json.dumps(said, indent=1, ensure_ascii=False)
    write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"), force=True)
