r"""What the codes keep: linear probes for phone, pitch, voicing, emotion and speaker.

A probe may only add up one weight vector per code (and a constant), so it tells what lies open in
a stream, not what a network could work out of its neighbours. The mel, probed the same way, is the
yardstick. Frames are of speakers the probe has not seen; emotions are EmoDB's, each actor judged by
probes of the other nine; speakers are told from other recordings of theirs.

    python -m recipes.nano.probes FEATURES --emotions CORPUS_MANIFEST \
        -o docs/results/nano_probes.json
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from recipes.nano.codes import Codes
from recipes.nano.data.features import Features
from recipes.nano.data.symbols import PHONES
from recipes.nano.variant_report import table, write_report
from stepaudio.evaluation.bootstrap import Interval, mean_interval, pooled_interval

__all__ = ["main"]

#: What a probe sees.
VIEWS = ("linguistic", "semantic", "both", "mel")
#: Frames of 20 ms in a unit of 0.12 s.
FRAMES = 6
#: Share of speakers whose frames are only tested; recordings of a speaker that are.
HELD_OUT, HELD_OUT_RECORDINGS = 0.1, 0.25
#: The corpus of acted emotions.
ACTED = "emodb"
#: Columns of a view whose values are measured, not counted.
DENSE = 200
#: About the mean log F0 in Hz, so that probes begin near it.
LOG_PITCH = 5.0
#: Fewest recordings of a speaker who is to be told from others.
FEWEST = 8
COLUMNS = {
    "phone": "phone, share right",
    "voicing": "voicing, share right",
    "pitch": "log F0, variance explained",
    "emotion": "emotion, share right",
    "speaker": "speaker, share right",
}

Array = npt.NDArray[Any]


class Frames:
    """Recordings as 20 ms frames: one-hot codes or mel, and what is to be told from them."""

    def __init__(self, features: Features, codes: Codes, items: list[int]) -> None:
        mels, targets, linguistic, semantic, owners = [], [], [], [], []
        for item in items:
            units = codes.units(item)
            tokens = codes.tokens(item)
            mel = features.get(item, "mel")[: FRAMES * units]
            count = len(mel)
            mels.append(mel)
            targets.append(features.get(item, "target")[:count])
            linguistic.append(tokens.linguistic.repeat_interleave(3)[:count])
            semantic.append(tokens.semantic.repeat_interleave(2)[:count])
            owners.append(torch.full((count,), item))
        self.mel, self.target = torch.cat(mels), torch.cat(targets)
        self.codes = torch.stack([torch.cat(linguistic), torch.cat(semantic)], dim=-1)
        self.owner = torch.cat(owners)
        self.sizes = (codes.spec.linguistic_size, codes.spec.semantic_size)


def fit(
    view: str,
    frames: Frames,
    chosen: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    outputs: int,
    steps: int = 200,
) -> Callable[[Frames, Tensor], Tensor]:
    """Train a linear probe on some frames.

    Args:
        view: of :data:`VIEWS`.
        frames: of the training.
        chosen: ``[N]`` indices of the frames to learn from.
        loss: of predictions ``[n, outputs]`` and targets ``[n, 4]``.
        outputs: what the probe predicts.
        steps: of Adam, 4096 frames each.

    Returns:
        The probe: predictions ``[n, outputs]`` for chosen frames.
    """
    mean, std = frames.mel.mean(dim=0), frames.mel.std(dim=0)
    tables = [torch.zeros(size, outputs, requires_grad=True) for size in frames.sizes]
    matrix = torch.zeros(frames.mel.shape[1], outputs, requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)

    def predict(source: Frames, index: Tensor) -> Tensor:
        if view == "mel":
            return (source.mel[index] - mean) / std @ matrix + bias
        first, second = source.codes[index].unbind(dim=-1)
        out = bias.expand(len(index), -1)
        if view in ("linguistic", "both"):
            out = out + tables[0][first]
        if view in ("semantic", "both"):
            out = out + tables[1][second]
        return out

    optimizer = torch.optim.Adam([*tables, matrix, bias], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        index = chosen[torch.randint(len(chosen), (4096,), generator=generator)]
        optimizer.zero_grad()
        loss(predict(frames, index), frames.target[index]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return torch.no_grad()(predict)


def probe_frames(
    features: Features, codes: Codes, train: list[int], test: list[int]
) -> dict[str, dict[str, Interval]]:
    """Phones, voicing and pitch of speakers who were not learned from."""
    learned, heard = Frames(features, codes, train), Frames(features, codes, test)
    speakers = [str(features.rows[item]["speaker"]) for item in test]

    def pooled(values: Tensor, weights: Tensor, index: Tensor) -> Interval:
        """Sum of values over sum of weights, resampling speakers."""
        place = {item: number for number, item in enumerate(test)}
        rows = torch.tensor([place[item] for item in heard.owner[index].tolist()])
        sums = [
            torch.zeros(len(test)).index_add_(0, rows, x.float()).tolist()
            for x in (values, weights)
        ]
        return pooled_interval(sums[0], sums[1], speakers)

    def share(right: Tensor, index: Tensor) -> Interval:
        return pooled(right, torch.ones_like(right), index)

    results: dict[str, dict[str, Interval]] = {}
    for view in track(VIEWS, "frames"):
        phone = fit(
            view, learned, torch.nonzero(learned.target[:, 0] >= 0)[:, 0],
            lambda p, t: F.cross_entropy(p, t[:, 0].long()), len(PHONES),
        )  # fmt: skip
        voicing = fit(
            view, learned, torch.arange(len(learned.mel)),
            lambda p, t: F.binary_cross_entropy_with_logits(p[:, 0], t[:, 2]), 1,
        )  # fmt: skip
        pitch = fit(
            view, learned, torch.nonzero(learned.target[:, 2] > 0.5)[:, 0],
            lambda p, t: F.mse_loss(p[:, 0], t[:, 1] - LOG_PITCH), 1,
        )  # fmt: skip
        known = torch.nonzero(heard.target[:, 0] >= 0)[:, 0]
        everything = torch.arange(len(heard.mel))
        voiced = torch.nonzero(heard.target[:, 2] > 0.5)[:, 0]
        truth = heard.target[voiced, 1] - LOG_PITCH
        error = (pitch(heard, voiced)[:, 0] - truth).square()
        spread = (truth - truth.mean()).square()
        results[view] = {
            "phone": share(phone(heard, known).argmax(-1) == heard.target[known, 0].long(), known),
            "voicing": share(
                (voicing(heard, everything)[:, 0] > 0) == (heard.target[:, 2] > 0.5), everything
            ),
            "pitch": pooled(spread - error, spread, voiced),
        }
    return results


def histograms(features: Features, codes: Codes, items: list[int]) -> dict[str, Array]:
    """How often each recording has each code; mean and deviation of its mel. ``[N, D]`` a view."""
    rows: dict[str, list[Array]] = {view: [] for view in VIEWS}
    for item in items:
        tokens = codes.tokens(item)
        first = torch.bincount(tokens.linguistic, minlength=codes.spec.linguistic_size).float()
        second = torch.bincount(tokens.semantic, minlength=codes.spec.semantic_size).float()
        first, second = first / first.sum(), second / second.sum()
        mel = features.get(item, "mel")
        rows["linguistic"].append(first.sqrt().numpy())
        rows["semantic"].append(second.sqrt().numpy())
        rows["both"].append(torch.cat([first, second]).sqrt().numpy())
        rows["mel"].append(torch.cat([mel.mean(dim=0), mel.std(dim=0)]).numpy())
    return {view: np.stack(found) for view, found in rows.items()}


def classify(x: Array, y: Array, train: Array, test: Array, classes: int) -> list[bool]:
    """Ridge regression on the classes, in its dual form; whether each tested row was told right.

    There are more columns than rows, so a matrix of the rows is solved and not one of the columns.
    The penalty is a tenth of the mean square of a row.
    """
    mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
    # A code that hardly anyone says must not count for more than one that everyone says.
    rows = (x - mean) / max(float(scale.max()), 1e-9) if len(scale) > DENSE else (x - mean) / scale
    kernel = rows[train] @ rows[train].T
    kernel[np.diag_indices_from(kernel)] += 0.1 * float(np.trace(kernel)) / len(train)
    wanted = np.eye(classes)[y[train]]
    weights = np.linalg.solve(kernel, wanted - wanted.mean(axis=0))
    found = rows[test] @ rows[train].T @ weights + wanted.mean(axis=0)
    right: list[bool] = (found.argmax(axis=-1) == y[test]).tolist()
    return right


def main() -> None:
    """Probe and write JSON and a Markdown table beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features")
    parser.add_argument("--emotions", required=True, help="manifest whose rows have an emotion")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--recordings", type=int, default=1500, help="to learn frames from")
    args = parser.parse_args()
    torch.set_num_threads(1)
    features, codes = Features(args.features), Codes(args.features)
    rng = np.random.default_rng(0)
    real = [
        i
        for i, row in enumerate(features.rows)
        if not row["id"].startswith("syn") and codes.units(i) >= 8
    ]
    results = probe_frames(features, codes, *split_speakers(features, real, rng, args.recordings))
    told = {
        "emotion": by_emotion(features, real, Path(args.emotions)),
        "speaker": by_speaker(features, real, rng),
    }
    for name, (items, labels, folds) in told.items():
        views = histograms(features, codes, items)
        order = np.concatenate(folds)
        speakers = [str(features.rows[items[i]]["speaker"]) for i in order]
        for view in VIEWS:
            right = [
                hit
                for test in track(folds, f"{name}, {view}")
                for hit in classify(
                    views[view], labels, np.setdiff1d(np.arange(len(items)), test), test,
                    int(labels.max()) + 1,
                )
            ]  # fmt: skip
            results[view][name] = mean_interval([float(hit) for hit in right], speakers)
        most = max(Counter(labels[order].tolist()).values())
        results.setdefault("always the commonest", {})[name] = Interval(
            most / len(order), None, None, len(order), len(set(speakers))
        )
    report = {
        view: {name: asdict(value) for name, value in found.items()}
        for view, found in results.items()
    }
    write_report(args.out, table("probe of", COLUMNS, results), views=report)


def split_speakers(
    features: Features, items: list[int], rng: np.random.Generator, limit: int
) -> tuple[list[int], list[int]]:
    """Recordings to learn from and recordings of other speakers, of those that were aligned."""
    aligned = [i for i in items if float((features.get(i, "target")[:, 0] >= 0).float().mean()) > 0]
    speakers = sorted({str(features.rows[i]["speaker"]) for i in aligned})
    held = set(rng.permutation(speakers)[: max(1, round(HELD_OUT * len(speakers)))].tolist())
    train = [i for i in aligned if features.rows[i]["speaker"] not in held]
    test = [i for i in aligned if features.rows[i]["speaker"] in held]
    return rng.permutation(train)[:limit].tolist(), test


def by_emotion(
    features: Features, items: list[int], manifest: Path
) -> tuple[list[int], Array, list[Array]]:
    """Acted recordings, their emotions, and one test set per actor.

    Everybody else's recordings are called neutral, which nobody has checked.
    """
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    emotion = {row["id"]: row["emotion"] for row in rows if row.get("set") == ACTED}
    acted = [i for i in items if features.rows[i]["id"] in emotion]
    names = sorted(set(emotion.values()))
    labels = np.asarray([names.index(emotion[features.rows[i]["id"]]) for i in acted])
    actors = np.asarray([features.rows[i]["speaker"] for i in acted])
    return acted, labels, [np.flatnonzero(actors == actor) for actor in sorted(set(actors))]


def by_speaker(
    features: Features, items: list[int], rng: np.random.Generator
) -> tuple[list[int], Array, list[Array]]:
    """Recordings of everyone with enough of them, who speaks, and one test set."""
    counts = Counter(str(features.rows[i]["speaker"]) for i in items)
    names = sorted(name for name, count in counts.items() if count >= FEWEST)
    chosen: list[int] = []
    test: list[int] = []
    for name in names:
        own = [i for i in items if features.rows[i]["speaker"] == name]
        own = rng.permutation(own)[:20].tolist()
        held = max(1, round(HELD_OUT_RECORDINGS * len(own)))
        test += range(len(chosen), len(chosen) + held)
        chosen += own
    labels = np.asarray([names.index(str(features.rows[i]["speaker"])) for i in chosen])
    return chosen, labels, [np.asarray(test)]


if __name__ == "__main__":
    main()
