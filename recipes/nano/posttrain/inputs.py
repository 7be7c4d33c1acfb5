"""Recordings that policies are heard on: people no part of the model was ever trained on.

Far edits begin from a recording that already has an emotion. No free corpus has acted speech of
people whom neither the model nor the judge knows, so the emotion is put in by rule
(:mod:`recipes.nano.data.voice_change`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import soundfile
import torch

from recipes.nano.data.corpus import read_audio
from recipes.nano.data.voice_change import CHANGES
from recipes.nano.data.world import RATE, Analysed
from recipes.nano.lm_pairs import sentence
from recipes.nano.posttrain.plan import EMOTIONS, FAR, STYLES
from stepaudio.audio import Audio
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.recordings import Recording, read_recordings, rows_of_recordings
from stepaudio.evaluation.selection import Selection, select

__all__ = ["SETS", "emotion_rows", "policy_rows", "usable"]

#: Sets of the manifest that are read English speech.
SETS = ("librispeech", "speechocean762")
# Long ones cost time and were never trained on, short ones have no words to lose.
_SHORTEST, _LONGEST = 2.0, 5.0


def usable(manifest: str | Path, sets: Sequence[str] = SETS) -> list[Recording]:
    """Short recordings with words.

    Args:
        manifest: as for ``stepaudio eval card``.
        sets: of its rows.

    Returns:
        The recordings, their words written as in training.

    Raises:
        ValueError: there are none.
    """
    found = [
        replace(one, text=sentence(one.text))
        for one in read_recordings(manifest)
        if one.set in sets
        and one.text
        and _SHORTEST <= soundfile.info(one.path).duration <= _LONGEST
    ]
    if not found:
        raise ValueError(
            f"{manifest} has no recordings of {_SHORTEST:g} to {_LONGEST:g} s with words in the "
            f"sets {', '.join(sets)}"
        )
    return found


def emotion_rows(recordings: Sequence[Recording], clips: int) -> list[Row]:
    """The rows of the margin experiment.

    Args:
        recordings: from :func:`usable`.
        clips: of each emotion.

    Returns:
        Spread evenly over speakers.
    """
    rows = rows_of_recordings(recordings, [("emotion", label) for label in EMOTIONS])
    return select(rows, Selection(limit=clips, seed=1))


def policy_rows(recordings: Sequence[Recording], clips: int, folder: Path) -> list[Row]:
    """The rows that every policy edits three times.

    Args:
        recordings: from :func:`usable`.
        clips: of each label; far edits have twice as many of each.
        folder: for the recordings that are changed by rule; those that are there are kept.

    Returns:
        Near edits and far ones, told apart by their ``set``.
    """
    edits = [("emotion", label) for label in EMOTIONS] + [("style", label) for label in STYLES]
    near = select(rows_of_recordings(recordings, edits), Selection(limit=clips))
    rows = [replace(row, set="near") for row in near]
    for change, task, label in FAR:
        wanted = select(
            rows_of_recordings(recordings, [(task, label)]), Selection(limit=2 * clips, seed=2)
        )
        for row in wanted:
            assert row.recording is not None
            name = change.partition(":")[2]
            rows.append(
                replace(
                    row,
                    id=f"{row.id}-from-{name}",
                    recording=_changed(row.recording, change, folder / f"{row.id}-{name}.flac"),
                    set="far",
                )
            )
    return rows


def _changed(recording: Path, change: str, path: Path) -> Path:
    if not path.exists():
        wave = Analysed(read_audio(recording, RATE)).render(CHANGES[change])
        Audio(torch.from_numpy(wave).clamp(-1, 1), RATE).save(path)
    return path
