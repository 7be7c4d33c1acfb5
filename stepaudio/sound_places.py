"""Where in a recording a sound is put in, told from the text alone.

A laugh between two words changes nothing a few seconds away from it. So a small model writes only
the stretch around it anew, and the rest stays as it was recorded. Nobody knows when the words are
said: speech is taken to be as long as its letters, pauses left out, and the stretch ends where it
is quiet. Not part of the published system, which writes everything anew.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from stepaudio.audio import Audio
from stepaudio.cutting import split_words
from stepaudio.errors import AudioError
from stepaudio.pauses import find_pauses

__all__ = ["FAR", "NEAR", "SoundStretch", "sound_stretch"]

#: Seconds beside a sound within which the stretch ends: words may be said this much earlier or
#: later than their letters tell, and the model needs some of them to go by.
NEAR, FAR = 1.0, 3.0

_TAG = re.compile(r"(\[[^\[\]]*\])")
# Where no pause is: the quietest 30 ms.
_QUIET_SECONDS = 0.03


class SoundStretch(NamedTuple):
    """A part of a recording that sounds are put in.

    Attributes:
        span: seconds from and to.
        text: the words spoken in it, with the tags of sounds that are there already.
        tagged: the same with the tags of those to be put in, too.
    """

    span: tuple[float, float]
    text: str
    tagged: str


def sound_stretch(audio: Audio, text: str, tagged: str) -> SoundStretch | None:
    """Find the stretch around all sounds that are new; without any, around all that are there.

    Args:
        audio: the recording.
        text: the words spoken in it, with the tags of sounds that are there already.
        tagged: the same words, but for case and punctuation, with the tags of these sounds and of
            those to be put in.

    Returns:
        The stretch; None where little more would be left out than pauses, where both texts have
        other words, where there is no tag, and where nothing is to be heard.
    """
    # A tag between two words of an unspaced text does not make it a spaced one.
    _, between = split_words(_TAG.sub("", text))
    (words, there), (said, wanted) = (_read(line, between) for line in (text, tagged))
    if not words or [_bare(word) for word in said] != [_bare(word) for word in words]:
        return None
    letters = [0, *accumulate(len(word) for word in words)]
    pauses = find_pauses(audio)
    places = [_moment(count / letters[-1], audio, pauses) for count in letters]
    new = [
        place
        for place, old, now in zip(places, there, wanted, strict=True)
        if Counter(now) - Counter(old)
    ]
    # Once more the same: those that are there are written anew, and still the rest stays.
    new = new or [place for place, now in zip(places, wanted, strict=True) if now]
    if not new:
        return None
    first, last, start, end = min(new), max(new), 0.0, audio.seconds
    # What would be left beside the stretch should be worth leaving out.
    if first - FAR > NEAR:
        start = _quiet(audio, pauses, first - FAR, first - NEAR)
    if last + FAR < end - NEAR:
        end = _quiet(audio, pauses, last + NEAR, last + FAR)
    inside = [
        start < _moment((before + len(word) / 2) / letters[-1], audio, pauses) < end
        for before, word in zip(letters, said, strict=False)
    ]
    if end - start > audio.seconds - NEAR or not any(inside):
        return None
    try:
        audio.clip(start, end).require_sound()
    except AudioError:
        return None
    heard = [start <= place <= end for place in places]
    return SoundStretch(
        (start, end),
        between.join(_kept(words, there, inside, heard)),
        between.join(_kept(said, wanted, inside, heard)),
    )


def _read(text: str, between: str) -> tuple[list[str], list[list[str]]]:
    """The words of a text, and the tags before each of them and after the last."""
    words: list[str] = []
    tags: list[list[str]] = [[]]
    for part in _TAG.split(text):
        if _TAG.fullmatch(part):
            tags[-1].append(part)
            continue
        # An unspaced text is one character after the other.
        pieces = part.split() if between else list("".join(part.split()))
        words += pieces
        tags += [[] for _ in pieces]
    return words, tags


def _kept(
    words: Sequence[str],
    tags: Sequence[Sequence[str]],
    inside: Sequence[bool],
    heard: Sequence[bool],
) -> list[str]:
    """What is left of a text of which some words are inside, and some places of tags."""
    kept: list[str] = []
    for number, here in enumerate(tags):
        kept += here if heard[number] else []
        kept += [words[number]] if number < len(words) and inside[number] else []
    return kept


def _bare(word: str) -> str:
    """A word without case and punctuation."""
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def _moment(share: float, audio: Audio, pauses: Sequence[tuple[float, float]]) -> float:
    """Seconds after which a share of the speech has been said."""
    left = share * (audio.seconds - sum(end - start for start, end in pauses))
    at = 0.0
    for start, end in pauses:
        if left < start - at:
            break
        left -= start - at
        at = end
    return min(at + left, audio.seconds)


def _quiet(audio: Audio, pauses: Sequence[tuple[float, float]], first: float, last: float) -> float:
    """The best place between two moments to cut: in the longest pause, or where it is quietest."""
    within = [(max(a, first), min(b, last)) for a, b in pauses if a < last and b > first]
    if within:
        start, end = max(within, key=lambda pause: pause[1] - pause[0])
        return (start + end) / 2
    stretch = audio.clip(first, last)
    power = stretch.samples.double().square().numpy()
    size = max(1, round(_QUIET_SECONDS * audio.sample_rate))
    return first + int(np.argmin(uniform_filter1d(power, size))) / audio.sample_rate
