"""How well a speaker encoder tells whether two recordings are of one person, and the thresholds.

python -m recipes.trust.voice_match MANIFEST -o stepaudio/safety/voice_match.json --keep FILE.npz

The manifest has one JSON object per line with ``path``, ``speaker``, ``set``, ``gender``, ``lang``,
``emotion`` and ``seconds``; its speakers must not be among those the encoder was trained on. Only
recordings of one set are compared with each other: rooms and microphones of different sets differ,
and telling those apart is easy. Every set counts the same, however many recordings it has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.locate import locate
from stepaudio.parts import load_part
from stepaudio.safety.weights import sampled_digest
from stepaudio.voice import embed_voice

Row = dict[str, Any]
Scores = NDArray[np.float64]

#: Manners of speaking in which somebody would read a consent aloud.
CALM = ("read", "neutral", "calm", "customer_service", None)
SHORTEST = 1.5
GRID = np.round(np.arange(0.0, 1.0001, 0.05), 2)
#: Strangers that the threshold ``careful`` lets pass.
CAREFUL = 0.05


class Trials(NamedTuple):
    """Similarities of pairs."""

    same: Scores
    different: Scores


def pairs(vectors: Scores, speakers: Sequence[str]) -> Trials:
    """Every recording against every other.

    Args:
        vectors: ``[N, D]`` of unit length.
        speakers: of each.

    Returns:
        Similarities of pairs of one speaker and of two.
    """
    names = np.array(speakers)
    first, second = np.triu_indices(len(names), 1)
    scores = np.einsum("nd,nd->n", vectors[first], vectors[second])
    same = names[first] == names[second]
    return Trials(scores[same], scores[~same])


def enrolled(vectors: Scores, speakers: Sequence[str], rng: np.random.Generator) -> Trials:
    """Two recordings of a speaker together against a third, and against those of others.

    Args:
        vectors: ``[N, D]`` of unit length.
        speakers: of each.
        rng: draws 100 enrolments of every speaker.

    Returns:
        Similarities.
    """
    names = np.array(speakers)
    same, different = [], []
    for name in sorted(set(speakers)):
        own, others = np.flatnonzero(names == name), np.flatnonzero(names != name)
        if len(own) < 3 or not len(others):
            continue
        for _ in range(100):
            one, two, three = rng.choice(own, 3, replace=False)
            mean = vectors[one] + vectors[two]
            mean /= np.linalg.norm(mean)
            same.append(mean @ vectors[three])
            different += [mean @ vectors[i] for i in rng.choice(others, 5)]
    return Trials(np.array(same), np.array(different))


def error_rates(sets: Sequence[Trials], threshold: float) -> tuple[float, float]:
    """Errors at a threshold, every set weighing the same.

    Args:
        sets: trials of each.
        threshold: similarity from which two voices count as one.

    Returns:
        Strangers accepted and speakers refused, 0 to 1.
    """
    accepted = np.mean([(one.different >= threshold).mean() for one in sets])
    refused = np.mean([(one.same < threshold).mean() for one in sets])
    return float(accepted), float(refused)


def find_threshold(sets: Sequence[Trials], enough: Callable[[float, float], bool]) -> float:
    """The lowest threshold of a grid of 0.001 whose errors are good enough.

    Args:
        sets: trials of each set.
        enough: of strangers accepted and speakers refused.

    Returns:
        The threshold; 1 if none is.
    """
    grid = np.round(np.arange(-1.0, 1.0, 0.001), 3)
    return next((float(t) for t in grid if enough(*error_rates(sets, t))), 1.0)


def balanced(sets: Sequence[Trials]) -> float:
    """The threshold at which both errors are as large."""
    return find_threshold(sets, lambda accepted, refused: accepted <= refused)


def both(test: Callable[[Row], bool], key: str, value: str) -> Callable[[Row], bool]:
    """A test of rows that also asks for the value of a column."""
    return lambda row: test(row) and row[key] == value


def describe(name: str, sets: Sequence[Trials], threshold: float | None = None) -> dict[str, Any]:
    """A row of the report: the equal error rate, and both errors at a threshold.

    Args:
        name: of the row.
        sets: its trials.
        threshold: of the errors; None is that of the row itself.

    Returns:
        Plain values, rounded.
    """
    own = balanced(sets)
    accepted, refused = error_rates(sets, own if threshold is None else threshold)
    return {
        "name": name,
        "same": sum(len(one.same) for one in sets),
        "different": sum(len(one.different) for one in sets),
        "equal_error": round(sum(error_rates(sets, own)) / 2, 4),
        "strangers_accepted": round(accepted, 4),
        "speakers_refused": round(refused, 4),
    }


def report(rows: Sequence[Row], vectors: Scores, encoder: str) -> dict[str, Any]:
    """Everything that is measured.

    Args:
        rows: of the manifest.
        vectors: ``[N, D]`` embeddings of the rows.
        encoder: digest of the speaker encoder.

    Returns:
        What is written.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def trials(wanted: Callable[[Row], bool], make: Callable[..., Trials] = pairs) -> list[Trials]:
        found = []
        for name in sorted({row["set"] for row in rows}):
            chosen = [i for i, row in enumerate(rows) if row["set"] == name and wanted(row)]
            if chosen:
                found.append(make(unit[chosen], [rows[i]["speaker"] for i in chosen]))
        return [one for one in found if len(one.same) and len(one.different)]

    def calm(row: Row) -> bool:
        return row["emotion"] in CALM

    sets = trials(calm)
    score = balanced(sets)
    careful = find_threshold(sets, lambda accepted, _: accepted <= CAREFUL)
    slices = [describe("calm speech, all sets", sets, score)]
    for name in sorted({row["set"] for row in rows if calm(row)}):
        one = trials(both(calm, "set", name))
        slices += [describe(f"calm, {name}", one, score)] if one else []
    for gender, who in (("f", "women"), ("m", "men")):
        one = trials(both(calm, "gender", gender))
        slices += [describe(f"calm, {who} among each other", one, score)] if one else []
    acted = trials(lambda row: row["set"] in {r["set"] for r in rows if not calm(r)})
    slices.append(describe("any two emotions", acted, score))
    rng = np.random.default_rng(0)
    two = trials(calm, lambda vectors, speakers: enrolled(vectors, speakers, rng))
    slices.append(describe("calm, enrolled with two recordings", two, score))
    return {
        "encoder": encoder,
        "recordings": len(rows),
        "speakers": len({row["speaker"] for row in rows}),
        "thresholds": {
            level: dict(
                zip(
                    ("score", "strangers_accepted", "speakers_refused"),
                    (value, *(round(rate, 4) for rate in error_rates(sets, value))),
                    strict=True,
                )
            )
            for level, value in (("balanced", score), ("careful", careful))
        },
        "slices": slices,
        "roc": [
            [float(t), *(round(rate, 4) for rate in error_rates(sets, float(t)))] for t in GRID
        ],
    }


@torch.no_grad()
def embed(rows: Sequence[Row], folder: Path, encoder: Any) -> Scores:
    """``[N, D]`` embeddings, made as a pipeline makes those of voices."""
    return np.stack(
        [embed_voice(Audio.load(folder / row["path"]), encoder).double().numpy() for row in rows]
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=[], help="only these; all if not given")
    parser.add_argument("--keep", type=Path, help="embeddings, read if there and written if not")
    parser.add_argument("--model", help="folder or hub id; the embedded model if not given")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [
        row
        for row in rows
        if row["speaker"]
        and row["seconds"] >= SHORTEST
        and (not args.sets or row["set"] in args.sets)
    ]
    encoder = load_part(locate(args.model), "speaker")
    name = sampled_digest(encoder)
    if args.keep and args.keep.exists():
        with np.load(args.keep, allow_pickle=False) as kept:
            if str(kept["encoder"]) != name or kept["ids"].tolist() != [r["id"] for r in rows]:
                parser.error(f"{args.keep} holds other embeddings; delete it or name another file")
            vectors = kept["vectors"]
    else:
        vectors = embed(rows, args.manifest.parent, encoder)
        if args.keep:
            np.savez(args.keep, vectors=vectors, ids=[r["id"] for r in rows], encoder=name)
    args.out.write_text(json.dumps(report(rows, vectors, name), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
