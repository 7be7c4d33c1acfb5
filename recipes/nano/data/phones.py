"""English text to phones, with the front end of hibari-tts (misaki alphabet)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from recipes.nano.data.symbols import phone_index

if TYPE_CHECKING:
    from hibari import Hibari

__all__ = ["phone_words", "phonemizer", "spelled_words"]

Indices = list[int]


@lru_cache(maxsize=1)
def phonemizer() -> Hibari:
    """The shared front end; building it reads lexicons and a small network."""
    from hibari import Hibari

    return Hibari()


def phone_words(text: str) -> list[tuple[str, Indices]]:
    """Words of a text with their phones.

    Args:
        text: English, any case.

    Returns:
        ``(spelling, phone indices)``; the spellings are the text's own, all of it, in order.
    """
    return spelled_words(text, lambda part: " ".join(phonemizer().phonemize(part)).split())


def spelled_words(text: str, pronounce: Callable[[str], list[str]]) -> list[tuple[str, Indices]]:
    """Words of a text as it spells them, with the phones a front end gives for them.

    The front end may speak one written word as several (``"1833"``, ``"O'Brien"``) or none
    (``"--"``). The sentence is pronounced as a whole, since neighbours matter (``"the"``); where
    the number of spoken words differs from the written ones, each written word takes as many as it
    has when pronounced alone, and if they still do not add up, what it is alone.

    Args:
        text: English, any case.
        pronounce: a text to its spoken words, in symbols.

    Returns:
        ``(spelling, phone indices)``. What has no phones is spelled with the word before it, or
        after it at the beginning.
    """
    if text.isupper():
        text = text.lower()
    written, spoken = text.split(), pronounce(text)
    parts = [[piece] for piece in spoken]
    if len(spoken) != len(written):
        alone = [pronounce(word) for word in written]
        parts = alone
        if sum(map(len, alone)) == len(spoken):
            rest = iter(spoken)
            parts = [[next(rest) for _ in pieces] for pieces in alone]
    words: list[tuple[str, Indices]] = []
    silent = ""
    for word, pieces in zip(written, parts, strict=True):
        phones = [index for piece in pieces for index in map(phone_index, piece) if index]
        if phones:
            words.append((f"{silent}{word}", phones))
            silent = ""
        elif words:
            words[-1] = (f"{words[-1][0]} {word}", words[-1][1])
        else:
            silent = f"{silent}{word} "
    return words
