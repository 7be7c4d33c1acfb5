"""Taking a consent down: the voice that said the phrase is the voice that shall be used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from torch import Tensor

from stepaudio.errors import OtherVoiceError
from stepaudio.safety.consent import ConsentRecord, WordsLevel
from stepaudio.safety.matching import fingerprint, match_voice
from stepaudio.safety.phrases import Request
from stepaudio.safety.store import TrustStore

__all__ = ["HeardVoice", "enrol"]


@dataclass(frozen=True)
class HeardVoice:
    """A recording as the speaker encoder hears it.

    Attributes:
        embedding: ``[D]``.
        recording: :meth:`stepaudio.audio.Audio.digest` of the recording.
    """

    embedding: Tensor
    recording: str


def enrol(
    request: Request,
    spoken: HeardVoice,
    prompt: HeardVoice,
    encoder: str,
    *,
    words: WordsLevel,
    store: TrustStore,
    threshold: float | None = None,
) -> tuple[ConsentRecord, float]:
    """Write the record that a request was made for.

    Args:
        request: whose phrase was spoken; it is used up.
        spoken: the recording of the phrase.
        prompt: the recording whose voice shall be used later.
        encoder: digest of the speaker encoder.
        words: whether the words were heard.
        store: keeps and signs the record.
        threshold: of similarity; None is the measured one.

    Returns:
        The record, and how alike both recordings are.

    Raises:
        OtherVoiceError: phrase and prompt are not of one voice.
    """
    said = fingerprint([spoken.embedding], [spoken.recording], encoder)
    try:
        score, _ = match_voice(
            prompt.embedding, said, encoder, level="balanced", threshold=threshold
        )
    except OtherVoiceError as error:
        raise OtherVoiceError(
            f"the phrase and the voice to be used do not match: {error}"
        ) from None
    both = {spoken.recording: spoken.embedding, prompt.recording: prompt.embedding}
    record = ConsentRecord(
        speaker=request.speaker,
        asked_by=request.asked_by,
        purposes=request.purposes,
        scope=request.scope,
        languages=request.languages,
        given=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        expires=request.until,
        fingerprint=fingerprint(list(both.values()), list(both), encoder),
        phrase=request.phrase,
        words=words,
    ).signed(store.key)
    store.keep(record)
    request.forget(store.folder)
    return record, score
