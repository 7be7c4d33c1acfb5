"""What the user sees: progress on stderr while it takes, the outcome on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from stepaudio.audio import Audio
    from stepaudio.result import EditResult

__all__ = ["Screen", "describe", "summary", "tell", "warn_if_cut"]

_STAGES = {
    "tokenize": "recording to codes",
    "voice": "listening to the voice",
    "generate": "writing codes",
    "decode": "codes to spectrogram",
    "vocode": "spectrogram to sound",
}


class Screen(AbstractContextManager["Screen"]):
    """One progress bar for whatever takes time now; silent where nobody watches."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._shown = ""
        #: Written before every stage, such as the number of an iteration.
        self.prefix = ""

    def __enter__(self) -> Screen:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def wait(self, what: str) -> None:
        """Show that something of unknown length has begun.

        Args:
            what: in a few words.
        """
        self._show(what, None, 0)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Follow a pipeline; see :data:`stepaudio.result.Progress`."""
        # A stage in one step has no progress to show, only that it runs.
        self._show(_STAGES[stage], total if total > 1 else None, done)

    def count(self, what: str, done: int, total: int, note: str = "") -> None:
        """Show how many of many things are done.

        Args:
            what: in a few words, without the numbers.
            done: so many.
            total: of so many.
            note: what else there is to say of them, written behind the numbers.
        """
        self._show(what, total, done)
        self._bar.update(self._task, description=f"{self.prefix}{what} {done}/{total}{note}")

    def _show(self, what: str, total: int | None, done: int) -> None:
        what = self.prefix + what
        if what != self._shown:
            self._bar.reset(self._task, total=total, description=what)
            self._shown = what
        self._bar.update(self._task, completed=done)


def summary(result: EditResult, sound: Audio | None) -> dict[str, Any]:
    """Numbers of a result, for ``--json``.

    Args:
        result: of a pipeline.
        sound: the recording that went in.

    Returns:
        Plain values.
    """
    return {
        "seed": result.seed,
        "stop_reason": result.stop_reason,
        "seconds_in": None if sound is None else round(sound.seconds, 4),
        "seconds_out": round(result.audio.seconds, 4),
        "length_ratio": result.length_ratio,
        "timings": {name: round(value, 4) for name, value in result.timings.items()},
        "realtime_factor": round(result.realtime_factor, 4),
    }


def describe(values: Mapping[str, Any]) -> str:
    """The same in a line for people.

    Args:
        values: from :func:`summary`, with ``output``.

    Returns:
        The line.
    """
    words = [f"wrote {values['output']}: {values['seconds_out']:.2f} s"]
    if values["seconds_in"] is not None:
        words.append(f"from {values['seconds_in']:.2f} s")
    words.append(f"(seed {values['seed']}, real-time factor {values['realtime_factor']:.2f})")
    return " ".join(words)


def tell(values: Mapping[str, Any], line: str, as_json: bool, *, err: bool = False) -> None:
    """Print the outcome.

    Args:
        values: for programs.
        line: for people.
        as_json: which of them.
        err: to stderr, because stdout has the sound.
    """
    typer.echo(json.dumps(values, allow_nan=False) if as_json else line, err=err)


def warn_if_cut(result: EditResult) -> None:
    """Say on stderr that the end of the speech may be missing."""
    if result.stop_reason == "length":
        typer.secho(
            "warning: stopped by the length limit, the end may be missing; try another --seed",
            fg=typer.colors.YELLOW,
            err=True,
        )
