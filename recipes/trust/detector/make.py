"""Stage: recordings of people beside made sound, stored alike.

The recordings come as Ogg/Opus of about 31 kbit/s at 16 or 24 kHz, so everything made is stored
so too: else a detector hears the codec, the rate or the band, and not the voice.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from recipes.nano.data.corpus import Utterance, write_manifest
from recipes.nano.data.journal import Journal, made_rows
from recipes.trust.detector.copies import COPIES, model_digest
from recipes.trust.detector.engines import ENGINES, RATE, installed
from stepaudio.audio import Audio
from stepaudio.data import read_manifest

__all__ = ["Amounts", "chosen", "make", "rank", "store"]

#: libsndfile's level for Opus at about 31 kbit/s; see ``benchmarks/distortions.py``.
_OPUS_31K = 1 - (31 - 6) / (256 - 6)
#: Seconds: shorter says little, longer takes long.
SHORTEST, LONGEST = 1.5, 6.0
#: Of what engines say, so much is stored at 16 kHz: as of the recordings.
_SHARE_16K = 0.7
_NOT_SPEECH = ("esc10", "deeply_nonverbal", "hedgewars_voices")


@dataclass(frozen=True)
class Amounts:
    """How many sounds of each kind.

    Attributes:
        real: recordings of one corpus, at most.
        each: recordings of one speaker, at most.
        copies: of each way to copy a recording.
        edits: by the embedded model.
        engine: texts that each engine says.
    """

    real: int
    each: int
    copies: int
    edits: int
    engine: int


def rank(name: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on nothing but the name."""
    return zlib.crc32(f"{salt}{name}".encode()) / 2**32


def chosen(
    rows: Sequence[Utterance], most: int, salt: str, each: int | None = None
) -> list[Utterance]:
    """Rows of as many speakers as possible, in an order that depends on their names alone.

    Args:
        rows: to choose from.
        most: how many.
        salt: another one gives another choice.
        each: how many of one speaker; None is all.

    Returns:
        At most so many rows.
    """
    turns: dict[str, int] = {}
    order = []
    for row in sorted(rows, key=lambda row: rank(row.id, salt)):
        turns[row.speaker] = turns.get(row.speaker, 0) + 1
        order.append((turns[row.speaker], rank(row.id, salt), row))
    order = [one for one in order if each is None or one[0] <= each]
    return [row for *_, row in sorted(order, key=lambda one: one[:2])[:most]]


def store(path: Path, sound: Audio, rate: int) -> None:
    """Write sound as the recordings are stored."""
    samples = sound.resample(rate).samples.numpy()
    samples = samples * min(1.0, 0.99 / max(float(np.abs(samples).max()), 1e-9))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, "OPUS", format="OGG", compression_level=_OPUS_31K)


def _name(way: str, row: Utterance) -> str:
    """Of a copy; those of another model have other names, so they are made anew."""
    model = f"-{model_digest()}" if COPIES[way].family == "nano" else ""
    return f"{way}{model}-{row.id}"


def _copy(row: Utterance, *, way: str, out: Path) -> list[Utterance]:
    torch.set_num_threads(1)
    name = _name(way, row)
    sound = Audio.load(row.path)
    made = COPIES[way].make(sound, row, random.Random(zlib.crc32(name.encode())))
    path = out / "audio" / f"{name}.ogg"
    store(path, made, sound.sample_rate)
    return [
        replace(
            row, id=name, path=str(path), source=row.id, change=way, made="rule", engine=way,
            seconds=made.seconds, labels=None,
        )
    ]  # fmt: skip


def _speak(row: Utterance, *, engine: str, out: Path) -> list[Utterance]:
    name = f"{engine}-{row.id}"
    rng = random.Random(zlib.crc32(name.encode()))
    text = row.text.lower() if row.text.isupper() else row.text
    sound = Audio.load(ENGINES[engine].say(text, rng), sample_rate=RATE)
    path = out / "audio" / f"{name}.ogg"
    store(path, sound, 16000 if rng.random() < _SHARE_16K else RATE)
    return [
        Utterance(
            name, str(path), f"{engine}-{row.id}", row.text, "en", set=engine, change=engine,
            seconds=sound.seconds, licence=ENGINES[engine].licence, made="engine", engine=engine,
        )
    ]  # fmt: skip


def make(manifest: Path, out: Path, amounts: Amounts, *, training: bool, workers: int = 1) -> Path:
    """Make everything of one side, training or test; goes on where it was stopped.

    Args:
        manifest: recordings of people.
        out: folder.
        amounts: how many of each kind.
        training: refuse recordings that may not train a shipped model.
        workers: processes.

    Returns:
        The manifest of recordings and made sounds.
    """
    rows = [row for row in read_manifest(manifest, training=training) if row.seconds]
    rows = [row for row in rows if row.set not in _NOT_SPEECH and (row.seconds or 0) >= SHORTEST]
    sets: Mapping[str, list[Utterance]] = {
        name: [row for row in rows if row.set == name] for name in sorted({r.set for r in rows})
    }
    real = [
        row for some in sets.values() for row in chosen(some, amounts.real, "real", amounts.each)
    ]
    short = [row for row in real if row.seconds is not None and row.seconds <= LONGEST]
    known = [row for row in short if row.text and len(row.text.split()) >= 3]
    english = [row for row in known if row.lang == "en" and len(row.text.split()) <= 14]
    journal = Journal(out / "journal.jsonl")
    made: list[Utterance] = []
    for way in COPIES:
        pool, count = (known, amounts.edits) if way == "nano_edit" else (short, amounts.copies)
        copied = {_name(way, r): r for r in chosen(pool, count, "copy")}
        made += made_rows(journal, copied, partial(_copy, way=way, out=out), workers, way)
    for name, engine in ENGINES.items():
        if installed(engine):
            count = round(amounts.engine * engine.share)
            some = {f"{name} {r.id}": r for r in chosen(english, count, name)}
            made += made_rows(journal, some, partial(_speak, engine=name, out=out), workers, name)
    write_manifest(out / "manifest.jsonl", [*real, *made])
    return out / "manifest.jsonl"
