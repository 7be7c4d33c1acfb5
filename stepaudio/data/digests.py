"""Short names for what a recording is made from.

They stand in ids and in names of files. So a recording of other words, of another source or with
other settings is never taken for the one that is wanted, nothing is overwritten, and a stopped run
finds what it has made.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from stepaudio.audio import Audio

__all__ = ["short_digest", "sound_digest"]


def short_digest(*facts: object) -> str:
    """A name for exactly these facts.

    Args:
        *facts: plain values, or dataclasses of them.

    Returns:
        Twelve hexadecimal digits.
    """
    # Not repr: which letters it escapes depends on the version of Python.
    return hashlib.sha256(ascii(facts).encode()).hexdigest()[:12]


def sound_digest(path: str | Path) -> str:
    """A name for exactly the sound in a file, wherever it lies.

    Args:
        path: of a recording.

    Returns:
        That of :meth:`stepaudio.audio.Audio.digest`.

    Raises:
        AudioError: the recording cannot be read.
    """
    return Audio.load(path).digest()
