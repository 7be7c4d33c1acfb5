"""Stage: what the detector hears in the sounds of the test, as they are and after codecs.

Everything that is heard is noted at once, so a stopped trial goes on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from benchmarks.distortions import DISTORTIONS, RATE
from recipes.nano.data.corpus import Utterance, read_audio
from recipes.nano.data.journal import Journal
from recipes.trust.detector.bank import family
from stepaudio.audio import Audio
from stepaudio.data import read_manifest
from stepaudio.safety.detector import SyntheticSpeechDetector
from stepaudio.safety.detector_network import SAMPLE_RATE, DetectorNetwork, band_powers
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER

__all__ = ["CONDITIONS", "hear_all", "hear_marks", "hear_others", "hear_splices"]

Row = dict[str, Any]

#: Of :data:`benchmarks.distortions.DISTORTIONS`.
CONDITIONS = ("nothing", "Opus 16 kbit/s", "MP3 64 kbit/s", "telephone, 8 kHz")
#: Outputs of the embedded model in which watermark and detector are compared.
_MARKED = 24
_PAYLOAD = 0x5EED
#: Every so many is heard of the recordings that were never coded, and of what is no words.
_EVERY = 15
_NO_WORDS = {"esc10": 1, "deeply_nonverbal": 5}
#: Splices: seconds of the copy within the recording, and its fades.
_SPLICES, _PART, _FADE = 60, 1.2, 0.01


def _seeded(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _sent(path: str, condition: str) -> Audio:
    """A sound after what happened to it."""
    samples = read_audio(path, RATE).astype(np.float64)
    sent = DISTORTIONS[condition](samples, _seeded(path))
    return Audio(torch.from_numpy(sent.astype(np.float32)), RATE)


def _opinion(detector: SyntheticSpeechDetector, sound: Audio) -> Row:
    verdict = detector.detect(sound)
    bands = band_powers(sound.resample(SAMPLE_RATE).samples, detector.network.config.bands)
    heard = detector.hear(bands)
    return {
        "label": verdict.label,
        "reason": verdict.reason,
        "probability": verdict.probability,
        "spans": verdict.spans,
        "score": heard.score,
        "distance": heard.distance,
    }


def _noted(
    journal: Journal, items: Mapping[str, Any], work: Callable[[Any], Row], title: str
) -> list[Row]:
    for key in track([key for key in items if key not in journal], title):
        journal.add(key, work(items[key]))
    return [journal.done[key] for key in items]


def hear_all(
    detector: SyntheticSpeechDetector,
    without: Mapping[str, DetectorNetwork],
    manifest: Path,
    journal: Journal,
) -> list[Row]:
    """All sounds of the test under all conditions.

    Args:
        detector: of the recipe.
        without: networks that have not heard one family of generators each.
        manifest: of the test; every second sound is sent through the codecs.
        journal: keeps what was heard.

    Returns:
        A row for each sound and condition, with scores of the networks that have not heard what
        made it.
    """
    rows = read_manifest(manifest)
    items = {
        f"{condition} {row.id}": (condition, row)
        for condition in CONDITIONS
        for place, row in enumerate(rows)
        if condition == CONDITIONS[0] or place % 2 == 0
    }

    def work(item: tuple[str, Utterance]) -> Row:
        condition, row = item
        sound = _sent(row.path, condition)
        found: Row = {"id": row.id, "set": row.set, "speaker": row.speaker, "engine": row.engine}
        found |= {"gender": row.gender, "family": family(row), "condition": condition}
        found |= _opinion(detector, sound)
        if condition == CONDITIONS[0]:
            bands = band_powers(sound.resample(SAMPLE_RATE).samples, detector.network.config.bands)
            found["unheard"] = {
                name: SyntheticSpeechDetector(network).hear(bands).score
                for name, network in without.items()
                if family(row) in ("real", name)
            }
        return found

    return _noted(journal, items, work, "test")


def hear_others(
    detector: SyntheticSpeechDetector, manifest: Path, uncoded: Path | None, journal: Journal
) -> list[Row]:
    """What is no speech at all, and recordings of people that were never coded.

    Args:
        detector: of the recipe.
        manifest: has noises, and sounds of people that are no words.
        uncoded: folder of WAV files of a person who speaks; None leaves them out.
        journal: keeps what was heard.

    Returns:
        A row for each.
    """
    rows = [row for row in read_manifest(manifest) if (row.seconds or 0) >= 1]
    items = {
        f"other {row.id}": (what, Audio.load(row.path))
        for what, every in _NO_WORDS.items()
        for row in [row for row in rows if row.set == what][::every]
    }
    items |= {f"other {name}": ("tones", sound) for name, sound in _chords()}
    for path in sorted(uncoded.rglob("*.wav"))[::_EVERY] if uncoded else []:
        sound = Audio.load(path)
        items[f"other {path.name}"] = ("never coded", sound)
        coded = _sent(str(path), "Opus 16 kbit/s")
        items[f"other {path.name} opus"] = ("never coded, then Opus 16 kbit/s", coded)

    def work(item: tuple[str, Audio]) -> Row:
        return {"set": item[0], **_opinion(detector, item[1])}

    return _noted(journal, items, work, "others")


def _chords() -> Iterable[tuple[str, Audio]]:
    """Chords of plucked strings: music, as far as a few lines make any."""
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    for number in range(20):
        rng = _seeded(f"chord {number}")
        pieces = []
        for _ in range(8):
            roots = 110 * 2 ** (rng.integers(0, 36, 3) / 12)
            overtones = np.arange(1, 20)[:, None]
            tone = sum(
                (np.sin(2 * np.pi * root * overtones * time) / overtones**1.2
                 * np.exp(-time * (2 + overtones))).sum(0)
                for root in roots
            )  # fmt: skip
            pieces.append(tone)
        sound = np.concatenate(pieces)
        sound = 0.5 * sound / np.abs(sound).max() + 1e-4 * rng.standard_normal(len(sound))
        yield f"chord {number}", Audio(torch.from_numpy(sound.astype(np.float32)), SAMPLE_RATE)


def hear_splices(detector: SyntheticSpeechDetector, manifest: Path, journal: Journal) -> list[Row]:
    """Recordings in whose middle 1.2 s are the embedded model's copy.

    Args:
        detector: of the recipe.
        manifest: of the test.
        journal: keeps what was heard.

    Returns:
        Of each: where the copy is, the spans found, scores of the frames within and without.
    """
    rows = {row.id: row for row in read_manifest(manifest)}
    pairs = [(rows[row.source], row) for row in rows.values() if row.engine == "nano"]
    pairs = [pair for pair in pairs if (pair[0].seconds or 0) >= 2 * _PART]
    items = {f"splice {copy.id}": (real, copy) for real, copy in pairs[:_SPLICES]}

    def work(item: tuple[Utterance, Utterance]) -> Row:
        real, copy = (read_audio(row.path, SAMPLE_RATE) for row in item)
        size = min(len(real), len(copy))
        middle, half, fade = size / 2 / SAMPLE_RATE, _PART / 2, _FADE * SAMPLE_RATE
        time = np.arange(size)
        start, end = (middle - half) * SAMPLE_RATE, (middle + half) * SAMPLE_RATE
        share = np.clip(np.minimum(time - start, end - time) / fade + 0.5, 0, 1)
        copy = copy[:size] * np.sqrt(np.mean(real**2) / np.mean(copy**2))
        mixed = real[:size] * (1 - share) + copy * share
        sound = Audio(torch.from_numpy(mixed.astype(np.float32)), SAMPLE_RATE)
        verdict = detector.detect(sound)
        frames = verdict.frames.tolist()
        inside = [start <= (i + 0.5) / 50 * SAMPLE_RATE < end for i in range(len(frames))]
        heard = [(p, within) for p, within in zip(frames, inside, strict=True) if p == p]
        return {
            "label": verdict.label,
            "spans": verdict.spans,
            "start": start / SAMPLE_RATE,
            "end": end / SAMPLE_RATE,
            "within": [round(p, 4) for p, within in heard if within],
            "without": [round(p, 4) for p, within in heard if not within],
        }

    return _noted(journal, items, work, "splices")


def hear_marks(detector: SyntheticSpeechDetector, manifest: Path, journal: Journal) -> list[Row]:
    """Outputs of the embedded model with and without watermark: what each of the two says.

    Args:
        detector: of the recipe.
        manifest: of the test; its outputs of the model are not marked.
        journal: keeps what was heard.

    Returns:
        A row for each output, marked or not, as it is and after Opus.
    """
    outputs = [row for row in read_manifest(manifest) if row.engine in ("nano", "nano_edit")]
    people = [row for row in read_manifest(manifest) if row.made == "human"]
    some = [
        *outputs[:: max(1, len(outputs) // _MARKED)][:_MARKED],
        *people[:: max(1, len(people) // _MARKED)][:_MARKED],
    ]
    items = {
        f"mark {marked} {condition} {row.id}": (row, marked, condition)
        for row in some
        for marked in ((False, True) if row.made != "human" else (False,))
        for condition in CONDITIONS[:2]
    }

    def work(item: tuple[Utterance, bool, str]) -> Row:
        row, marked, condition = item
        sound = Audio.load(row.path).resample(RATE)
        if marked:
            sound = DEFAULT_WATERMARKER.embed(sound, _PAYLOAD)
        sent = DISTORTIONS[condition](sound.samples.double().numpy(), _seeded(row.id))
        sound = Audio(torch.from_numpy(sent.astype(np.float32)), RATE)
        return {
            "made": row.made != "human",
            "marked": marked,
            "condition": condition,
            "found": DEFAULT_WATERMARKER.detect(sound).found,
            "label": detector.detect(sound).label,
        }

    return _noted(journal, items, work, "marks")
