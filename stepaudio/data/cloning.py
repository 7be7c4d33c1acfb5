"""Recordings of new words in known voices, for triplets and quadruplets that nobody recorded.

Who speaks is up to the caller: any function from words and a voice's recording to sound, such as
``TTSPipeline.speak``. What was rendered is kept, so a stopped run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stepaudio.audio import Audio
from stepaudio.data.manifest import Utterance

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
    requests: Iterable[CloneRequest], speak: Speak, folder: str | Path
) -> list[Utterance]:
    """Make recordings; those that are there already are kept.

    Args:
        requests: what to say in which voice.
        speak: says it.
        folder: ``folder/audio`` receives FLAC files.

    Returns:
        One utterance per request, for a manifest.
    """
    rows = []
    for request in requests:
        path = Path(folder) / "audio" / f"{request.id}.flac"
        if not path.exists():
            speak(request.text, request.voice).save(path)
        voice = request.voice
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
            )
        )
    return rows
