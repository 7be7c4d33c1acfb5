"""How well a speaker encoder tells whether two recordings are of one person, and the thresholds.

python -m recipes.trust.voice_match MANIFEST -o stepaudio/safety/voice_match.json --keep FILE.npz

The manifest has one JSON object per line with ``path``, ``speaker``, ``set``, ``gender``, ``lang``,
``emotion``, ``seconds`` and, where one is noted, ``accent``; its speakers must not be among those
the encoder was trained on. How errors are counted is told in :mod:`recipes.trust.voice_errors`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.trust.voice_errors import (
    Scores,
    Trials,
    balanced,
    describe,
    enrolled,
    error_rates,
    find_threshold,
    pairs,
)
from stepaudio.audio import Audio
from stepaudio.locate import locate
from stepaudio.parts import load_part
from stepaudio.safety.weights import sampled_digest
from stepaudio.voice import embed_voice

Row = dict[str, Any]

#: Manners of speaking in which somebody would read a consent aloud.
CALM = ("read", "neutral", "calm", "customer_service", None)
SHORTEST = 1.5
GRID = np.round(np.arange(0.0, 1.0001, 0.05), 2)
#: Strangers that the threshold ``careful`` lets pass.
CAREFUL = 0.05


def calm(row: Row) -> bool:
    """Whether a recording is spoken as somebody would read a consent."""
    return row["emotion"] in CALM


def groups(rows: Sequence[Row]) -> dict[str, Callable[[Row], bool]]:
    """Whose errors are told by themselves: sets, genders, languages, accents within a language.

    Args:
        rows: of the manifest.

    Returns:
        What tells a row of the group, by the name of the group.
    """
    found: dict[str, Callable[[Row], bool]] = {}
    spoken = [row for row in rows if calm(row)]

    def add(name: str, **wanted: str | None) -> None:
        found[f"calm, {name}"] = lambda row: (
            calm(row) and all(row.get(key) == value for key, value in wanted.items())
        )

    for name in sorted({row["set"] for row in spoken}):
        add(name, set=name)
    add("women among each other", gender="f")
    add("men among each other", gender="m")
    languages = sorted({row["lang"] for row in spoken if row.get("lang")})
    for lang in languages:
        add(f"language {lang}", lang=lang)
        own = [row for row in spoken if row.get("lang") == lang]
        for accent in sorted({row["accent"] for row in own if row.get("accent")}):
            add(f"language {lang}, no accent noted", lang=lang, accent=None)
            add(f"language {lang}, accent {accent}", lang=lang, accent=accent)
    return found


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

    sets = trials(calm)
    score = balanced(sets)
    careful = find_threshold(sets, lambda accepted, _: accepted <= CAREFUL)
    slices = [describe("calm speech, all sets", sets, score)]
    for name, test in groups(rows).items():
        one = trials(test)
        slices += [describe(name, one, score)] if one else []
    acted = trials(lambda row: row["set"] in {r["set"] for r in rows if not calm(r)})
    slices += [describe("any two emotions", acted, score)] if acted else []
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
