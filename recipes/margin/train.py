"""Train the margin scorer on rated acted speech, and measure it on people it has not heard.

python -m recipes.margin.train corpus/manifest.jsonl -o runs/margin --unheard eval/manifest.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from recipes.margin.card import markdown
from recipes.margin.fit import calibrated, cross_calibrated, fit, held_out
from recipes.margin.pairs import LABELS, listen, pairs_of
from recipes.margin.trial import intensity_trial, trial
from stepaudio import __version__
from stepaudio.data.isotonic import Isotonic
from stepaudio.data.manifest import read_manifest
from stepaudio.data.margin import MarginConfig
from stepaudio.hub import write_atomic

__all__ = ["main"]

_RATING = "recognised_pct"


def main(arguments: list[str] | None = None) -> None:
    """Train, measure and write ``model``, ``margin.json`` and ``margin.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", help="rated recordings that may train what is shipped")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--unheard", help="manifest of people for the test only")
    parser.add_argument("--steps", type=int, default=300, help="of the optimizer, per model")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out = Path(args.out)
    # Rows that may not train are refused here, whatever else the manifest holds.
    everything = read_manifest(args.manifest, training=True)
    rows = [row for row in everything if row.ratings and _RATING in row.ratings]
    vectors = listen(rows, out / "vectors.jsonl")
    pairs, config = pairs_of(rows), MarginConfig(tuple(LABELS.values()))
    scores = held_out(pairs, vectors, config, steps=args.steps)
    everyone = np.ones(len(pairs.before), bool)
    same = pairs.same_text
    model = calibrated(
        fit(pairs, vectors, config, use=everyone, steps=args.steps),
        Isotonic.fit(scores[same].ravel(), pairs.targets[same].ravel()),
    )
    model.save_pretrained(out / "model", dtype=_stored, force=True)
    report = {
        "scorer": "two layers over the difference of voice statistics",
        "stepaudio": __version__,
        "torch": torch.__version__,
        "trained_on": {
            "sets": sorted({row.set for row in rows}),
            "licences": sorted({row.licence for row in rows}),
            "recordings": len(rows),
            "speakers": len({row.speaker for row in rows}),
            "pairs": len(pairs.before),
            "pairs_same_text": int(same.sum()),
        },
        "protocol": "each speaker scored by a network and a calibration made without them",
        "held_out": trial(cross_calibrated(scores, pairs), pairs, rows),
    }
    if args.unheard:
        others = read_manifest(args.unheard)
        rated = [row for row in others if row.ratings and _RATING in row.ratings]
        if rated:
            heard, its = listen(rated, out / "vectors.jsonl"), pairs_of(rated)
            margins = model.score_vectors(heard[its.before], heard[its.after])
            report["unheard_rated"] = trial(margins, its, rated)
        strengths = [
            row for row in others if row.intensity and row.emotion in LABELS and not row.ratings
        ]
        if strengths:
            heard = listen(strengths, out / "vectors.jsonl")
            report["unheard_intensity"] = {
                "sets": sorted({row.set for row in strengths}),
                "use": "test only: these rows may not train and took no part in training",
                **intensity_trial(model, strengths, heard),
            }
    text = json.dumps(report, indent=2) + "\n"
    write_atomic(out / "margin.json", lambda path: path.write_text(text), force=True)
    page = markdown(report)
    write_atomic(out / "margin.md", lambda path: path.write_text(page), force=True)
    print(page)


def _stored(name: str) -> torch.dtype:
    """Half precision does for weights; what the inputs are scaled by stays exact."""
    return torch.float16 if name.endswith("weight") else torch.float32


if __name__ == "__main__":
    main()
