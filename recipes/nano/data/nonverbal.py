"""Stage: non-verbal sounds put between the words of recordings.

A recording gets some of the ten published sounds: made in its speaker's voice, or a breath cut from
a pause, of the same speaker if one is found; at the speaker's level, faded in and out. The labels
of a row say which sound it is, where, from what and under which licence. Where nobody knows when
the words were said, sounds stand at the beginning or the end.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.journal import Journal
from recipes.nano.data.nonverbal_sounds import GESTURES, Voice, perform
from recipes.nano.data.pauses import RATE, breaths, levels, loudness, pauses
from recipes.nano.data.plan import drawn
from recipes.nano.data.splice import FADE, background, joined
from recipes.nano.data.symbols import PHONES, SILENCE, UNKNOWN_PHONE
from recipes.nano.data.words import Word, timed_words
from recipes.nano.data.world import speak, spectral_envelope
from stepaudio.audio import Audio
from stepaudio.evaluation.pitch import AutocorrelationPitch

__all__ = [
    "Cut", "Place", "chosen_place", "human_breaths", "insert", "nonverbal_one", "places",
    "sound_of", "tagged", "with_sound",
]  # fmt: skip

Array = npt.NDArray[np.float32]

#: Quiet on each side of a sound, and the shortest pause taken for one; seconds.
QUIET, PAUSE = (0.05, 0.14), 0.15
#: How often a sound goes to a pause between words, and to either end of a piece; else anywhere.
AT_PAUSE, AT_END = 0.5, 0.25
#: How often a breath is a human one.
HUMAN = 0.7

Runs = list[tuple[int, float]]


@dataclass(frozen=True)
class Place:
    """Where a sound can stand: seconds, and how many words come before."""

    time: float
    words: int
    pause: bool


@dataclass(frozen=True)
class Cut:
    """A human sound: a stretch of a recording of the corpus, in seconds."""

    id: str
    path: str
    start: float
    end: float
    licence: str


def places(words: Sequence[Word], level: Array) -> list[Place]:
    """The beginning, every boundary of two words, and the end of a recording.

    Args:
        words: with their times.
        level: of the recording, from :func:`recipes.nano.data.pauses.levels`.

    Returns:
        One place more than there are words, each at the quietest moment: of the pause that the
        outer phones of both words reach into, else of the boundary.
    """
    found, seconds = pauses(level, PAUSE), len(level) / 100
    out = []
    for number in range(len(words) + 1):
        before = words[number - 1] if number else Word("", 0.0, 0.0, 0.0, 0.0)
        after = words[number] if number < len(words) else Word("", *[seconds] * 4)
        reach = before.last_start, after.first_end
        inside = [
            (max(a, reach[0]), min(b, reach[1]))
            for a, b in found
            if min(b, reach[1]) - max(a, reach[0]) >= PAUSE - 1e-6
        ]
        a, b = max(
            inside, key=lambda p: p[1] - p[0], default=(before.end - 0.03, after.start + 0.03)
        )
        first, last = max(0, round(a * 100)), min(len(level), round(b * 100))
        quietest = first + int(level[first:last].argmin()) if last > first else first
        # The beginning and the end need no pause: nothing is parted there.
        outer = {0: 0.0, len(words): seconds}.get(number)
        time = (quietest + 0.5) / 100 if outer is None else outer
        out.append(Place(time, number, bool(inside) or outer is not None))
    return out


def chosen_place(found: Sequence[Place], rng: random.Random) -> Place:
    """One of the places of a piece; where it has no pause, a boundary of two words instead."""
    inner = found[1:-1]
    draw = rng.random()
    if draw < AT_END or not inner:
        return rng.choice([found[0], found[-1]])
    free = [place for place in inner if place.pause]
    return rng.choice(free if free and draw < AT_END + AT_PAUSE else inner)


def tagged(words: Sequence[str], place: Place, tag: str) -> str:
    """The text with a tag at a place, spaced as the published examples are."""
    return " ".join([*words[: place.words], tag, *words[place.words :]])


def insert(
    samples: Array, sound: Array, at: float, rng: random.Random
) -> tuple[Array, float, float]:
    """Part a recording and put a sound into the gap.

    Args:
        samples: at 16 kHz.
        sound: already at its level.
        at: seconds.
        rng: length of the quiet before and after it.

    Returns:
        The longer recording, and the sound's beginning and end in seconds.
    """
    fade, cut = round(FADE * RATE), int(at * RATE)
    before, after = (int(rng.uniform(*QUIET) * RATE) for _ in range(2))
    sound = sound.copy()
    ramp = np.linspace(0, 1, min(fade, len(sound) // 2), dtype=np.float32)
    sound[: len(ramp)] *= ramp
    sound[len(sound) - len(ramp) :] *= ramp[::-1]
    # The background of the recording goes on beneath the sound.
    gap = background(samples, before + len(sound) + after + 2 * fade, rng)
    start = fade + before
    gap[start : start + len(sound)] += sound
    left = joined(samples[:cut], gap)
    begin = len(left) - len(gap) + start
    return joined(left, samples[cut:]), begin / RATE, (begin + len(sound)) / RATE


def with_sound(phones: Runs, at: float, begin: float, end: float, seconds: float) -> Runs:
    """Runs of phones of a recording with a sound in it; the sound is an unknown phone.

    Args:
        phones: of the recording without it.
        at: where it was parted, seconds.
        begin: of the sound in the longer recording.
        end: of the sound.
        seconds: length of the longer recording.

    Returns:
        Runs that cover it.
    """
    left, right = _part(phones, at)
    after = seconds - end - sum(length for _, length in right)
    middle = [(SILENCE, begin - at), (UNKNOWN_PHONE, end - begin), (SILENCE, after)]
    return [*left, *((p, round(s, 4)) for p, s in middle if s > 0), *right]


def _part(phones: Runs, at: float) -> tuple[Runs, Runs]:
    left: Runs = []
    right: Runs = []
    time = 0.0
    for phone, seconds in phones:
        early = min(max(at - time, 0.0), seconds)
        if early > 1e-6:
            left.append((phone, round(early, 4)))
        if seconds - early > 1e-6:
            right.append((phone, round(seconds - early, 4)))
        time += seconds
    return left, right


def human_breaths(utterances: Sequence[Utterance], journal: Journal) -> dict[str, list[Cut]]:
    """Breaths in the pauses of people's recordings, by speaker.

    Those of all speakers together are under the empty name, for speakers of whom none was found.
    """
    for utterance in track([u for u in utterances if u.id not in journal], "breaths"):
        journal.add(utterance.id, breaths(read_audio(utterance.path, RATE)))
    out: dict[str, list[Cut]] = defaultdict(list)
    for utterance in utterances:
        for a, b in journal.done[utterance.id]:
            cut = Cut(utterance.id, utterance.path, a, b, utterance.licence)
            out[utterance.speaker].append(cut)
            out[""].append(cut)
    return dict(out)


def sound_of(
    tag: str, piece: Array, voice: Voice, cuts: Sequence[Cut], rng: random.Random
) -> tuple[Array, dict[str, Any]]:
    """A sound at the level it has in the recording, and what the manifest says of it."""
    said: dict[str, Any] = {"tag": tag}
    if tag == "[Breathing]" and cuts and rng.random() < HUMAN:
        cut = rng.choice(list(cuts))
        whole = read_audio(cut.path, RATE)
        sound = whole[int(cut.start * RATE) : int(cut.end * RATE)]
        # Another distance to the microphone, but as far below the speech as it was.
        gain = loudness(piece) / (loudness(whole) + 1e-9)
        where = {"from": cut.id, "cut": [cut.start, cut.end], "licence": cut.licence}
        said |= {"made": "human", **where}
    else:
        tracks = perform(GESTURES[tag], voice, rng)
        sound = speak(tracks.f0, np.exp(tracks.envelope / 2), tracks.noise, rng.randrange(2**31))
        wanted = loudness(piece) * 10 ** ((GESTURES[tag].db + rng.gauss(0, 1)) / 20)
        gain = wanted / (loudness(sound) + 1e-9)
        said["made"] = "rule"
    # A recording that clips would be turned down as a whole, words and all.
    gain = min(gain, 0.9 / (float(np.abs(sound).max(initial=0.0)) + 1e-9))
    return (sound * gain).astype(np.float32), said


def nonverbal_one(
    source: Utterance, out: Path, edits: float, human: Mapping[str, list[Cut]], seed: int
) -> list[Utterance]:
    """Put sounds into one recording, each into a row of its own.

    Args:
        source: at most a few seconds long.
        out: folder of the stage.
        edits: sounds on average.
        human: breaths by speaker, from :func:`human_breaths`.
        seed: of everything drawn.

    Returns:
        The rows; none for a recording without voice.
    """
    torch.set_num_threads(1)
    rng = random.Random(zlib.crc32(f"{seed}{source.id}".encode()))
    tags = drawn(GESTURES, edits, rng)
    if not tags:
        return []
    samples, labels = read_audio(source.path, RATE), source.labels or {}
    seconds, phones = len(samples) / RATE, labels.get("phones")
    pitch = AutocorrelationPitch().track(Audio(torch.from_numpy(samples), RATE))
    f0 = np.nan_to_num(pitch).astype(np.float32)
    heard = [(PHONES[phone], length) for phone, length in phones or () if phone >= SILENCE]
    try:
        voice = Voice.heard(f0, spectral_envelope(samples, f0), heard)
    except ValueError:
        return []
    # Words nobody placed are one word: there is no place between them.
    whole = [Word(source.text, 0.0, seconds, 0.0, seconds)]
    words = timed_words(phones, labels["words"]) if phones and "words" in labels else whole
    found, rows = places(words, levels(samples)), []
    cuts = human.get(source.speaker) or human.get("", [])
    for tag in tags:
        place = chosen_place(found, rng)
        sound, said = sound_of(tag, samples, voice, cuts, rng)
        longer, begin, end = insert(samples, sound, place.time, rng)
        name = f"{source.id}-{tag.strip('[]')}"
        path = out / "audio" / f"{name}.flac"
        write_audio(path, longer, RATE)
        if said["made"] == "rule":
            said |= {"from": source.id, "licence": source.licence}
        said |= {
            "start": round(begin, 3),
            "end": round(end, 3),
            "words_before": place.words,
            "db": round(20 * np.log10(loudness(sound) / (loudness(samples) + 1e-9) + 1e-9), 1),
        }
        length = len(longer) / RATE
        times = [[0.0, 0.0], [place.time, begin], [place.time, end], [seconds, length]]
        told = labels | {"sound": said, "times": [[round(t, 4) for t in pair] for pair in times]}
        if phones:
            told["phones"] = with_sound(phones, place.time, begin, end, length)
        rows.append(
            replace(
                source, id=name, path=str(path), labels=told, change=f"paralinguistic:{tag}",
                text=tagged([word.text for word in words], place, tag), source=source.id,
                made="human" if said["made"] == "human" else "rule",
            )
        )  # fmt: skip
    return rows
