"""``stepaudio convert``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.options import AsJson, Force
from stepaudio.cli.screen import Screen, tell
from stepaudio.errors import CheckpointError

__all__ = ["convert"]


class Layout(str, Enum):
    """What a folder is made for."""

    stepaudio = "stepaudio"
    huggingface = "huggingface"


def convert(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC",
            help="Step-Audio-EditX and Step-Audio-Tokenizer as published, or the folder that "
            "holds both. For huggingface: a model, as --model takes it.",
            show_default=False,
        ),
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", help="Folder to make.", show_default=False)
    ],
    to: Annotated[
        Layout,
        typer.Option(
            help="stepaudio: a model for --model. huggingface: its language model, for vLLM."
        ),
    ] = Layout.stepaudio,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Convert the published checkpoints into a model folder, or a language model for vLLM.

    Nothing the files contain is executed. DST/conversion.json says what became of every tensor.
    """
    most = 2 if to is Layout.stepaudio else 1
    if len(sources) > most:
        raise typer.BadParameter(f"give at most {most} of SRC to convert, not {len(sources)}.")
    if to is Layout.huggingface:
        _to_huggingface(sources[0], destination, as_json=as_json, force=force)
        return

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


def _to_huggingface(source: Path, destination: Path, *, as_json: bool, force: bool) -> None:
    from stepaudio.convert.huggingface import export_huggingface
    from stepaudio.locate import locate

    with Screen() as screen:
        screen.wait("converting")
        exported = export_huggingface(locate(source), destination, force=force)
    values = {
        "command": "convert",
        "input": [str(source)],
        "output": str(exported.folder),
        "parameters": exported.parameters,
        "dtype": exported.dtype,
        "context_length": exported.context_length,
    }
    line = (
        f"wrote {destination}: {exported.parameters} parameters in {exported.dtype}, a context of "
        f"{exported.context_length} ids"
    )
    tell(values, line, as_json)
