"""What goes wrong is told in one line: exit code 1, 2 for wrong usage, 130 for Ctrl-C."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from stepaudio.errors import StepAudioError

__all__ = ["told_in_one_line"]

P = ParamSpec("P")
R = TypeVar("R")

_NO_MEMORY = "out of memory; give a shorter recording, or a smaller --dtype"
_PACKAGE = Path(__file__).parents[1]


def told_in_one_line(command: Callable[P, R]) -> Callable[P, R]:
    """Turn whatever a command raises into one line on stderr and an exit code.

    Args:
        command: a function of the command line.

    Returns:
        The same with the same signature.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            _tell("stopped")
            raise typer.Exit(130) from None
        except (StepAudioError, OSError) as error:
            _tell(str(error))
        except Exception as error:
            _tell(_NO_MEMORY if _is_memory(error) else _unexpected(error))
        raise typer.Exit(1)

    return run


def _tell(problem: str) -> None:
    line = " ".join(problem.split())
    typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)


def _is_memory(error: Exception) -> bool:
    """On a CPU torch raises a plain RuntimeError, elsewhere a class that not every build has."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "allocate memory" in str(error)
    )


def _unexpected(error: Exception) -> str:
    """Says where, so that a report is of use."""
    inside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _PACKAGE in Path(frame.filename).parents
    ]
    last = inside[-1]
    place = f"{Path(last.filename).relative_to(_PACKAGE.parent)}:{last.lineno}"
    return f"{type(error).__name__} in {place}: {error} (this should not happen; please report it)"
