"""Labelled recordings of known speakers: manifests, folds of whole speakers, varied batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.data.manifest import read_manifest
from stepaudio.evaluation.clip_classifier import SAMPLE_RATE, ClipClassifier

__all__ = ["Clip", "ClipBank", "fold_speakers", "read_clips"]

# How much a batch is varied: bands moved (other heads), dB of tilt and noise (other microphones).
_MOST_BANDS, _TILT, _NOISE_BELOW = 2, 0.6, (3.0, 12.0)
_LONGEST_GAP_SECONDS = 0.3


@dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
        path: of the sound file.
        label: what is to be heard in it.
        speaker: who is never in training and in the test at once.
        group: speakers of one group are spread over the folds, such as corpus and gender.
        text_id: recordings of one speaker with the same one have the same words; empty if unknown.
    """

    path: str
    label: str
    speaker: str
    group: str = ""
    text_id: str = ""


def read_clips(
    manifest: str | Path, labels: Mapping[str, str], *, sets: Iterable[str] = ()
) -> list[Clip]:
    """Read a manifest, rows whose licence forbids shipping a model included.

    Args:
        manifest: JSONL with ``id, path, speaker, emotion`` and perhaps ``set``, ``gender`` and
            ``text_id`` in each row; paths are relative to it.
        labels: what the manifest calls ``emotion``, to the label trained; other rows are left out.
        sets: corpora to use; empty uses all.

    Returns:
        The clips.

    Raises:
        ValueError: no row is left.
    """
    wanted, clips = set(sets), []
    for row in read_manifest(manifest):
        label = labels.get(row.emotion)
        if label is None or not row.speaker or (wanted and row.set not in wanted):
            continue
        group = f"{row.set}/{row.gender}"
        clips.append(Clip(row.path, label, row.speaker, group, row.text_id))
    if not clips:
        raise ValueError(f"{manifest}: no recording of {sorted(wanted) or 'any set'} has a label")
    return clips


def fold_speakers(clips: Sequence[Clip], folds: int) -> list[set[str]]:
    """Deal whole speakers out, each group evenly.

    Args:
        clips: the recordings.
        folds: how many parts.

    Returns:
        The speakers of each part.

    Raises:
        ValueError: fewer speakers than parts, or fewer than two parts.
    """
    ordered = sorted({(clip.group, clip.speaker) for clip in clips})
    speakers = list(dict.fromkeys(speaker for _, speaker in ordered))
    if not 2 <= folds <= len(speakers):
        raise ValueError(f"{len(speakers)} speakers cannot be dealt out in {folds} parts")
    return [set(speakers[part::folds]) for part in range(folds)]


class ClipBank:
    """Filter banks of all clips in memory, drawn evenly over labels and speakers.

    Args:
        clips: the recordings.
        model: whose front end and longest stretch are used.
    """

    def __init__(self, clips: Sequence[Clip], model: ClipClassifier) -> None:
        self.labels: tuple[str, ...] = model.config.labels
        self.longest = round(model.config.seconds * 100)
        self._features: dict[str, Tensor] = {}
        self._by: dict[str, dict[str, list[str]]] = {label: {} for label in self.labels}
        for clip in clips:
            samples = Audio.load(clip.path).resample(SAMPLE_RATE).samples
            self._features[clip.path] = model.features(samples).half()
            self._by[clip.label].setdefault(clip.speaker, []).append(clip.path)

    def draw(
        self, size: int, rng: np.random.Generator, *, without: set[str]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A varied batch.

        Args:
            size: clips.
            rng: source of randomness.
            without: speakers left out.

        Returns:
            Filter banks ``[B, T, n_mels]``, frames that count ``[B]``, labels ``[B]``.
        """
        pieces, targets = [], []
        heard = {
            label: [paths for name, paths in sorted(speakers.items()) if name not in without]
            for label, speakers in self._by.items()
        }
        present = [label for label in self.labels if heard[label]]
        for _ in range(size):
            label = present[int(rng.integers(len(present)))]
            paths = heard[label][int(rng.integers(len(heard[label])))]
            fbank = self._features[paths[int(rng.integers(len(paths)))]].float()
            start = int(rng.integers(max(1, len(fbank) - self.longest + 1)))
            pieces.append(_vary(fbank[start : start + self.longest], rng))
            targets.append(self.labels.index(label))
        lengths = torch.tensor([len(piece) for piece in pieces])
        padded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        return padded, lengths, torch.tensor(targets)


def _vary(fbank: Tensor, rng: np.random.Generator) -> Tensor:
    """Another head, another microphone, another room's noise, a gap; same emotion."""
    frames, bands = fbank.shape
    shift = int(rng.integers(-_MOST_BANDS, _MOST_BANDS + 1))
    fbank = fbank[:, (torch.arange(bands) + shift).clamp(0, bands - 1)]
    tilt = float(rng.normal(0, _TILT)) * torch.linspace(-1, 1, bands)
    floor = float(fbank.max()) - float(rng.uniform(*_NOISE_BELOW)) - 4.0
    noise = torch.from_numpy(rng.gumbel(floor, 0.8, (frames, bands)).astype(np.float32))
    fbank = torch.logaddexp(fbank + tilt, noise)
    gap = int(rng.uniform(0, _LONGEST_GAP_SECONDS) * 100)
    start = int(rng.integers(max(1, frames - gap)))
    fbank[start : start + gap] = fbank.mean()
    return fbank
