"""What a judge of pairs learns from, and what it is asked: a recording beside a natural one.

An edit is heard against the recording before it. Actors left such pairs: a natural take and an
emotional one by the same person, sometimes of the same sentence. What lies between the two is
mostly the emotion, for the voice, the room and the microphone are in both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.judges.clips import Clip

__all__ = ["NATURAL", "differences", "questions"]

#: The label before an edit.
NATURAL = "natural"

# Pairs of every recording, half of them of the same sentence: an edit keeps its words, but with
# other words there are many more pairs of an actor.
_PAIRS = 4


def differences(
    clips: Sequence[Clip], vectors: Sequence[NDArray[np.float32]]
) -> tuple[list[Clip], list[NDArray[np.float32]]]:
    """Pairs to learn from, as recordings with vectors that are differences.

    Of every recording there are four from natural takes of its speaker, and one from another
    version of itself. That one is natural: a microphone is no emotion.

    Args:
        clips: labelled recordings; those of speakers without two natural takes are left out.
        vectors: ``[N, size]`` of each, one per version; which one is taken is drawn.

    Returns:
        What is to be heard of whom, and the differences ``[P, size]`` of each.
    """
    rng = np.random.default_rng(0)
    takes = _Takes(clips)
    found: list[tuple[Clip, NDArray[np.float32]]] = []
    for number, clip in enumerate(clips):
        own = vectors[number]
        rows = []
        for repeat in range(_PAIRS):
            before = takes.before(number, rng, same_sentence=repeat % 2 == 0)
            if before is not None:
                other = vectors[before]
                rows.append(own[rng.integers(len(own))] - other[rng.integers(len(other))])
        if rows:
            found.append((clip, np.stack(rows)))
            order = rng.permutation(len(own))
            itself = Clip(clip.path, NATURAL, clip.speaker, clip.group)
            found.append((itself, (own[order[0]] - own[order[-1]])[None]))
    return [clip for clip, _ in found], [rows for _, rows in found]


def questions(clips: Sequence[Clip]) -> list[tuple[int, int]]:
    """Pairs to ask a judge about, one for each recording that has a natural take before it.

    Args:
        clips: labelled recordings.

    Returns:
        Numbers of the recording before and of the one to be heard; of the same sentence where the
        speaker has such a take.
    """
    rng = np.random.default_rng(1)
    takes = _Takes(clips)
    pairs = []
    for number in range(len(clips)):
        before = takes.before(number, rng, same_sentence=True)
        if before is not None:
            pairs.append((before, number))
    return pairs


class _Takes:
    """The natural recordings of every speaker."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self._of: dict[str, list[int]] = {}
        for number, clip in enumerate(clips):
            if clip.label == NATURAL:
                self._of.setdefault(clip.speaker, []).append(number)

    def before(self, number: int, rng: np.random.Generator, *, same_sentence: bool) -> int | None:
        """Draw a natural take of the same speaker, of the same sentence if there is one."""
        clip = self.clips[number]
        takes = self._of.get(clip.speaker, [])
        if len(takes) < 2:
            return None
        others = [one for one in takes if one != number]
        alike = [one for one in others if clip.text_id and self.clips[one].text_id == clip.text_id]
        chosen = alike if same_sentence and alike else others
        return chosen[rng.integers(len(chosen))]
