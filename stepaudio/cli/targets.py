"""Files to write are checked before the slow work whose result they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stepaudio.errors import OutputExistsError, StepAudioError

__all__ = ["check_picture", "check_sound", "check_target"]


def check_target(path: Path, *, force: bool, suffixes: Sequence[str] = ()) -> None:
    """Refuse a file that could not be written in the end.

    Args:
        path: to write later.
        force: it may replace a file.
        suffixes: those allowed, in lower case; empty allows all.

    Raises:
        OutputExistsError: it exists and ``force`` is False, or it is a folder.
        StepAudioError: a suffix that is not allowed, or a place that cannot be written.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; choose another name or pass --force")
    if suffixes and path.suffix.lower() not in suffixes:
        raise StepAudioError(f"{path} must end in {' or '.join(suffixes)}")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise StepAudioError(f"{path} cannot be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StepAudioError(f"{path} cannot be written: no permission in {parent}")


def check_sound(path: Path, *, force: bool, credentials: bool = False) -> None:
    """:func:`check_target` for a recording of a known format, and for the signed provenance beside.

    Args:
        path: to write later.
        force: it may replace a file.
        credentials: it shall hold Content Credentials, which not every format can.
    """
    from stepaudio.audio import sound_format
    from stepaudio.safety.content_credentials import require_c2pa
    from stepaudio.safety.provenance import sidecar_path
    from stepaudio.safety.store import require_key

    sound_format(path)
    check_target(path, force=force)
    check_target(sidecar_path(path), force=force)
    require_key()
    if credentials:
        require_c2pa(path)


def check_picture(path: Path, *, force: bool) -> None:
    """:func:`check_target` for a picture, which also needs matplotlib."""
    from stepaudio.plotting import PICTURE_SUFFIXES, require_matplotlib

    check_target(path, force=force, suffixes=PICTURE_SUFFIXES)
    require_matplotlib()
