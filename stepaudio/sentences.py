"""Where to cut a long text, so that each part is said in one breath and the pauses fall between.

Nobody knows how long a text takes before it is said; letters tell it well enough (:func:`seconds`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from stepaudio.edits import DIALECT_TAGS

__all__ = ["TextPart", "seconds", "split_text"]

#: Characters a second: of a letter, and of what is said as a syllable or more, such as an
#: ideograph, a kana or a digit.
_LETTERS, _SYLLABLES = 14.0, 4.5
_ENDS, _CLAUSES, _CLOSING = ".!?…。！？．", ",;:，、；：—", "\"'”’»›」』）)]】"
#: By what a part ends with: what it costs to cut there, and the seconds of silence after it.
_SENTENCE, _CLAUSE, _WORD, _ANYWHERE = (0.0, 0.35), (1.0, 0.15), (2.0, 0.0), (4.0, 0.0)
#: A full stop after a capital and at most two more letters ("Mrs.", "J.") seldom ends a sentence.
_ABBREVIATION = re.compile(r"\b[A-Z][a-z]{0,2}\.$")
_PARAGRAPH = re.compile(r"[^\S\n]*\n[^\S\n]*\n")
_JOINER = "\u200d"
#: What a part that is nearly empty costs beyond; rather a clause than a sentence of one word.
_SHORT = 1.3


class TextPart(NamedTuple):
    """A stretch of a text.

    Attributes:
        text: its words; the tag of the dialect comes first in every part.
        pause: seconds of silence after it.
    """

    text: str
    pause: float


def seconds(text: str) -> float:
    """How long a text takes to say, roughly.

    Args:
        text: in any script.

    Returns:
        Seconds.
    """
    return sum(map(_duration, text))


def split_text(text: str, longest: float | None) -> list[TextPart]:
    """Cut a text where a reader would pause.

    Args:
        text: in any script; may begin with one of :data:`~stepaudio.edits.DIALECT_TAGS`.
        longest: seconds that a part takes at most, by :func:`seconds`; None cuts nothing.

    Returns:
        The text itself if it is short enough. Else parts that end with a sentence if they can, with
        a clause or a word if they must, and only within a word that is longer than a part; no
        letter and no accent is lost. After the last one there is no pause.
    """
    if longest is None or seconds(text) <= longest:
        return [TextPart(text, 0.0)]
    tag = next((tag for tag in DIALECT_TAGS if text.startswith(tag)), "")
    left, parts = text.removeprefix(tag).strip(), []
    while seconds(left) > longest:
        at, pause = _best_cut(left, longest)
        parts.append(TextPart(tag + left[:at].rstrip(), pause))
        left = left[at:].lstrip()
    return [*parts, TextPart(tag + left, 0.0)]


def _best_cut(text: str, longest: float) -> tuple[int, float]:
    """Characters of the first part, and the pause after it."""
    found, least, taken = (1, 0.0), float("inf"), 0.0
    for at in range(1, len(text)):
        taken += _duration(text[at - 1])
        if taken > longest and least < float("inf"):
            break
        border = _border(text, at)
        if border is None:
            continue
        cost, pause = border
        cost += _SHORT * max(0.0, 1 - 2 * taken / longest)
        # Of equal ones the last: fewer and longer parts.
        if cost <= least:
            found, least = (at, pause), cost
    return found


def _border(text: str, at: int) -> tuple[float, float] | None:
    """What a cut before the character ``at`` costs, and its pause; None where none may be."""
    after = text[at]
    if after in _CLOSING + _ENDS + _CLAUSES:
        return None
    said = text[:at].rstrip(_CLOSING)
    mark, spaced = said[-1:] or " ", after.isspace()
    if spaced or _is_wide(mark):
        if mark in _ENDS and not _ABBREVIATION.search(said):
            return _SENTENCE
        if mark in _CLAUSES:
            return _CLAUSE
    if spaced:
        return _SENTENCE if _PARAGRAPH.match(text, at) else _WORD
    # An accent, a vowel sign or a joined letter stays with what it belongs to.
    joined = unicodedata.category(after).startswith("M") or _JOINER in text[at - 1 : at + 1]
    return None if joined else _ANYWHERE


def _duration(character: str) -> float:
    if _is_syllable(character):
        return 1 / _SYLLABLES
    return 1 / _LETTERS if character.isalnum() or character.isspace() else 0.0


def _is_syllable(character: str) -> bool:
    return character.isdigit() or (character.isalnum() and _is_wide(character))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
