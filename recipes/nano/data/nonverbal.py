"""Beside stage 4: non-verbal sounds put between the words of real and synthetic recordings.

Each piece of a recording gets some of the ten published sounds: made in its speaker's voice, or a
breath cut from a pause, of the same speaker if one is found; at the speaker's level, faded in and
out. The untouched piece is the other half of the pair. The labels of a row say which sound it is,
where, from what and under which licence.

    python -m recipes.nano.data.nonverbal --licences CORPUS -o runs/nano/nonverbal \
        --aligned runs/nano/aligned/manifest.jsonl runs/nano/synthetic/manifest.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from recipes.nano.data.corpus import Utterance, read_audio, read_manifest, write_audio, write_manifest
from recipes.nano.data.journal import Journal
from recipes.nano.data.nonverbal_sounds import GESTURES, Voice, perform
from recipes.nano.data.pauses import RATE, breaths, levels, loudness, pauses

__all__ = ["Cut", "Place", "Word", "chosen_place", "insert", "places", "tagged", "timed_words"]

Array = npt.NDArray[np.float32]

#: As in the phone inventory and the features, which need a speech engine to import.
SILENCE, UNKNOWN_PHONE = 0, -1
#: Cross-fade, quiet on each side of a sound, and the shortest pause taken for one; seconds.
FADE, QUIET, PAUSE = 0.01, (0.05, 0.14), 0.15
#: Alignments of a lower score do not say where the words are.
WORST_SCORE = -0.1
#: How often a sound goes to a pause between words, and to either end of a piece; else anywhere.
AT_PAUSE, AT_END = 0.5, 0.25
#: How often a breath is a human one.
HUMAN = 0.7
#: Of recordings that no corpus has.
SYNTHETIC = "Apache-2.0 (hibari-tts)"

Runs = list[tuple[int, float]]


@dataclass(frozen=True)
class Word:
    """A word in time: seconds, with the end of its first phone and the start of its last."""

    text: str
    start: float
    end: float
    first_end: float
    last_start: float


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


def timed_words(phones: Runs, words: Sequence[tuple[str, int]]) -> list[Word]:
    """Words in time, from runs of phones and each word's number of phones."""
    out: list[Word] = []
    time, inside = 0.0, list[tuple[float, float]]()
    for phone, seconds in phones:
        if phone != SILENCE and len(out) < len(words):
            text, count = words[len(out)]
            inside.append((time, time + seconds))
            if len(inside) == count:
                first, last = inside[0], inside[-1]
                out.append(Word(text, first[0], last[1], first[1], last[0]))
                inside = []
        time += seconds
    return out


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
    samples: Array, phones: Runs, sound: Array, at: float, rng: random.Random
) -> tuple[Array, Runs, float, float]:
    """Part a recording and put a sound into the gap.

    Args:
        samples: at 16 kHz.
        phones: runs of the recording.
        sound: already at its level.
        at: seconds.
        rng: length of the quiet before and after it.

    Returns:
        The longer recording, its runs (the sound is an unknown phone), and the sound's beginning
        and end in seconds.
    """
    fade, cut = int(FADE * RATE), int(at * RATE)
    before, after = (int(rng.uniform(*QUIET) * RATE) for _ in range(2))
    sound = sound.copy()
    ramp = np.linspace(0, 1, min(fade, len(sound) // 2), dtype=np.float32)
    sound[: len(ramp)] *= ramp
    sound[len(sound) - len(ramp) :] *= ramp[::-1]
    # The background of the recording goes on beneath the sound.
    floor = float(np.percentile(np.abs(samples), 5)) if len(samples) else 0.0
    noise = np.random.default_rng(rng.randrange(2**31))
    gap = noise.standard_normal(before + len(sound) + after + 2 * fade).astype(np.float32) * floor
    start = fade + before
    gap[start : start + len(sound)] += sound
    out = _joined(_joined(samples[:cut], gap, fade), samples[cut:], fade)
    begin = len(_joined(samples[:cut], gap, fade)) - len(gap) + start
    length = (len(out) - len(samples)) / RATE
    left, right = _part(phones, at)
    quiet = [(begin / RATE - at), length - (begin + len(sound)) / RATE + at]
    middle = [(SILENCE, quiet[0]), (UNKNOWN_PHONE, len(sound) / RATE), (SILENCE, quiet[1])]
    runs = [*left, *((p, round(s, 4)) for p, s in middle if s > 0), *right]
    return out, runs, begin / RATE, (begin + len(sound)) / RATE


def _joined(a: Array, b: Array, fade: int) -> Array:
    fade = min(fade, len(a), len(b))
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    overlap = a[len(a) - fade :] * (1 - ramp) + b[:fade] * ramp
    return np.concatenate([a[: len(a) - fade], overlap, b[fade:]])


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


def with_words(utterance: Utterance) -> Utterance | None:
    """A recording whose labels say how many phones each word has; None if they do not fit.

    Synthetic speech has exact phones and no words; a front end that spells a word otherwise than
    the text does leaves no word to put a tag before, a poor alignment no time.
    """
    from recipes.nano.data.phones import phone_words

    labels = dict(utterance.labels or {})
    if "words" not in labels:
        labels["words"] = [[word, len(phones)] for word, phones in phone_words(utterance.text)]
    spoken = sum(1 for phone, _ in labels.get("phones", []) if phone != SILENCE)
    spelled = set(utterance.text.lower().split())
    fits = spoken == sum(n for _, n in labels["words"]) > 0
    fits = fits and labels.get("score", 0.0) >= WORST_SCORE
    if not fits or not all(word.lower() in spelled for word, _ in labels["words"]):
        return None
    return replace(utterance, labels=labels)


def human_breaths(
    utterances: Sequence[Utterance], licences: Mapping[str, str], journal: Journal
) -> dict[str, list[Cut]]:
    """Breaths in the pauses of the recordings whose licence is known, by speaker.

    Those of all speakers together are under the empty name, for speakers of whom none was found.
    """
    wanted = [u for u in utterances if u.id in licences]
    for utterance in track([u for u in wanted if u.id not in journal], "breaths"):
        journal.add(utterance.id, breaths(read_audio(utterance.path, RATE)))
    out: dict[str, list[Cut]] = defaultdict(list)
    for utterance in wanted:
        for a, b in journal.done[utterance.id]:
            cut = Cut(utterance.id, utterance.path, a, b, licences[utterance.id])
            out[utterance.speaker].append(cut)
            out[""].append(cut)
    return dict(out)


def sound_of(
    tag: str, piece: Array, voice: Voice, cuts: Sequence[Cut], rng: random.Random
) -> tuple[Array, dict[str, Any]]:
    """A sound at the level it has in the recording, and what the manifest says of it."""
    from recipes.nano.data.transform import speak

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
    utterance: Utterance,
    out: Path,
    edits: int,
    human: Mapping[str, list[Cut]],
    licences: Mapping[str, str],
    seed: int,
) -> list[Utterance]:
    """Cut one recording at pauses and put ``edits`` sounds into every piece, one at a time."""
    import torch

    from recipes.nano.data.phones import PHONES
    from recipes.nano.data.transform import Analysed, cut_at_pauses

    torch.set_num_threads(1)
    rng = random.Random(zlib.crc32(f"{seed}{utterance.id}".encode()))
    assert utterance.labels is not None
    samples = read_audio(utterance.path, RATE)
    cuts = human.get(utterance.speaker) or human.get("", [])
    timed = timed_words(utterance.labels["phones"], utterance.labels["words"])
    rows = []
    for number, (start, end, _, phones) in enumerate(cut_at_pauses(utterance)):
        piece = samples[int(start * RATE) : int(end * RATE)]
        inside = [
            Word(w.text, *(t - start for t in (w.start, w.end, w.first_end, w.last_start)))
            for w in timed
            if start - 0.01 <= w.start and w.end <= end + 0.01
        ]
        analysed = Analysed(piece)
        envelope = np.log(analysed.envelope + 1e-12).astype(np.float32)
        try:
            voice = Voice.heard(analysed.f0, envelope, [(PHONES[p], s) for p, s in phones])
        except ValueError:
            continue
        words = [word.text for word in inside]
        key = f"{utterance.id}.{number}"
        source = Utterance(
            key, str(out / "audio" / f"{key}.flac"), utterance.speaker, " ".join(words),
            utterance.lang, {"phones": phones},
        )  # fmt: skip
        write_audio(source.path, piece, RATE)
        rows.append(source)
        found = places(inside, levels(piece))
        for tag in rng.sample(sorted(GESTURES), edits):
            place = chosen_place(found, rng)
            sound, said = sound_of(tag, piece, voice, cuts, rng)
            changed, runs, begin, stop = insert(piece, phones, sound, place.time, rng)
            name = f"{key}-{tag.strip('[]')}"
            path = out / "audio" / f"{name}.flac"
            write_audio(path, changed, RATE)
            if said["made"] == "rule":
                said |= {"from": utterance.id, "licence": licences.get(utterance.id, SYNTHETIC)}
            said |= {
                "start": round(begin, 3),
                "end": round(stop, 3),
                "words_before": place.words,
                "db": round(20 * np.log10(loudness(sound) / (loudness(piece) + 1e-9) + 1e-9), 1),
            }
            rows.append(
                replace(
                    source, id=name, path=str(path), text=tagged(words, place, tag),
                    labels={"phones": runs, "sound": said},
                    change=f"paralinguistic:{tag}", source=key,
                )
            )  # fmt: skip
    return rows


def main() -> None:
    """Put sounds into every recording of some manifests with phone times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aligned", nargs="+", required=True, help="manifests with phone times")
    parser.add_argument("--licences", required=True, help="corpus manifest naming licences")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--sets", nargs="*", default=[], help="only ids starting with one of these")
    parser.add_argument("--count", type=int, default=0, help="recordings, at random; 0: all")
    parser.add_argument("--edits", type=int, default=3, help="sounds per piece, each in a row")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out = Path(args.out)
    # Changed recordings are left out: their phones are another speaker's times.
    everything = [u for m in args.aligned for u in read_manifest(m) if u.change == "none"]
    if args.sets:
        everything = [u for u in everything if u.id.startswith(tuple(args.sets))]
    random.Random(args.seed).shuffle(everything)
    chosen = everything[: args.count] if args.count else everything
    licences = _licences(Path(args.licences))
    chosen = [u for u in chosen if u.id in licences or u.id.startswith("syn")]
    utterances = [u for u in map(with_words, chosen) if u is not None]
    human = human_breaths(everything, licences, Journal(out / "breaths.jsonl"))
    journal = Journal(out / "rows.jsonl")
    left = [u for u in utterances if u.id not in journal]
    work = partial(
        nonverbal_one, out=out, edits=args.edits, human=human, licences=licences, seed=args.seed
    )
    with ProcessPoolExecutor(args.workers) as pool:
        made = pool.map(work, left)
        for utterance, rows in track(zip(left, made, strict=True), "nonverbal", len(left)):
            journal.add(utterance.id, [asdict(row) for row in rows])
    done = [Utterance(**row) for u in utterances for row in journal.done[u.id]]
    write_manifest(out / "manifest.jsonl", done)
    count = sum(1 for row in done if row.source)
    real = sum(1 for r in done if ((r.labels or {}).get("sound") or {}).get("made") == "human")
    print(json.dumps({"recordings": len(utterances), "sounds": count, "human": real}))


def _licences(corpus: Path) -> dict[str, str]:
    rows = map(json.loads, corpus.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["licence"] for row in rows if row.get("train_ok")}


if __name__ == "__main__":
    main()
