"""Stage: phone times for recordings of which only the words are known.

A small frame classifier learns from the synthetic speech, whose phone times are exact, aligns the
recordings to their words by Viterbi search, learns from both and aligns again, twice. The phones of
every 20 ms frame are written beside the features, and a manifest with phone and word times; where
the words could not be placed, or so badly that it is not believed, with neither.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from recipes.nano.data.corpus import Utterance, write_manifest
from recipes.nano.data.features import FRAME_SECONDS, Features
from recipes.nano.data.phones import phone_words
from recipes.nano.data.symbols import PHONES, SILENCE, UNKNOWN_PHONE
from recipes.nano.data.viterbi import placed, silence_evidence
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch

__all__ = ["Aligner", "PhoneClassifier", "align"]

#: 10 ms frames seen on each side of a decision, and decisions in one training row.
CONTEXT, CROP, ROWS = 9, 200, 16
#: Trainings. Each learns from the alignments of the one before (``docs/experiments/nano.md``).
ROUNDS = 3
#: Mean log-likelihood ratio per frame of a word below which an alignment is not believed.
WORST_SCORE = -0.1


class PhoneClassifier(nn.Module):
    """A perceptron over 190 ms of log-mel: ``[B, T, 80]`` at 100 Hz to ``[B, T / 2, phones]``."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear((2 * CONTEXT + 1) * 80, width), nn.GELU(), nn.LayerNorm(width),
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width),
            nn.Linear(width, len(PHONES)),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Logits of every phone at every 20 ms."""
        padded = F.pad(features.transpose(1, 2), (CONTEXT, CONTEXT), mode="replicate")
        windows = padded.unfold(-1, 2 * CONTEXT + 1, 2).permute(0, 2, 1, 3).flatten(2)
        logits: Tensor = self.layers(windows)
        return logits


def normalised(fbank: Tensor) -> Tensor:
    """Log-mel with its level and microphone removed: mean of the loud half of the frames."""
    loud = fbank[fbank.mean(dim=1) >= fbank.mean(dim=1).median()]
    return (fbank - loud.mean(dim=0, keepdim=True)) / 3.0


class Aligner:
    """Features with phone labels that get better."""

    def __init__(self, features: Features, machine: Machine) -> None:
        self.features, self.machine = features, machine
        self.model = PhoneClassifier()
        rows = range(len(features))
        self.labels = {i: features.get(i, "target")[:, 0].long() for i in rows}
        self.synthetic = [i for i in rows if features.rows[i]["id"].startswith("syn")]
        exact = set(self.synthetic)
        self.real = [i for i in rows if i not in exact and features.rows[i]["lang"] == "en"]
        self.words = {i: phone_words(features.rows[i]["text"]) for i in self.real}
        self.runs: dict[int, list[tuple[int, int]]] = {}
        self.scores: dict[int, float] = {}
        counts = np.bincount(
            torch.cat([self.labels[i] for i in self.synthetic]), minlength=len(PHONES)
        )
        self.prior = np.log((counts + 1.0) / (counts.sum() + 1.0)).astype(np.float32)

    def train(self, out: Path, minutes: float) -> None:
        """Fit the classifier to the labels at hand."""
        known = list(self.runs)

        def draw(rng: np.random.Generator, progress: float) -> Batch:
            features, labels = [], []
            for _ in range(ROWS * self.machine.scale):
                pool = known if known and rng.random() < 0.7 else self.synthetic
                item = int(pool[int(rng.integers(len(pool)))])
                y = self.labels[item]
                x = normalised(self.features.get(item, "fbank"))
                start = int(rng.integers(0, max(1, len(y) - CROP)))
                x, y = x[2 * start : 2 * (start + CROP)], y[start : start + CROP]
                band, curve = torch.linspace(-1, 1, 80), rng.normal(0, 0.25, 3).tolist()
                x = x + curve[0] + curve[1] * band + curve[2] * (2 * band**2 - 1)
                # Rooms differ in the level below which nothing is heard.
                x = torch.logaddexp(3 * x, torch.full_like(x, float(rng.uniform(-9, -3)))) / 3
                features.append(F.pad(x, (0, 0, 0, 2 * CROP - len(x))))
                labels.append(F.pad(y, (0, CROP - len(y)), value=UNKNOWN_PHONE))
            return {"features": torch.stack(features), "labels": torch.stack(labels)}

        def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
            logits, y = self.model(batch["features"]), batch["labels"]
            value = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=UNKNOWN_PHONE)
            # Unknown phones are -1, which no prediction is.
            hit = (logits.argmax(-1) == y).sum() / (y >= 0).sum().clamp_min(1)
            return {"loss": value, "accuracy": hit}

        run(
            out=out, models={"model": self.model}, draw=draw, loss=loss, minutes=minutes, lr=1e-3,
            machine=self.machine,
        )  # fmt: skip

    @torch.no_grad()
    def align(self) -> None:
        """Place the words of every real recording."""
        for item in track(self.real, "align"):
            fbank = self.features.get(item, "fbank")
            logits = self.model(normalised(fbank)[None].to(self.machine.device))[0]
            log_probs = logits.log_softmax(-1).cpu().numpy() - 0.6 * self.prior
            phones = [phones for _, phones in self.words[item]]
            try:
                runs, score = placed(log_probs, silence_evidence(fbank.numpy()), phones)
            except ValueError:  # fewer frames than phones: not these words
                continue
            path = np.repeat([p for p, _ in runs], [n for _, n in runs])
            self.runs[item], self.scores[item] = runs, score
            label = torch.full_like(self.labels[item], SILENCE)
            label[: len(path)] = torch.from_numpy(path)[: len(label)]
            self.labels[item] = label

    def utterances(self) -> list[Utterance]:
        """The recordings that had to be aligned, with phone and word times if believed."""
        out = []
        for item in self.real:
            row = {k: v for k, v in self.features.rows[item].items() if k != "spans"}
            labels = dict(row["labels"] or {}) | {"score": round(self.scores.get(item, -9.0), 3)}
            if self.believed(item):
                runs = self.runs[item]
                labels["phones"] = [[p, round(n * FRAME_SECONDS, 3)] for p, n in runs]
                labels["words"] = [[word, len(phones)] for word, phones in self.words[item]]
            out.append(replace(Utterance(**row), labels=labels))
        return out

    def believed(self, item: int) -> bool:
        """Whether a recording was aligned well enough."""
        return self.scores.get(item, WORST_SCORE - 1) >= WORST_SCORE


def align(folder: Path, out: Path, minutes: float, machine: Machine) -> None:
    """Train, align, train on both and align again, :data:`ROUNDS` times in all.

    Args:
        folder: features (``fbank`` and ``target``) of synthetic and other recordings.
        out: gets the trainings and ``manifest.jsonl``.
        minutes: of each training.
        machine: what to train on.
    """
    torch.manual_seed(0)
    features = Features(folder)
    aligner = Aligner(features, machine)
    for number in range(1, ROUNDS + 1):
        aligner.train(out / f"round{number}", minutes)
        aligner.align()
    for item in aligner.real:
        if not aligner.believed(item):
            aligner.labels[item].fill_(UNKNOWN_PHONE)
    flat = torch.cat([aligner.labels[i] for i in range(len(features))]).to(torch.int8)
    np.save(folder / "phones.npy", flat.numpy())
    write_manifest(out / "manifest.jsonl", aligner.utterances())
