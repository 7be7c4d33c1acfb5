"""Stage: recordings short enough to be edited as a whole.

A recording of at most 8 seconds stays as it is. A longer one is cut at its pauses, with its words,
if the alignment knows where they are; otherwise it is left out here and goes on unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.symbols import SILENCE
from recipes.nano.data.world import RATE

__all__ = ["LONGEST", "Piece", "cut_at_pauses", "pieces_of"]

#: Recordings are cut to pieces of at most this many seconds, at pauses of at least PAUSE seconds;
#: where there is none, one may be up to EXTRA longer. Shorter ones than SHORTEST are left out.
LONGEST, PAUSE, EXTRA, SHORTEST = 8.0, 0.14, 2.0, 1.2

Runs = list[tuple[int, float]]


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording: seconds, its ``(word, phones)`` counts and its runs of phones."""

    start: float
    end: float
    words: list[tuple[str, int]]
    phones: Runs

    @property
    def text(self) -> str:
        """The words as the recording's text spells them."""
        return " ".join(word for word, _ in self.words)


def cut_at_pauses(phones: Runs, words: Sequence[tuple[str, int]]) -> list[Piece]:
    """Pieces of an aligned recording.

    Args:
        phones: runs of ``(phone, seconds)``.
        words: spelling and number of phones of each.

    Returns:
        Pieces in order, each from the middle of a pause to the middle of another.
    """
    # Walk the runs and note, for each pause, how many words were finished before it.
    pieces: list[Piece] = []
    word, left = 0, words[0][1]
    start_time, start_word, time = 0.0, 0, 0.0
    candidates: list[tuple[float, int]] = []
    for phone, seconds in phones:
        if phone == SILENCE:
            if seconds >= PAUSE and left == words[min(word, len(words) - 1)][1]:
                candidates.append((time + seconds / 2, word))
        else:
            left -= 1
            if left == 0:
                word += 1
                left = words[word][1] if word < len(words) else -1
        time += seconds
    candidates.append((time, len(words)))
    while start_word < len(words):
        fitting = [c for c in candidates if c[0] - start_time <= LONGEST and c[1] > start_word]
        later = [c for c in candidates if c[1] > start_word]
        end_time, end_word = fitting[-1] if fitting else later[0]
        if SHORTEST <= end_time - start_time <= LONGEST + EXTRA:
            inside = _clipped(phones, start_time, end_time)
            pieces.append(Piece(start_time, end_time, list(words[start_word:end_word]), inside))
        start_time, start_word = end_time, end_word
    return pieces


def _clipped(runs: Runs, start: float, end: float) -> Runs:
    out, time = [], 0.0
    for phone, seconds in runs:
        overlap = min(end, time + seconds) - max(start, time)
        if overlap > 1e-6:
            out.append((phone, round(overlap, 4)))
        time += seconds
    return out


def pieces_of(utterance: Utterance, out: Path) -> list[Utterance]:
    """What of a recording can be edited.

    Args:
        utterance: with ``phones`` and ``words`` in its labels if they are known.
        out: folder of the stage; pieces that are cut are written there.

    Returns:
        The recording itself, its pieces, or nothing.
    """
    labels = utterance.labels or {}
    seconds = soundfile.info(utterance.path).duration
    if seconds < SHORTEST:
        return []
    if seconds <= LONGEST or (seconds <= LONGEST + EXTRA and "words" not in labels):
        return [utterance]
    if "words" not in labels:
        return []
    phones = [(int(phone), float(length)) for phone, length in labels["phones"]]
    words = [(str(word), int(count)) for word, count in labels["words"]]
    samples, rows = read_audio(utterance.path, RATE), []
    for number, piece in enumerate(cut_at_pauses(phones, words)):
        key = f"{utterance.id}.{number}"
        path = out / "audio" / f"{key}.flac"
        write_audio(path, samples[int(piece.start * RATE) : int(piece.end * RATE)], RATE)
        placed = {"phones": piece.phones, "words": piece.words}
        rows.append(replace(utterance, id=key, path=str(path), text=piece.text, labels=placed))
    return rows
