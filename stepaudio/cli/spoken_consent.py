"""Were the words of a consent said? A recogniser listens, where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepaudio.errors import MissingExtraError, WordsError

if TYPE_CHECKING:
    from stepaudio.audio import Audio
    from stepaudio.safety.consent import WordsLevel
    from stepaudio.safety.phrases import Request

__all__ = ["check_words"]

# Recognisers misspell names and dates; the code must be right, the sentence recognisable.
_MOST_ERRORS = 0.5
_WHISPER = {"en": "tiny.en", "zh": "base"}


def check_words(request: Request, spoken: Audio, whisper: str | None) -> WordsLevel:
    """Listen to a recording of a request's phrase.

    Args:
        request: what should be said.
        spoken: the recording.
        whisper: size of the recogniser; None is the smallest that knows the language.

    Returns:
        ``"verified"``; ``"unverified"`` without the extra ``eval`` or for a recogniser that does
        not know the language.

    Raises:
        WordsError: other words were said.
    """
    from stepaudio.evaluation.normalize import CHARACTER_LANGUAGES, characters, words
    from stepaudio.evaluation.recognizer import WhisperRecognizer
    from stepaudio.evaluation.words import count_errors
    from stepaudio.safety.phrases import CODE_NEEDED, code_heard

    try:
        recognizer = WhisperRecognizer(whisper or _WHISPER[request.lang])
        if not recognizer.understands(request.lang):
            return "unverified"
        (text,) = recognizer.transcribe([spoken], request.lang)
        by_character = request.lang in CHARACTER_LANGUAGES
        split = characters if by_character else words
        heard = split(text, request.lang)
        errors = count_errors(split(request.phrase, request.lang), heard)
    except MissingExtraError:
        return "unverified"
    found = code_heard(request.code, ("" if by_character else " ").join(heard))
    if found < CODE_NEEDED:
        raise WordsError(
            f"of the code {', '.join(request.code)} only {found} words were heard in {text!r}; "
            "record the phrase again, slowly and close to the microphone"
        )
    if errors.rate is None or errors.rate > _MOST_ERRORS:
        raise WordsError(
            f"{text!r} is not the phrase that was asked for, {request.phrase!r}; record it again"
        )
    return "verified"
