"""Words in time, from runs of phones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recipes.nano.data.symbols import SILENCE

__all__ = ["Word", "timed_words"]


@dataclass(frozen=True)
class Word:
    """A word in time: seconds, with the end of its first phone and the start of its last."""

    text: str
    start: float
    end: float
    first_end: float
    last_start: float


def timed_words(
    phones: Sequence[tuple[int, float]], words: Sequence[tuple[str, int]]
) -> list[Word]:
    """Words with their times.

    Args:
        phones: runs of ``(phone, seconds)``; silence and unknown phones belong to no word.
        words: spelling and number of phones of each.

    Returns:
        The words; fewer if the phones run out.
    """
    out: list[Word] = []
    time, inside = 0.0, list[tuple[float, float]]()
    for phone, seconds in phones:
        if phone > SILENCE and len(out) < len(words):
            text, count = words[len(out)]
            inside.append((time, time + seconds))
            if len(inside) == count:
                first, last = inside[0], inside[-1]
                out.append(Word(text, first[0], last[1], first[1], last[0]))
                inside = []
        time += seconds
    return out
