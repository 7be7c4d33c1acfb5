"""What a run has measured: one JSON line per step, a picture, event files if wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepaudio.errors import MissingExtraError
from stepaudio.hub import write_atomic
from stepaudio.plotting import require_matplotlib

__all__ = ["MetricsLog", "draw_curves", "read_metrics"]

#: Columns that say when rather than what.
_TIMES = ("step", "seconds")


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """Rows of ``metrics.jsonl``, in order of the steps; a last line cut short is left out.

    Args:
        path: the file; it need not exist.

    Returns:
        One row per step.
    """
    path = Path(path)
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class MetricsLog:
    """Writes a row after every step.

    Args:
        folder: of the run.
        done: steps that count; rows of later ones, which a run that was killed had not kept in a
            checkpoint, are dropped.
        tensorboard: also write event files, to ``folder/tensorboard``.

    Raises:
        MissingExtraError: tensorboard is wanted and not installed.
    """

    def __init__(self, folder: Path, done: int, *, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        self._events: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingExtraError(
                    "event files need tensorboard; "
                    "install it with: pip install 'stepaudio[tensorboard]'"
                ) from error
            self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
        kept = [row for row in read_metrics(self.path) if row["step"] <= done]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomic(self.path, lambda path: path.write_text(text, encoding="utf-8"), force=True)

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row.

        Args:
            row: numbers by name, among them ``step``.
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._events is not None:
            for name, value in row.items():
                if name not in _TIMES:
                    self._events.add_scalar(name, value, row["step"])
            self._events.flush()


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw every metric over the steps, one small picture each.

    Args:
        rows: from :func:`read_metrics`; none draw nothing.
        path: picture to write, replaced if it exists.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = [name for name in (rows[-1] if rows else ()) if name not in _TIMES]
    if not names:
        return
    require_matplotlib()
    from matplotlib.figure import Figure

    columns = min(len(names), 3)
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4 * columns, 2.6 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    steps = [row["step"] for row in rows]
    for axis, name in zip(axes, names, strict=False):
        axis.plot(steps, [row.get(name, math.nan) for row in rows], linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    write_atomic(path, lambda place: figure.savefig(place, dpi=110), force=True)
