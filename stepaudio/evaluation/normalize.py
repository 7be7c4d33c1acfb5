"""Texts as the words or characters that error rates compare.

Tags in square brackets are not spoken and go first. What a recogniser writes as digits and a
transcript as words ("20", "twenty") must not count as an error, so whole numbers are spelled out.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["CHARACTER_LANGUAGES", "characters", "words"]

#: Languages written without spaces: measured in characters.
CHARACTER_LANGUAGES = frozenset({"zh", "yue", "ja"})

_TAG = re.compile(r"\[[^\]]*\]")
_NUMBER = re.compile(r"\b\d{1,3}(?:,\d{3})+\b|\b\d+\b")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_HAN_NUMBER = re.compile(r"\d+")

# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
# fmt: on
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_HAN_DIGITS = "零一二三四五六七八九"
_HAN_PLACES = ("", "十", "百", "千")


def words(text: str, lang: str = "en") -> list[str]:
    """Words without case, punctuation and tags.

    English loses its accents (``"café"`` is ``"cafe"``); other languages keep theirs. Hyphens
    part words, apostrophes inside a word stay.

    Args:
        text: a transcript.
        lang: language code.

    Returns:
        The words, in order.
    """
    text = _plain(text).replace("’", "'")
    if lang == "en":
        text = "".join(
            c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)
        )
        text = _NUMBER.sub(lambda match: _spell(match[0].replace(",", "")), text)
    return _WORD.findall(text)


def characters(text: str, lang: str = "zh") -> list[str]:
    """Letters, syllable signs and digits, without case, punctuation, spaces and tags.

    Args:
        text: a transcript.
        lang: language code; in Chinese, numbers are written in Chinese.

    Returns:
        The characters, in order.
    """
    text = _plain(text)
    if lang in ("zh", "yue"):
        text = _HAN_NUMBER.sub(lambda match: _spell_han(match, text), text)
    return [c for c in text if c.isalnum()]


def _plain(text: str) -> str:
    # NFKC makes full-width letters and digits narrow.
    return unicodedata.normalize("NFKC", _TAG.sub(" ", text)).lower()


def _spell(digits: str) -> str:
    """A cardinal number below a million; others, and codes such as ``007``, digit by digit."""
    if len(digits) > 6 or (digits[0] == "0" and len(digits) > 1):
        return " ".join(_SMALL[int(d)] for d in digits)
    number = int(digits)
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return _TENS[number // 10 - 2] + (f" {_SMALL[number % 10]}" if number % 10 else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" {_spell(str(number % size))}" if number % size else ""
    return f"{_spell(str(number // size))} {name}{rest}"


def _spell_han(match: re.Match[str], text: str) -> str:
    """A number up to four digits as it is counted; years and longer ones digit by digit."""
    digits = match[0]
    is_year = len(digits) == 4 and text[match.end() : match.end() + 1] == "年"
    if len(digits) > 4 or is_year or digits[0] == "0":
        return "".join(_HAN_DIGITS[int(d)] for d in digits)
    spelled = "".join(
        _HAN_DIGITS[int(d)] + (_HAN_PLACES[len(digits) - 1 - i] if d != "0" else "")
        for i, d in enumerate(digits)
    )
    spelled = re.sub("零+", "零", spelled).rstrip("零")
    return spelled[1:] if spelled.startswith("一十") else spelled
