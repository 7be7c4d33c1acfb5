"""All stages of the data, each from what the ones before it have written."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from recipes.nano.data.acted import acted_pairs, emotions_of
from recipes.nano.data.corpus import Utterance, read_manifest, write_manifest
from recipes.nano.data.features import build as build_features
from recipes.nano.data.gate import hear
from recipes.nano.data.joint import write_joint
from recipes.nano.data.journal import Journal, made_rows
from recipes.nano.data.kokoro import spoken_one
from recipes.nano.data.mandarin_texts import sentences as mandarin_sentences
from recipes.nano.data.noise import noisy_one
from recipes.nano.data.nonverbal import human_breaths, nonverbal_one
from recipes.nano.data.pieces import pieces_of
from recipes.nano.data.plan import SYNTHETIC_EDITS, Plan
from recipes.nano.data.silence import silence_one
from recipes.nano.data.transform import transform_one
from recipes.nano.data.voices import other_voice
from recipes.nano.machine import Machine

__all__ = ["Builder"]

MANIFEST = "manifest.jsonl"
#: Synthetic rows the aligner learns from.
ALIGNER_ROWS = 2000

T = TypeVar("T")
Stage = Callable[[Path], object]


@dataclass(frozen=True)
class Builder:
    """What the stages share.

    Attributes:
        corpus: manifest of the recordings.
        out: folder of all stages.
        plan: how much of everything.
        workers: processes.
        minutes: of each of the aligner's trainings.
        heard: rows the gate listens to.
        seed: of everything drawn.
    """

    corpus: Path
    out: Path
    plan: Plan
    workers: int
    minutes: float
    heard: int
    seed: int

    def stages(self) -> dict[str, Stage]:
        """All stages by name, in order."""
        return {
            "synthetic": self.synthetic,
            "kokoro-en": self.kokoro_english,
            "kokoro-zh": self.kokoro_mandarin,
            "aligned": self.align,
            "pieces": self.pieces,
            "voices": self.voices,
            "transform": self.transform,
            "nonverbal": self.nonverbal,
            "noise": self.noise,
            "silence": self.silence,
            "joint": self.joint,
            "gate": self.gate,
            "features": self.features,
        }

    def synthetic(self, folder: Path) -> None:
        """Sentences of the corpus and word salads by pseudo-speakers, neutral and changed."""
        from recipes.nano.data.synthesize import sentences, synthesize_one

        texts = sentences(self._english(), self.plan.synthetic, random.Random(self.seed))
        work = partial(synthesize_one, out=folder, edits=SYNTHETIC_EDITS, seed=self.seed)
        self._make(folder, _numbered(texts), work)

    def kokoro_english(self, folder: Path) -> None:
        """Sentences of the corpus by Kokoro."""
        from recipes.nano.data.synthesize import sentences

        # Another order than that of the synthetic speakers.
        texts = sentences(self._english(), self.plan.english, random.Random(self.seed + 1))
        self._make(
            folder, _numbered(texts), partial(spoken_one, lang="en", out=folder, seed=self.seed)
        )

    def kokoro_mandarin(self, folder: Path) -> None:
        """Sentences of frames by Kokoro."""
        texts = mandarin_sentences(self.plan.mandarin, random.Random(self.seed))
        self._make(
            folder, _numbered(texts), partial(spoken_one, lang="zh", out=folder, seed=self.seed)
        )

    def align(self, folder: Path) -> None:
        """Words and phones in time, of people's English and Kokoro's."""
        from recipes.nano.data.align import align

        synthetic = self._rows("synthetic")
        random.Random(self.seed).shuffle(synthetic)
        spoken = [row for row in read_manifest(self.corpus) if row.text and row.lang == "en"]
        rows = [*synthetic[:ALIGNER_ROWS], *spoken, *self._rows("kokoro-en")]
        build_features(rows, folder / "features", self.workers, ("fbank", "target"))
        align(folder / "features", folder, self.minutes, Machine())

    def pieces(self, folder: Path) -> None:
        """Recordings short enough to be edited."""
        aligned = self._rows("aligned")
        known = {row.id for row in aligned}
        acted = {row.id: row for row in self._acted()}
        others = [
            acted.get(row.id, row)
            for row in [*read_manifest(self.corpus), *self._rows("kokoro-zh")]
            if row.text and row.id not in known
        ]
        self._make(folder, _by_id([*aligned, *others]), partial(pieces_of, out=folder))

    def voices(self, folder: Path) -> None:
        """People with other heads; not those who acted, whose pairs stay as they are."""
        plain = [row for row in self._rows("pieces") if row.change == "none" and not row.engine]
        self._make(folder, _by_id(plain), partial(other_voice, out=folder, seed=self.seed))

    def transform(self, folder: Path) -> None:
        """Changes by rule; not of what was acted, which is changed already."""
        plain = [row for row in self._spoken() if row.change == "none"]
        work = partial(transform_one, out=folder, edits=self.plan.edits, seed=self.seed)
        self._make(folder, _by_id(plain), work)

    def nonverbal(self, folder: Path) -> None:
        """Sounds between words."""
        people = [row for row in read_manifest(self.corpus) if row.text]
        human = human_breaths(people, Journal(folder / "breaths.jsonl"))
        work = partial(
            nonverbal_one, out=folder, edits=self.plan.sounds, human=human, seed=self.seed
        )
        self._make(folder, _by_id(self._spoken()), work)

    def noise(self, folder: Path) -> None:
        """Noise and rooms."""
        rows = read_manifest(self.corpus)
        work = partial(
            noisy_one, out=folder, share=self.plan.noisy, seed=self.seed,
            noises=[row for row in rows if not row.text],
            voices=[row for row in rows if row.text],
        )  # fmt: skip
        self._make(folder, _by_id(self._spoken()), work)

    def silence(self, folder: Path) -> None:
        """Silence taken out and put in."""
        work = partial(silence_one, out=folder, share=self.plan.silence, seed=self.seed)
        self._make(folder, _by_id(self._spoken()), work)

    def joint(self, folder: Path) -> str:
        """Everything in one manifest, beside the folders of the stages."""
        names = ("kokoro-en", "kokoro-zh", "synthetic", "aligned", "pieces", "voices")
        made = ("transform", "nonverbal", "noise", "silence")
        parts = [read_manifest(self.corpus), *map(self._rows, names), self._acted()]
        return write_joint(self.out, [*parts, *map(self._rows, made)], self.corpus, self.plan.hours)

    def gate(self, folder: Path) -> None:
        """Word errors of a sample of every change, and DNSMOS where it is installed."""
        if self.heard:
            hear(
                self._joint(), folder, self.heard, mos=find_spec("speechmos") is not None,
                seed=self.seed, threads=self.workers,
            )  # fmt: skip

    def features(self, folder: Path) -> None:
        """What the trainings read, of every row with words."""
        build_features([row for row in self._joint() if row.text], folder, self.workers)

    def _acted(self) -> list[Utterance]:
        return acted_pairs(read_manifest(self.corpus), emotions_of(self.corpus))

    def _english(self) -> list[str]:
        rows = read_manifest(self.corpus)
        return [row.text for row in rows if row.text and row.lang == "en"]

    def _joint(self) -> list[Utterance]:
        return read_manifest(self.out / MANIFEST)

    def _rows(self, stage: str) -> list[Utterance]:
        return read_manifest(self.out / stage / MANIFEST)

    def _spoken(self) -> list[Utterance]:
        """What can be edited."""
        return [*self._rows("pieces"), *self._rows("voices")]

    def _make(
        self, folder: Path, items: Mapping[str, T], work: Callable[[T], list[Utterance]]
    ) -> None:
        journal = Journal(folder / "rows.jsonl")
        rows = made_rows(journal, items, work, self.workers, folder.name)
        write_manifest(folder / MANIFEST, rows)


def _numbered(texts: Iterable[str]) -> dict[str, tuple[int, str]]:
    return {str(number): (number, text) for number, text in enumerate(texts)}


def _by_id(rows: Sequence[Utterance]) -> dict[str, Utterance]:
    return {row.id: row for row in rows}
