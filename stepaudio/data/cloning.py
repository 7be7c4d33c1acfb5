"""Recordings of new words in known voices, for triplets and quadruplets that nobody recorded.

Who speaks is up to the caller: any function from words and a voice's recording to sound, such as
``TTSPipeline.speak``. What was rendered is kept, so a stopped run goes on where it was; files are
named after what they were made from, so nothing else is taken for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stepaudio.audio import Audio
from stepaudio.data.digests import short_digest, sound_digest
from stepaudio.data.manifest import Utterance
from stepaudio.errors import DataError

__all__ = ["CloneRequest", "Speak", "render_clones"]

#: Words and the recording of a voice to sound.
Speak = Callable[[str, Utterance], Audio]


@dataclass(frozen=True)
class CloneRequest:
    """One recording to be made.

    Attributes:
        id: it shall have.
        text: words to say.
        voice: recording whose voice and manner shall say them; licence and consent are taken over.
        change: what sets it apart from ``source``.
        source: id of the recording it forms a pair with; empty for a plain one.
    """

    id: str
    text: str
    voice: Utterance
    change: str = "none"
    source: str = ""


def render_clones(
    requests: Iterable[CloneRequest], speak: Speak, folder: str | Path, *, engine: str
) -> list[Utterance]:
    """Make recordings; those that are there already are kept.

    Other words, another voice or another engine under an id are made anew, beside what is there.

    Args:
        requests: what to say in which voice; one that is asked for twice is made once.
        speak: says it.
        folder: ``folder/audio`` receives FLAC files.
        engine: name and version of what speaks, for the manifest.

    Returns:
        One utterance per id, for a manifest.

    Raises:
        DataError: two different requests have one id, or the engine has no name.
        AudioError: the recording of a voice cannot be read.
    """
    if not engine:
        raise DataError("clones need the name of the engine that speaks, with its version")
    wanted: dict[str, CloneRequest] = {}
    for request in requests:
        first = wanted.setdefault(request.id, request)
        if first != request:
            raise DataError(
                f"two different clones have the id {request.id!r}: {_said(first)} and "
                f"{_said(request)}; give each its own"
            )
    # One recording is the voice of many texts: read once.
    sounds = cache(sound_digest)
    rows = []
    for request in wanted.values():
        voice = request.voice
        made_from = short_digest(
            engine, request.text, voice.id, voice.text, voice.lang, sounds(voice.path)
        )
        path = Path(folder) / "audio" / f"{request.id}-{made_from}.flac"
        if not path.exists():
            speak(request.text, voice).save(path)
        rows.append(
            Utterance(
                id=request.id,
                path=str(path),
                speaker=voice.speaker,
                text=request.text,
                lang=voice.lang,
                change=request.change,
                source=request.source,
                set=voice.set,
                licence=voice.licence,
                train_ok=voice.train_ok,
                consent=voice.consent,
                gender=voice.gender,
                made="engine",
                engine=engine,
            )
        )
    return rows


def _said(request: CloneRequest) -> str:
    pair = f", {request.change} of {request.source!r}" if request.source else ""
    return f"{request.text[:40]!r} in the voice of {request.voice.id!r}{pair}"
