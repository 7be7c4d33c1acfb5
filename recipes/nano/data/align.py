"""Stage 3: phone times for real recordings.

A small frame classifier learns from the synthetic speech, whose phone times are exact, aligns the
real recordings to their words by Viterbi search, learns from both and aligns again. The phones of
every 20 ms frame are written beside the features, and a manifest with phone and word times.

    python -m recipes.nano.data.align runs/nano/features -o runs/nano/aligned
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from recipes.nano.data.corpus import Utterance, write_manifest
from recipes.nano.data.features import FRAME_SECONDS, UNKNOWN_PHONE, Features
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.data.phones import PHONES, SILENCE, phone_words
from recipes.nano.prefetch import Batch

__all__ = ["PhoneClassifier", "viterbi"]

#: 10 ms frames seen on each side of a decision, and decisions in one training row.
CONTEXT, CROP, ROWS = 9, 200, 16
#: Mean log-likelihood ratio per frame below which an alignment is not believed.
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


def viterbi(log_probs: npt.NDArray[np.float32], words: list[list[int]]) -> list[tuple[int, int]]:
    """Best path through words with optional silence between them.

    Args:
        log_probs: ``[T, phones]``.
        words: phones of each word.

    Returns:
        ``(phone, frames)`` runs covering every frame.

    Raises:
        ValueError: fewer frames than phones.
    """
    states, optional = [SILENCE], [True]
    for word in words:
        states += [*word, SILENCE]
        optional += [False] * len(word) + [True]
    count, frames = len(states), len(log_probs)
    if frames < sum(len(w) for w in words):
        raise ValueError(f"{frames} frames are too few for {count} phones")
    emission = log_probs[:, states]
    skip = np.zeros(count, bool)
    skip[2:] = np.asarray(optional)[1:-1]  # a state can be entered past an optional silence
    score = np.full(count, -np.inf, np.float32)
    score[0], score[1] = emission[0, 0], emission[0, 1]
    back = np.zeros((frames, count), np.int8)
    for t in range(1, frames):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(skip, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        options = np.stack([score, one, two])
        back[t] = options.argmax(axis=0)
        score = options.max(axis=0) + emission[t]
    state = count - 1 if score[-1] >= score[-2] else count - 2
    path = [state]
    for t in range(frames - 1, 0, -1):
        state -= int(back[t, state])
        path.append(state)
    path.reverse()
    runs: list[tuple[int, int]] = []
    previous = -1
    for state in path:
        if state == previous:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((states[state], 1))
        previous = state
    return runs


class Aligner:
    """Features with phone labels that get better."""

    def __init__(self, features: Features, machine: Machine) -> None:
        self.features, self.machine = features, machine
        self.model = PhoneClassifier()
        rows = range(len(features))
        self.labels = {i: features.get(i, "target")[:, 0].long() for i in rows}
        self.synthetic = [i for i in rows if features.rows[i]["id"].startswith("syn")]
        self.real = [
            i for i in rows if i not in set(self.synthetic) and features.rows[i]["lang"] == "en"
        ]
        self.words = {i: phone_words(features.rows[i]["text"]) for i in self.real}
        self.runs: dict[int, list[tuple[int, int]]] = {}
        self.scores: dict[int, float] = {}
        # A recording whose words could not be placed teaches nothing.
        counts = np.bincount(
            torch.cat([self.labels[i] for i in self.synthetic]), minlength=len(PHONES)
        )
        self.prior = np.log((counts + 1.0) / (counts.sum() + 1.0)).astype(np.float32)

    def train(self, out: Path, minutes: float) -> None:
        """Fit the classifier to the labels at hand."""
        placed = list(self.runs)

        def draw(rng: np.random.Generator, progress: float) -> Batch:
            features, labels = [], []
            for _ in range(ROWS * self.machine.scale):
                pool = placed if placed and rng.random() < 0.7 else self.synthetic
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
            words = self.words[item]
            x = normalised(self.features.get(item, "fbank"))
            logits = self.model(x[None].to(self.machine.device))[0]
            log_probs = logits.log_softmax(-1).cpu().numpy() - 0.6 * self.prior
            try:
                runs = viterbi(log_probs, [phones for _, phones in words]) if words else []
            except ValueError:
                runs = []
            if not runs:
                continue
            path = np.repeat([p for p, _ in runs], [n for _, n in runs])
            self.scores[item] = float(log_probs[np.arange(len(path)), path].mean())
            self.runs[item] = runs
            label = torch.full_like(self.labels[item], SILENCE)
            label[: len(path)] = torch.from_numpy(path)[: len(label)]
            self.labels[item] = label

    def utterances(self) -> list[Utterance]:
        """The aligned real recordings with phone and word times."""
        out = []
        for item, runs in self.runs.items():
            row = {k: v for k, v in self.features.rows[item].items() if k != "spans"}
            times = [[phone, round(length * FRAME_SECONDS, 3)] for phone, length in runs]
            words = [[word, len(phones)] for word, phones in self.words[item]]
            labels = {"phones": times, "words": words, "score": round(self.scores[item], 3)}
            out.append(replace(Utterance(**row), labels=labels))
        return out


def main() -> None:
    """Train, align, train on both, align again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=2.5, help="of each of the two trainings")
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    features, out = Features(args.features), Path(args.out)
    aligner = Aligner(features, machine)
    for name in ("round1", "round2"):
        aligner.train(out / name, args.minutes)
        aligner.align()
    for item, score in aligner.scores.items():
        if score < WORST_SCORE:
            aligner.labels[item].fill_(UNKNOWN_PHONE)
    flat = torch.cat([aligner.labels[i] for i in range(len(features))]).to(torch.int8)
    np.save(Path(args.features) / "phones.npy", flat.numpy())
    write_manifest(out / "manifest.jsonl", aligner.utterances())
    spread = np.percentile(list(aligner.scores.values()), [5, 25, 50, 75]).round(2).tolist()
    print(json.dumps({"aligned": len(aligner.runs), "of": len(aligner.real), "score": spread}))


if __name__ == "__main__":
    main()
