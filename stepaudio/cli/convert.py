"""``stepaudio convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.options import AsJson, Force
from stepaudio.cli.screen import Screen, tell
from stepaudio.errors import CheckpointError

__all__ = ["convert"]


def convert(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC",
            help="Step-Audio-EditX and Step-Audio-Tokenizer as published, or the folder that "
            "holds both.",
            show_default=False,
        ),
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", help="Folder to make.", show_default=False)
    ],
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Convert the published checkpoints into a model folder for --model.

    Nothing the files contain is executed. DST/conversion.json says what became of every tensor.
    """
    if len(sources) > 2:
        raise typer.BadParameter(f"give one or two folders to convert, not {len(sources)}.")

    from stepaudio.convert.published import convert_published
    from stepaudio.locate import published_pair

    pair = published_pair(sources[0]) if len(sources) == 1 else (sources[0], sources[1])
    if pair is None:
        raise CheckpointError(
            f"{sources[0]} does not hold the published model; give Step-Audio-EditX and "
            "Step-Audio-Tokenizer, or the folder that holds both"
        )
    with Screen() as screen:
        screen.wait("converting")
        report = convert_published(*pair, destination, force=force)
    values = {
        "command": "convert",
        "input": [str(folder) for folder in pair],
        "output": str(report.folder),
        "used": report.used,
        "unused": report.unused,
        "notes": list(report.notes),
    }
    line = f"wrote {destination}: {report.used} tensors used, {report.unused} left out"
    tell(values, line, as_json)
