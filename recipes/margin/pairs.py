"""Pairs of rated recordings: what listeners would say of the difference, and how it was heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from recipes.nano.data.journal import Journal
from stepaudio.audio import Audio
from stepaudio.data.manifest import Utterance
from stepaudio.data.margin import voice_vector

__all__ = ["LABELS", "RatedPairs", "listen", "pairs_of", "share"]

#: What the corpus calls the emotion -> what the editor calls it. Boredom is no edit: it only stands
#: for what other emotions are not.
LABELS = {
    "happy": "emotion:happy",
    "sad": "emotion:sad",
    "angry": "emotion:angry",
    "fear": "emotion:fear",
    "disgust": "emotion:disgusted",
    "neutral": "emotion:remove",
}


@dataclass(frozen=True)
class RatedPairs:
    """Ordered pairs of one speaker.

    Attributes:
        before: ``[N]`` rows of the first recordings.
        after: ``[N]`` rows of the second ones.
        targets: ``[N, L]`` share of listeners by which each label gains, 0 to 1.
        same_text: ``[N]`` bool, both have the same words.
        speakers: ``[N]``.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    targets: NDArray[np.float64]
    same_text: NDArray[np.bool_]
    speakers: NDArray[np.str_]


def share(row: Utterance, emotion: str) -> float:
    """Share of the listeners who heard an emotion.

    Only the share that heard the acted one was published; of the others nothing is known but that
    they are few, and they are taken as none.

    Args:
        row: with ``emotion`` and ``ratings["recognised_pct"]``.
        emotion: as the corpus calls it.

    Returns:
        0 to 1.
    """
    assert row.ratings is not None
    return row.ratings["recognised_pct"] / 100 if row.emotion == emotion else 0.0


def pairs_of(rows: Sequence[Utterance]) -> RatedPairs:
    """All ordered pairs of recordings of one speaker.

    Args:
        rows: rated recordings.

    Returns:
        The pairs; a label that listeners would hear less of has the target 0.
    """
    shares = np.array([[share(row, emotion) for emotion in LABELS] for row in rows])
    found = [
        (a, b) for a, b in permutations(range(len(rows)), 2) if rows[a].speaker == rows[b].speaker
    ]
    before, after = np.array(found).T
    return RatedPairs(
        before,
        after,
        np.maximum(0.0, shares[after] - shares[before]),
        np.array([rows[a].text_id == rows[b].text_id for a, b in found]),
        np.array([rows[a].speaker for a, _ in found]),
    )


def listen(rows: Sequence[Utterance], journal: str | Path) -> NDArray[np.float64]:
    """Voice vectors of all recordings; what was heard before is not heard again.

    Args:
        rows: the recordings.
        journal: file of what was heard.

    Returns:
        ``[N, F]``.
    """
    heard = Journal(journal)
    for row in track(rows, "listening"):
        if row.id not in heard:
            heard.add(row.id, [round(float(x), 6) for x in voice_vector(Audio.load(row.path))])
    return np.array([heard.done[row.id] for row in rows])
