"""Windows of sounds in speech, summed up as a detector hears them, with their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from recipes.judges.clips import Clip
from recipes.judges.sounds import cut_out, insert
from recipes.judges.train_statistics import vary
from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.evaluation.event_judge import HOP_SECONDS, OTHER
from stepaudio.evaluation.mixing import pauses
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.statistics_classifier import StatisticsConfig, windows
from stepaudio.evaluation.voice_statistics import course_of
from stepaudio.hub import write_atomic

__all__ = ["BELOW_DB", "Heard", "listen"]

#: A sound is that much quieter than the words around it, in training and in the test.
BELOW_DB = (0.0, 10.0)

# Of the windows in which nothing happens every third is enough.
_THIN = 3
# A window is one of the sound if the sound fills half of it or is nearly all within, and one of the
# words if it has hardly any of the sound; what is between is neither.
_FILLED, _WITHIN, _HARDLY = 0.5, 0.9, 0.1


@dataclass(frozen=True)
class Heard:
    """Windows of one recording that have one label.

    Attributes:
        clip: what it is and whose voice.
        vectors: ``[N, size]``.
        whole: the recording as it is, rather than with others.
    """

    clip: Clip
    vectors: NDArray[np.float32]
    whole: bool


@dataclass(frozen=True)
class _Job:
    clip: Clip
    host: Clip | None
    number: int


def listen(
    sounds: Sequence[Clip],
    speech: Sequence[Clip],
    parts: Sequence[set[str]],
    config: StatisticsConfig,
    folder: Path,
    *,
    variants: int,
    listener: WhisperRecognizer | None,
) -> list[Heard]:
    """Every recording by itself, and every sound in speech of people of the same part.

    Args:
        sounds: labelled with a tag or other.
        speech: without any of the sounds.
        parts: the people of each fold; a sound is only put into speech of its own fold.
        config: of the network that shall hear it.
        folder: where what was heard is kept; an interrupted run goes on.
        variants: recordings into which each sound with a tag is put, every second of them varied
            in tilt, bandwidth and noise; other sounds are put into one.
        listener: as in the config.

    Returns:
        Labelled windows.
    """
    jobs = list(_jobs(sounds, speech, parts, variants))
    return [
        heard
        for job in track(jobs, "listening")
        for heard in _hear(job, config, folder, listener)
        if len(heard.vectors)
    ]


def _jobs(
    sounds: Sequence[Clip], speech: Sequence[Clip], parts: Sequence[set[str]], variants: int
) -> Iterator[_Job]:
    rng = np.random.default_rng(0)
    for clip in (*sounds, *speech):
        yield _Job(clip, None, 0)
    for clip in sounds:
        part = next(part for part in parts if clip.speaker in part)
        hosts = [host for host in speech if host.speaker in part]
        if not hosts:
            raise ValueError(f"nobody speaks in the fold of {clip.speaker}; use fewer folds")
        for number in range(1 if clip.label == OTHER else variants):
            yield _Job(clip, hosts[int(rng.integers(len(hosts)))], number)


def _hear(
    job: _Job, config: StatisticsConfig, folder: Path, listener: WhisperRecognizer | None
) -> list[Heard]:
    key = " ".join([
        Path(job.clip.path).name, Path(job.host.path).name if job.host else "alone",
        str(job.number), config.whisper_version, str(config.seconds),
    ])  # fmt: skip
    digest = hashlib.sha256(key.encode()).hexdigest()
    path = folder / f"{digest[:16]}.npz"
    if not path.exists():
        rng = np.random.default_rng(int(digest[:8], 16))
        of_sound, of_speech = _windows(job, config, listener, rng)

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(file, sound=of_sound, speech=of_speech)

        write_atomic(path, write, force=True)
    with np.load(path) as kept:
        found = [Heard(job.clip, kept["sound"], job.host is None)]
        if job.host is not None:
            found.append(Heard(job.host, kept["speech"], False))
    return found


def _windows(
    job: _Job,
    config: StatisticsConfig,
    listener: WhisperRecognizer | None,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    audio, none = Audio.load(job.clip.path), np.zeros((0, config.size), np.float32)
    if job.host is None:
        speech = not job.clip.group.partition("/")[2].partition(":")[2]
        hop = HOP_SECONDS * _THIN if speech else HOP_SECONDS
        try:
            course = course_of(audio if speech else cut_out(audio), listener)
        except AudioError:  # a click is too short by itself
            return none, none
        return windows(course, config.seconds, hop)[1].astype(np.float32), none
    host = Audio.load(job.host.path)
    places = pauses(host)
    place = places[int(rng.integers(len(places)))]
    both = insert(host, cut_out(audio), place, float(rng.uniform(*BELOW_DB)))
    heard = vary(both.audio, rng) if job.number % 2 else both.audio
    middles, vectors = windows(course_of(heard, listener), config.seconds, HOP_SECONDS)
    half, length = config.seconds / 2, both.end - both.start
    shared = np.minimum(middles + half, both.end) - np.maximum(middles - half, both.start)
    inside = (shared >= _FILLED * config.seconds) | (shared >= _WITHIN * length)
    outside = np.flatnonzero(shared <= _HARDLY * config.seconds)[::_THIN]
    return vectors[inside].astype(np.float32), vectors[outside].astype(np.float32)
