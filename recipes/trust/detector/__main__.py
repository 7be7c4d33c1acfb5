"""Make, train, measure: one command, which goes on where it was stopped.

    python -m recipes.trust.detector --corpus corpus/manifest.jsonl --eval eval/manifest.jsonl \
        --out runs/detector --uncoded festvox-ru/wav

writes the detector to ``runs/detector/model`` and what was measured to
``runs/detector/detector.json`` and ``detector.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recipes.nano.data.journal import Journal
from recipes.trust.detector.bank import Bank, family
from recipes.trust.detector.calibrate import calibrated
from recipes.trust.detector.card import tables
from recipes.trust.detector.make import Amounts, make
from recipes.trust.detector.measure import report
from recipes.trust.detector.train import train
from recipes.trust.detector.trial import hear_all, hear_marks, hear_others, hear_splices
from stepaudio.hub import weights_digest, write_atomic
from stepaudio.safety.detector import SyntheticSpeechDetector

#: What the shipped weights were trained on, and tested on.
TRAINING = Amounts(real=800, each=40, copies=200, edits=40, engine=120)
TEST = Amounts(real=60, each=20, copies=32, edits=14, engine=24)


def main() -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="manifest, train_ok only")
    parser.add_argument("--eval", type=Path, required=True, help="manifest of other speakers")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--uncoded", type=Path, help="folder of a speaker's WAV files, for the test"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="of the training")
    parser.add_argument("--minutes-without", type=float, default=1.25, help="of each without one")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    corpus = make(args.corpus, args.out / "training", TRAINING, training=True, workers=args.workers)
    tests = make(args.eval, args.out / "test", TEST, training=False, workers=args.workers)
    bank = Bank.build(corpus, args.out)
    network = train(bank, args.out / "all", args.minutes)
    families = sorted({family(row) for row in bank.rows} - {"real"})
    without = {
        name: train(bank, args.out / f"without-{name}", args.minutes_without, name)
        for name in families
    }
    network = calibrated(network, bank)
    network.save_pretrained(args.out / "model", force=True)
    detector = SyntheticSpeechDetector(network)
    digest = weights_digest(network)
    journal = Journal(args.out / f"heard-{digest}.jsonl")
    measured = report(
        hear_all(detector, without, tests, journal),
        hear_others(detector, args.eval, args.uncoded, journal),
        hear_splices(detector, tests, journal),
        hear_marks(detector, tests, journal),
    )
    measured = {"network": digest, **measured}
    text = json.dumps(measured, indent=1) + "\n"
    write_atomic(args.out / "detector.json", lambda p: p.write_text(text, "utf-8"), force=True)
    page = "\n\n".join(tables(measured)) + "\n"
    write_atomic(args.out / "detector.md", lambda p: p.write_text(page, "utf-8"), force=True)


if __name__ == "__main__":
    main()
