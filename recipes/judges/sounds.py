"""Sounds of the voice for a detector: which tag they are, and how they are put into speech."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.judges.clips import Clip
from stepaudio.audio import Audio
from stepaudio.evaluation.event_judge import OTHER
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, loud_frames, signal
from stepaudio.evaluation.mixing import as_audio, loudness

__all__ = ["TAGS", "Inserted", "cut_out", "insert", "read_sounds"]

#: What manifests call a sound, to the tag of the benchmark that asks for it. Panting is breathing
#: at its plainest; there is nothing nearer.
TAGS = {
    "nonverbal:laughing": "[Laughter]",
    "nonverbal:laugh": "[Laughter]",
    "nonverbal:sighing": "[Sigh]",
    "nonverbal:panting": "[Breathing]",
}
#: A lone "hmm" may ask, agree or complain: it is neither one of the tags nor none of them.
_UNCLEAR = ("nonverbal:hmm",)
_SOUNDS = ("nonverbal:", "noise:")

# A sound is cut to what is within so many dB of its loudest, and to its strongest 1.6 s.
_WITHIN_DB, _LONGEST, _SHORTEST = 25.0, 1.6, 0.3
_FADE = 0.02


@dataclass(frozen=True)
class Inserted:
    """Speech with a sound in it.

    Attributes:
        audio: 16 kHz.
        start: of the sound, seconds.
        end: of the sound, seconds.
    """

    audio: Audio
    start: float
    end: float

    @property
    def middle(self) -> float:
        """Seconds."""
        return (self.start + self.end) / 2


def read_sounds(manifest: str | Path, sets: Iterable[str]) -> list[Clip]:
    """Read the sounds of a manifest.

    Args:
        manifest: JSONL with ``path, set, emotion`` (such as ``nonverbal:sighing`` or
            ``noise:rain``) and ``speaker``, or for noises ``author``; paths are relative to it.
        sets: corpora to use.

    Returns:
        Clips labelled with a tag or :data:`~stepaudio.evaluation.event_judge.OTHER`; their group
        is corpus and kind of sound.

    Raises:
        ValueError: no tag is left.
    """
    manifest, wanted, clips = Path(manifest), set(sets), []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kind, corpus = row.get("emotion") or "", row.get("set") or ""
        who = row.get("speaker") or row.get("author")
        if corpus not in wanted or not kind.startswith(_SOUNDS) or kind in _UNCLEAR or not who:
            continue
        path = str((manifest.parent / row["path"]).resolve())
        clips.append(Clip(path, TAGS.get(kind, OTHER), who, f"{corpus}/{kind}"))
    if all(clip.label == OTHER for clip in clips):
        raise ValueError(f"{manifest}: no sound of {sorted(wanted)} is one of {sorted(TAGS)}")
    return clips


def cut_out(audio: Audio) -> Audio:
    """What is to be heard of a recording of one sound.

    Args:
        audio: of any rate; pauses around the sound do no harm.

    Returns:
        Its strongest stretch of 0.3 to 1.6 s, at 16 kHz; a shorter recording as it is.
    """
    samples = signal(audio)
    levels = frame_levels(samples)
    loud = np.flatnonzero(loud_frames(levels, within=_WITHIN_DB))
    first, end = (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(levels))
    longest, shortest = round(_LONGEST * RATE / HOP), round(_SHORTEST * RATE / HOP)
    if end - first > longest:
        power = np.convolve(10 ** (levels[first:end] / 10), np.ones(longest), "valid")
        first += int(power.argmax())
        end = first + longest
    end = max(end, first + shortest)
    return as_audio(samples[first * HOP : end * HOP])


def insert(speech: Audio, sound: Audio, place: float, below: float) -> Inserted:
    """Put a sound between two words.

    Args:
        speech: of any rate.
        sound: 16 kHz, see :func:`cut_out`.
        place: seconds.
        below: dB by which the sound's loud frames are quieter than the speech's.

    Returns:
        Both, with cross-fades of 20 ms at the joins.
    """
    host, guest = signal(speech), signal(sound)
    guest = guest * 10 ** ((loudness(host) - loudness(guest) - below) / 20)
    cut, fade = round(place * RATE), round(_FADE * RATE)
    fade = max(1, min(fade, cut, len(host) - cut, len(guest) // 2))
    rise = np.linspace(0, 1, fade)
    left, right = host[:cut].copy(), host[cut:].copy()
    guest[:fade] = guest[:fade] * rise + left[-fade:] * (1 - rise)
    guest[-fade:] = guest[-fade:] * rise[::-1] + right[:fade] * rise
    whole = np.concatenate([left[:-fade], guest, right[fade:]])
    start = (cut - fade) / RATE
    return Inserted(as_audio(whole), start, start + len(guest) / RATE)
