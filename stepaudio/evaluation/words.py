"""Are the words still there: word and character error rates.

Both are counts, errors and units of the reference, so that a corpus rate can be pooled: all errors
over all reference words, which long recordings dominate, not a mean of rates, which one short
sentence can spoil.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.extras import need
from stepaudio.evaluation.normalize import CHARACTER_LANGUAGES, characters, words
from stepaudio.evaluation.recognizer import Recognizer, WhisperRecognizer

__all__ = [
    "ErrorCount",
    "Recognizer",
    "WhisperRecognizer",
    "WordErrors",
    "count_errors",
    "pool",
]


@dataclass(frozen=True)
class ErrorCount:
    """Errors against a reference.

    Attributes:
        errors: substitutions, deletions and insertions.
        reference: words or characters that should be there.
        deletions: those of them that have no counterpart in what is heard, not even a wrong one.
    """

    errors: int
    reference: int
    deletions: int = 0

    @property
    def rate(self) -> float | None:
        """Errors per unit of the reference; can exceed 1. None if there is no reference."""
        return self.errors / self.reference if self.reference else None


def count_errors(reference: Sequence[str], heard: Sequence[str]) -> ErrorCount:
    """Edit distance of two texts, aligned by jiwer.

    Args:
        reference: words or characters that should be there.
        heard: words or characters that are.

    Returns:
        Errors and size of the reference.

    Raises:
        MissingExtraError: jiwer is not installed.
    """
    if not reference:
        return ErrorCount(len(heard), 0)
    jiwer = need("jiwer", "the word error rate")
    found = jiwer.process_words(" ".join(reference), " ".join(heard))
    errors = found.substitutions + found.deletions + found.insertions
    return ErrorCount(errors, len(reference), found.deletions)


def pool(counts: Iterable[ErrorCount]) -> ErrorCount:
    """Counts of a corpus: the sums."""
    counts = list(counts)
    return ErrorCount(
        sum(c.errors for c in counts),
        sum(c.reference for c in counts),
        sum(c.deletions for c in counts),
    )


class WordErrors:
    """Word and character error rates against ``Sample.text``.

    Numbers of a sample: ``wer``, ``word_errors``, ``words``, ``words_left_out`` (those without any
    counterpart in what is heard) and ``cer``, ``char_errors``, ``chars``. The first four are None
    in languages written without spaces; all are None where there is no text or the recogniser does
    not know the language.

    Args:
        recognizer: what listens; None is Whisper tiny.en.

    Raises:
        MissingExtraError: jiwer or the recogniser's package is not installed.
    """

    name = "words"

    def __init__(self, recognizer: Recognizer | None = None) -> None:
        need("jiwer", "the word error rate")
        self.recognizer: Recognizer = recognizer or WhisperRecognizer()

    @property
    def model(self) -> ModelId:
        """The recogniser."""
        return self.recognizer.model

    def transcripts(self, samples: Sequence[Sample]) -> list[str | None]:
        """What is heard.

        Args:
            samples: recordings of any mix of languages.

        Returns:
            A text per sample, None where the recogniser does not know the language.
        """
        heard: list[str | None] = [None] * len(samples)
        for lang in dict.fromkeys(sample.lang for sample in samples):
            if self.recognizer.understands(lang):
                chosen = [i for i, sample in enumerate(samples) if sample.lang == lang]
                texts = self.recognizer.transcribe([samples[i].audio for i in chosen], lang)
                for i, text in zip(chosen, texts, strict=True):
                    heard[i] = text
        return heard

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Counts and rates.

        Args:
            samples: recordings; those without text are not listened to.

        Returns:
            Numbers per sample.
        """
        wanted = [i for i, sample in enumerate(samples) if _has_words(sample)]
        heard = self.transcripts([samples[i] for i in wanted])
        texts = dict(zip(wanted, heard, strict=True))
        return [_numbers(sample, texts.get(i)) for i, sample in enumerate(samples)]


def _has_words(sample: Sample) -> bool:
    return bool(_letters(sample.text, sample.lang))


def _letters(text: str, lang: str) -> list[str]:
    if lang in CHARACTER_LANGUAGES:
        return characters(text, lang)
    return list("".join(words(text, lang)))


def _numbers(sample: Sample, heard: str | None) -> dict[str, float | None]:
    lang = sample.lang
    by_word = by_character = None
    if heard is not None:
        by_character = count_errors(_letters(sample.text, lang), _letters(heard, lang))
        if lang not in CHARACTER_LANGUAGES:
            by_word = count_errors(words(sample.text, lang), words(heard, lang))
    return {
        "wer": by_word.rate if by_word else None,
        "word_errors": by_word.errors if by_word else None,
        "words": by_word.reference if by_word else None,
        "words_left_out": by_word.deletions if by_word else None,
        "cer": by_character.rate if by_character else None,
        "char_errors": by_character.errors if by_character else None,
        "chars": by_character.reference if by_character else None,
    }
