"""``-o -``: sound to stdout while it is made, as a WAV stream that players and sox read."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from stepaudio.errors import CancelledError

if TYPE_CHECKING:
    from stepaudio.result import EditResult
    from stepaudio.streaming import AudioStream

__all__ = ["check_live", "is_live", "play"]

# What a header says of a length that is not known yet.
_UNKNOWN = 0xFFFFFFFF


def is_live(output: Path) -> bool:
    """Whether an output stands for stdout."""
    return str(output) == "-"


def check_live(**needs_all: bool) -> None:
    """Refuse what cannot be streamed.

    Args:
        **needs_all: options by name, True where one is given that needs the whole result.

    Raises:
        typer.BadParameter: such an option is given, or stdout is a terminal.
    """
    for name, given in needs_all.items():
        if given:
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} needs the whole result; give a file as output.")
    if sys.stdout.isatty():
        raise typer.BadParameter(
            "sound is not written to a terminal; send it to a player, such as -o - | aplay.",
            param_hint="'--output'",
        )


def play(stream: AudioStream, out: IO[bytes] | None = None) -> EditResult:
    """Write a stream as it comes.

    Args:
        stream: of a pipeline.
        out: where to; None is stdout.

    Returns:
        The result of the whole stream.

    Raises:
        CancelledError: nobody reads any more.
    """
    from stepaudio.audio import to_pcm

    out = typer.get_binary_stream("stdout") if out is None else out
    try:
        with stream:
            for number, chunk in enumerate(stream):
                if not number:
                    out.write(_header(chunk.sample_rate))
                out.write(to_pcm(chunk.samples.numpy(), "PCM_16").astype("<i2").tobytes())
                out.flush()
    except BrokenPipeError:
        # The interpreter would try to write the rest at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise CancelledError("stopped because nobody reads the sound any more") from None
    return stream.result


def _header(rate: int) -> bytes:
    """Of a WAV file with 16-bit mono samples and a length that is not known."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    riff = struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE")
    return riff + form + struct.pack("<4sI", b"data", _UNKNOWN)
