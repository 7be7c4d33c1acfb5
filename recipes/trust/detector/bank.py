"""Stage: features of all training sounds, as they are and altered, in one file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from recipes.nano.data.corpus import Utterance, read_audio, read_manifest
from recipes.nano.prefetch import Batch
from recipes.trust.detector.alter import RATE, altered
from recipes.trust.detector.copies import COPIES
from recipes.trust.detector.make import rank
from stepaudio.hub import write_atomic
from stepaudio.safety.detector_network import HOP, DetectorConfig, band_powers

__all__ = ["FRAMES", "VERSIONS", "Bank", "Side", "family", "held_out"]

#: Band frames of a sound: 2 s.
FRAMES = 200
#: Of each sound: as it is, and altered.
VERSIONS = 6
#: Share of speakers that training does not hear.
_HELD_OUT = 0.15
#: Share of training rows that change between recording and copy.
_SPLICED = 0.25
#: Share of training rows in which some bands stand still (SpecAugment), and how many at most.
_MASKED, _WIDEST = 0.6, 16

Side = Callable[[Utterance], bool]


def family(row: Utterance) -> str:
    """What a row was made by, as generators are left out; ``"real"`` if by a person."""
    if row.made == "human":
        return "real"
    return COPIES[row.engine].family if row.engine in COPIES else row.engine


def held_out(row: Utterance) -> bool:
    """Whether training does not hear it: all sounds of some speakers, and of some texts."""
    return rank(row.speaker if row.made != "engine" else row.text, "held out") < _HELD_OUT


@dataclass(frozen=True)
class Bank:
    """Features of all versions of all rows.

    Attributes:
        rows: of the manifest.
        bands: ``[N, VERSIONS, FRAMES, bands]`` half precision, on disk.
        lengths: ``[N]`` frames that count.
    """

    rows: Sequence[Utterance]
    bands: NDArray[np.float16]
    lengths: NDArray[np.int64]

    @classmethod
    def build(cls, manifest: Path, out: Path) -> Bank:
        """Read the file, or compute it if it is not of this manifest.

        Args:
            manifest: of recordings and made sounds; all of them may train a shipped model.
            out: folder.

        Returns:
            The bank.
        """
        rows = read_manifest(manifest)
        file, index = out / "bank.npy", out / "bank.json"
        ids = [row.id for row in rows]
        if not index.exists() or json.loads(index.read_text(encoding="utf-8"))["ids"] != ids:
            index.unlink(missing_ok=True)
            write_atomic(file, lambda path: _write(path, rows), force=True)
            note = json.dumps({"ids": ids, "lengths": [_frames(row) for row in rows]})
            write_atomic(index, lambda path: path.write_text(note, encoding="utf-8"))
        known = json.loads(index.read_text(encoding="utf-8"))
        return cls(rows, np.load(file, mmap_mode="r"), np.array(known["lengths"]))

    def where(self, side: Side) -> NDArray[np.int64]:
        """Numbers of the rows of a side."""
        return np.array([i for i, row in enumerate(self.rows) if side(row)], np.int64)

    def take(self, rows: NDArray[np.int64], version: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``[B, FRAMES, bands]`` and lengths ``[B]`` of rows."""
        bands = torch.from_numpy(np.asarray(self.bands[rows, version], np.float32))
        return bands, torch.from_numpy(self.lengths[rows])

    def drawing(self, side: Side, batch: int) -> Callable[[np.random.Generator, float], Batch]:
        """Batches of a side: half of people, every corpus and every generator as often.

        Args:
            side: rows to draw from.
            batch: rows.

        Returns:
            What draws a batch of features, lengths, and for each frame of the network whether it
            is synthetic. Of some rows a part is replaced by a copy.
        """
        people: dict[str, list[int]] = {}
        machines: dict[str, list[int]] = {}
        for i in self.where(side):
            row = self.rows[i]
            groups = people if row.made == "human" else machines
            groups.setdefault(row.set if row.made == "human" else row.engine, []).append(int(i))
        number = {self.rows[i].id: int(i) for some in people.values() for i in some}
        copies = [
            (number[self.rows[i].source], i)
            for name, some in machines.items()
            if name in COPIES and name != "nano_edit"
            for i in some
            if self.rows[i].source in number
        ]

        def one(groups: dict[str, list[int]], rng: np.random.Generator) -> int:
            name = str(rng.choice(sorted(groups)))
            return int(rng.choice(groups[name]))

        def draw(rng: np.random.Generator, progress: float) -> Batch:
            bands = torch.zeros(batch, FRAMES, self.bands.shape[-1])
            target = torch.zeros(batch, FRAMES)
            lengths = torch.zeros(batch, dtype=torch.long)
            for place in range(batch):
                version = int(rng.integers(VERSIONS))
                if copies and rng.random() < _SPLICED:
                    source, copy = copies[rng.integers(len(copies))]
                    first, second = (source, copy) if rng.random() < 0.5 else (copy, source)
                    length = int(min(self.lengths[[source, copy]]))
                    some, which = self._spliced(first, second, version, length, rng)
                    target[place, :length] = torch.from_numpy(which == (second == copy))
                else:
                    i = one(people if place % 2 else machines, rng)
                    length, some = int(self.lengths[i]), self.bands[i, version].astype(np.float32)
                    target[place] = float(place % 2 == 0)
                if rng.random() < _MASKED:
                    _mask(some, length, rng)
                bands[place], lengths[place] = torch.from_numpy(some), length
            return {"bands": bands, "lengths": lengths, "target": target}

        return draw

    def _spliced(
        self, first: int, second: int, version: int, length: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A stretch of the second in place of the first's, and which frames are the second's."""
        size = int(rng.integers(length // 4, length // 2 + 1))
        start = int(rng.integers(0, length - size + 1))
        inside = (np.arange(FRAMES) >= start) & (np.arange(FRAMES) < start + size)
        some = self.bands[first, version].astype(np.float32)
        some[inside] = self.bands[second, version][inside]
        return some, inside[:length]


def _mask(some: NDArray[np.float32], length: int, rng: np.random.Generator) -> None:
    """Take all movement out of some neighbouring bands."""
    width = int(rng.integers(1, min(_WIDEST, some.shape[1]) + 1))
    low = int(rng.integers(0, some.shape[1] - width + 1))
    some[:length, low : low + width] = some[:length, low : low + width].mean(0)


def _frames(row: Utterance) -> int:
    return min(FRAMES, int((row.seconds or 0) * RATE) // HOP)


def _write(path: Path, rows: Sequence[Utterance]) -> None:
    torch.set_num_threads(1)
    count = DetectorConfig.release().bands
    shape = (len(rows), VERSIONS, FRAMES, count)
    bank = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    for number, row in enumerate(track(rows, "features")):
        sound = read_audio(row.path, RATE).astype(np.float64)
        # A copy is cut and altered as its recording is.
        seed = zlib.crc32((row.source or row.id).encode())
        size = FRAMES * HOP
        surplus = max(0, len(sound) - size)
        start = int(np.random.default_rng(seed).random() * surplus) // HOP * HOP
        sound = sound[start : start + size]
        for version in range(VERSIONS):
            way = np.random.default_rng([seed, version])
            changed = altered(sound, way) if version else sound
            bands = band_powers(torch.from_numpy(changed.astype(np.float32)), count)[:FRAMES]
            bank[number, version, : len(bands)] = bands.numpy()
    bank.flush()
