"""English text to phones, with the front end of hibari-tts (misaki alphabet)."""

from __future__ import annotations

from functools import lru_cache

from hibari import Hibari

__all__ = ["PHONES", "SILENCE", "phone_words", "phonemizer"]

SILENCE = 0
#: Index 0 is silence; stress and length marks are dropped, rare symbols map to silence.
PHONES = ("_", *"AIOWYbdfhijklmnpstuvwzæðŋɐɑɔəɛɜɡɪɹɾʃʊʌʒʔʤʧθᵊᵻ")
_INDEX = {symbol: index for index, symbol in enumerate(PHONES)}
_ALIASES = {"ɚ": "ɹ", "e": "A", "o": "O", "a": "ɑ", "ɒ": "ɑ", "Q": "O", "r": "ɹ", "x": "k"}


@lru_cache(maxsize=1)
def phonemizer() -> Hibari:
    """The shared front end; building it reads lexicons and a small network."""
    return Hibari()


def phone_index(symbol: str) -> int | None:
    """Index of one symbol of the front end; None for stress marks and punctuation."""
    return _INDEX.get(_ALIASES.get(symbol, symbol))


def phone_words(text: str) -> list[tuple[str, list[int]]]:
    """Words of a text with their phones.

    Args:
        text: English, any case.

    Returns:
        One ``(spelling, phone indices)`` per phoneme word. Where the front end joins or splits
        words, the spelling is the phoneme word itself.
    """
    if text.isupper():
        text = text.lower()
    pieces = " ".join(phonemizer().phonemize(text)).split()
    spelled = text.split()
    aligned = len(spelled) == len(pieces)
    words = []
    for position, piece in enumerate(pieces):
        phones = [index for index in map(phone_index, piece) if index]
        if phones:
            words.append((spelled[position] if aligned else piece, phones))
    return words
