"""Is a detector of sounds right in speech: sounds of strangers put into recordings of strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from recipes.judges.clips import Clip
from recipes.judges.event_windows import BELOW_DB
from recipes.judges.sounds import cut_out, insert
from stepaudio.audio import Audio
from stepaudio.evaluation.bootstrap import Interval, mean_interval, pooled_interval
from stepaudio.evaluation.event_judge import HOP_SECONDS, OTHER, Event, EventJudge
from stepaudio.evaluation.mixing import pauses
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.statistics_classifier import (
    StatisticsClassifier,
    StatisticsConfig,
    windows,
)
from stepaudio.evaluation.voice_statistics import course_of
from stepaudio.hub import write_atomic

__all__ = ["NEAR_SECONDS", "Alarms", "Trial", "Scene", "report", "set_scenes", "story", "try_out"]

#: The middle of what is found is at most so far from the middle of what was put there.
NEAR_SECONDS = 0.5

# One of so many sounds that are none of the tags is enough.
_OTHERS = 12


@dataclass(frozen=True)
class Trial:
    """One sound put into one recording.

    Attributes:
        tag: of the sound; "other" for one that is none of the tags.
        speaker: who made the sound.
        found: the same tag was heard at its place.
        any_tag: some tag was heard at its place.
        before: the same tag was heard there before the sound was put there.
    """

    tag: str
    speaker: str
    found: bool
    any_tag: bool
    before: bool


@dataclass(frozen=True)
class Alarms:
    """One recording without any sound put into it.

    Attributes:
        speaker: who reads.
        minutes: length.
        tags: of every event heard.
    """

    speaker: str
    minutes: float
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """A recording to be judged, summed up window by window.

    Attributes:
        host: whose words they are.
        sound: what was put there; None for the recording as it is.
        place: of the pause in the recording as it is, seconds.
        middle: of the sound in the recording with it, seconds.
        middles: of the windows, seconds.
        vectors: ``[N, size]``.
    """

    host: Clip
    sound: Clip | None
    place: float
    middle: float
    middles: NDArray[np.float64]
    vectors: NDArray[np.float32]

    @torch.no_grad()
    def events(self, judge: EventJudge) -> list[Event]:
        """What a judge hears in it."""
        classifier = judge.classifier
        assert isinstance(classifier, StatisticsClassifier)
        likely = classifier(torch.from_numpy(self.vectors)).softmax(-1)
        return judge.gather(torch.from_numpy(self.middles), likely)


def set_scenes(
    sounds: Sequence[Clip],
    hosts: Sequence[Clip],
    config: StatisticsConfig,
    folder: Path,
    *,
    each: int,
    listener: WhisperRecognizer | None,
) -> list[Scene]:
    """Recordings as they are, and with sounds in them.

    Args:
        sounds: labelled with a tag or other.
        hosts: recordings of plain speech.
        config: of the network that shall hear them.
        folder: where what was heard is kept; an interrupted run goes on.
        each: recordings into which each sound with a tag is put, each of another speaker if there
            are as many; of the other sounds every twelfth is put into one.
        listener: as in the config.

    Returns:
        First the recordings as they are.
    """
    rng = np.random.default_rng(0)
    names = sorted({host.speaker for host in hosts})
    jobs: list[tuple[Clip, Clip | None]] = [(host, None) for host in hosts]
    others = [clip for clip in sounds if clip.label == OTHER][::_OTHERS]
    for clip in (*(clip for clip in sounds if clip.label != OTHER), *others):
        for name in rng.permutation(names)[: 1 if clip.label == OTHER else each]:
            own = [host for host in hosts if host.speaker == name]
            jobs.append((own[int(rng.integers(len(own)))], clip))
    return [_scene(*job, config, folder, listener) for job in track(jobs, "inserting")]


def _scene(
    host: Clip,
    sound: Clip | None,
    config: StatisticsConfig,
    folder: Path,
    listener: WhisperRecognizer | None,
) -> Scene:
    names = [Path(clip.path).name if clip else "plain" for clip in (host, sound)]
    key = " ".join(["scene", *names, config.whisper_version, str(config.seconds)])
    digest = hashlib.sha256(key.encode()).hexdigest()
    path = folder / f"{digest[:16]}.npz"
    if not path.exists():
        audio, place, middle = Audio.load(host.path), 0.0, 0.0
        if sound is not None:
            rng = np.random.default_rng(int(digest[:8], 16))
            place = float(rng.choice(pauses(audio)))
            cut = cut_out(Audio.load(sound.path))
            both = insert(audio, cut, place, float(rng.uniform(*BELOW_DB)))
            audio, middle = both.audio, both.middle
        middles, vectors = windows(course_of(audio, listener), config.seconds, HOP_SECONDS)

        def write(part: Path) -> None:
            with part.open("wb") as file:
                found = vectors.astype(np.float32)
                np.savez(file, places=[place, middle], middles=middles, vectors=found)

        write_atomic(path, write, force=True)
    with np.load(path) as kept:
        place, middle = kept["places"].tolist()
        return Scene(host, sound, place, middle, kept["middles"], kept["vectors"])


def try_out(
    judge: EventJudge, scenes: Sequence[Scene], part: set[str]
) -> tuple[list[Trial], list[Alarms]]:
    """Look for sounds.

    Args:
        judge: trained neither on the people of the part nor on those who speak.
        scenes: of :func:`set_scenes`.
        part: whose sounds are looked for.

    Returns:
        What became of each sound of the part; what was heard where nothing was put.
    """
    plain = {one.host.path: one.events(judge) for one in scenes if one.sound is None}
    trials, alarms = [], []
    for scene in scenes:
        host, sound = scene.host, scene.sound
        if sound is None:
            tags = tuple(event.label for event in plain[host.path])
            alarms.append(Alarms(host.speaker, Audio.load(host.path).seconds / 60, tags))
        elif sound.speaker in part:
            there = _near(scene.events(judge), scene.middle)
            before = sound.label in _near(plain[host.path], scene.place)
            found = sound.label in there
            trials.append(Trial(sound.label, sound.speaker, found, bool(there), before))
    return trials, alarms


def report(trials: Sequence[Trial], alarms: Sequence[Alarms]) -> dict[str, Any]:
    """Rates with 95 % intervals.

    Args:
        trials: of :func:`try_out`; people are resampled.
        alarms: one per recording and detector; speakers are resampled.

    Returns:
        For programs.
    """
    asked = [trial for trial in trials if trial.tag != OTHER]
    others = [trial for trial in trials if trial.tag == OTHER]
    tags = sorted({trial.tag for trial in asked})

    def rate(which: Sequence[Trial], what: str) -> dict[str, Any]:
        values = [float(getattr(trial, what)) for trial in which]
        return _plain(mean_interval(values, [trial.speaker for trial in which]))

    def per_minute(wanted: Sequence[str]) -> dict[str, Any]:
        counts = [float(sum(tag in wanted for tag in one.tags)) for one in alarms]
        minutes = [one.minutes for one in alarms]
        return _plain(pooled_interval(counts, minutes, [one.speaker for one in alarms]))

    return {
        "inserted": {
            "within_seconds": NEAR_SECONDS,
            "below_speech_db": list(BELOW_DB),
            "found": rate(asked, "found"),
            "some_tag_found": rate(asked, "any_tag"),
            "heard_there_before": rate(asked, "before"),
            "by_tag": {tag: rate([t for t in asked if t.tag == tag], "found") for tag in tags},
            "other_sounds_taken_for_a_tag": rate(others, "any_tag"),
        },
        "false_alarms_per_minute": {
            "all": per_minute(tags),
            "by_tag": {tag: per_minute([tag]) for tag in tags},
            "minutes": round(sum(one.minutes for one in alarms), 2),
        },
    }


def story(numbers: Mapping[str, Any], hosts: Sequence[str]) -> str:
    """For people.

    Args:
        numbers: of :func:`report`, with ``people`` that each label was learnt from and
            ``tags_without_data``.
        hosts: names of the corpora into which sounds were put.

    Returns:
        Markdown.
    """
    inserted, alarms = numbers["inserted"], numbers["false_alarms_per_minute"]
    low, high = inserted["below_speech_db"]
    before = 100 * inserted["heard_there_before"]["value"]
    others = 100 * (inserted["other_sounds_taken_for_a_tag"]["value"] or 0)
    learnt = ", ".join(f"{tag} {n}" for tag, n in numbers["people"].items())
    lines = [
        f"In speech: sounds of people left out, {low:.0f} to {high:.0f} dB below the words,",
        f"were put into pauses of recordings of {', '.join(hosts)}, which trained no judge. One",
        f"counts as found if its tag is heard within {inserted['within_seconds']} s of its middle.",
        f"The same tag was heard there before in {before:.1f} % of the trials; other sounds put",
        f"there (coughs, cries, noises …) were taken for one of the tags in {others:.0f} %. False",
        "alarms are counted in the recordings as they are, whose readers do breathe.",
        "",
        "| tag | found at its place, % | people | trials | false alarms per minute |",
        "|---" * 5 + "|",
    ]
    for tag, one in {**inserted["by_tag"], "all": inserted["found"]}.items():
        wrong = alarms["all"] if tag == "all" else alarms["by_tag"][tag]
        cells = [tag, _text(one, 100, 0), one["speakers"], one["n"], _text(wrong, 1, 1)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        f"People learnt from: {learnt}. No recording was to be had of",
        f"{', '.join(numbers['tags_without_data'])}: of these the judge says nothing.",
    ]
    return "\n".join(lines)


def _near(events: Sequence[Event], place: float) -> set[str]:
    return {event.label for event in events if abs(event.middle - place) <= NEAR_SECONDS}


def _plain(interval: Interval) -> dict[str, Any]:
    values = asdict(interval)
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in values.items()}


def _text(interval: dict[str, Any], scale: float, digits: int) -> str:
    numbers = [interval[key] for key in ("value", "low", "high")]
    if numbers[0] is None:
        return "–"
    value, *ends = (f"{scale * n:.{digits}f}" if n is not None else "?" for n in numbers)
    return f"{value} ({ends[0]} to {ends[1]})"
