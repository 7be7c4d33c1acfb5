"""Where in a recording a sound is put in, told from the text alone.

A laugh between two words changes nothing a few seconds away from it. So a small model writes only
the stretch around it anew, and the rest stays as it was recorded. Nobody knows when the words are
said: speech is taken to be as long as its letters, pauses left out, and the stretch ends where it
is quiet. Not part of the published system, which writes everything anew.
"""

from __future__ import annotations

import re
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
        text: the words spoken in it.
        tagged: the same with the tags.
    """

    span: tuple[float, float]
    text: str
    tagged: str


def sound_stretch(audio: Audio, text: str, tagged: str) -> SoundStretch | None:
    """Find the stretch around all sounds.

    Args:
        audio: the recording.
        text: the words spoken in it; tags of sounds that are there already are ignored.
        tagged: the same words, but for case and punctuation, with the tags of the sounds to be put
            in.

    Returns:
        The stretch; None where little more would be left out than pauses, where both texts have
        other words, and where nothing is to be heard.
    """
    words, between = split_words(_TAG.sub(" ", text))
    parts = [
        (_TAG.fullmatch(part) is not None, part) for part in _TAG.split(tagged) if part.strip()
    ]
    items: list[tuple[bool, str]] = []
    for is_tag, part in parts:
        # An unspaced text is one character after the other.
        pieces = [part] if is_tag else part.split() if between else list("".join(part.split()))
        items += [(is_tag, piece) for piece in pieces]
    said = [piece for is_tag, piece in items if not is_tag]
    if not words or [_bare(word) for word in said] != [_bare(word) for word in words]:
        return None
    letters = [0, *accumulate(len(word) for word in words)]
    pauses = find_pauses(audio)
    tags, middles, seen = [], [], 0
    for is_tag, piece in items:
        if is_tag:
            tags.append(_moment(letters[seen] / letters[-1], audio, pauses))
        else:
            middles.append(_moment((letters[seen] + len(piece) / 2) / letters[-1], audio, pauses))
            seen += 1
    first, last, start, end = min(tags), max(tags), 0.0, audio.seconds
    # What would be left beside the stretch should be worth leaving out.
    if first - FAR > NEAR:
        start = _quiet(audio, pauses, first - FAR, first - NEAR)
    if last + FAR < end - NEAR:
        end = _quiet(audio, pauses, last + NEAR, last + FAR)
    inside = [start < middle < end for middle in middles]
    if end - start > audio.seconds - NEAR or not any(inside):
        return None
    try:
        audio.clip(start, end).require_sound()
    except AudioError:
        return None
    kept, seen = [], 0
    for is_tag, piece in items:
        if is_tag or inside[seen]:
            kept.append(piece)
        seen += not is_tag
    return SoundStretch(
        (start, end),
        between.join(word for word, stays in zip(words, inside, strict=True) if stays),
        between.join(kept),
    )


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
