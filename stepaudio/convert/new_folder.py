"""A folder of files that appears at its place when it is complete, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepaudio.errors import OutputExistsError

__all__ = ["new_folder"]


@contextmanager
def new_folder(out: Path, *, last: str, force: bool = False) -> Iterator[Path]:
    """Write a folder beside its final place; leaving the block moves it there.

    If the block fails, nothing is left behind.

    Args:
        out: the folder to make.
        last: name of the file without which the folder counts for nothing. When files of an older
            folder are replaced, it goes first and comes last.
        force: allow replacing files in ``out``.

    Yields:
        A folder to write to.

    Raises:
        OutputExistsError: ``out`` is not empty and ``force`` is False.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not force)):
        raise OutputExistsError(f"{out} exists; choose another name or ask to overwrite it")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield work
        _install(work, out, last)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _install(work: Path, out: Path, last: str) -> None:
    """Move a finished folder to its place, or its files over those of an older one."""
    try:
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        if not out.exists():
            mask = os.umask(0)
            os.umask(mask)
            work.chmod(0o777 & ~mask)
            work.replace(out)
            return
    except OSError as error:
        raise OutputExistsError(f"{out} was written by somebody else meanwhile") from error
    (out / last).unlink(missing_ok=True)
    files = [path for path in work.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.relative_to(work) == Path(last)):
        target = out / path.relative_to(work)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
