"""Beside any data stage: are the words still there? Error rates of a sample, per change.

A change that costs words teaches the editor to lose them. Rows are drawn evenly from every change,
heard by Whisper, and reported with intervals that resample speakers. With ``--keep`` rows heard
worse than ``--worst`` are left out of a new manifest, and so is what was made from them; rows that
were not heard stay.

    python -m recipes.nano.data.gate MANIFEST -o runs/nano/gate --count 60
    python -m recipes.nano.data.gate MANIFEST -o runs/nano/gate --count 0 --worst 0.5 --keep KEPT.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import track

from recipes.nano.data.corpus import Utterance, read_manifest, write_manifest
from recipes.nano.data.journal import Journal
from stepaudio.audio import Audio
from stepaudio.evaluation.bootstrap import pooled_interval
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.words import WhisperRecognizer, WordErrors

__all__ = ["drawn_evenly", "kept", "rates", "spoken", "table"]

ALL = "all"
#: A rate: errors and what should be there, as :class:`WordErrors` names them.
RATES = {"wer": ("word_errors", "words"), "cer": ("char_errors", "chars")}

Numbers = Mapping[str, float | None]


def spoken(text: str) -> str:
    """The words of a text, without the tags of sounds that are no words."""
    return " ".join(re.sub(r"\[[^\[\]]*\]", " ", text).split())


def drawn_evenly(rows: Sequence[Utterance], count: int, seed: int) -> list[Utterance]:
    """Rows with text, the same number of every change as far as they go; all for a count of 0."""
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for row in rows:
        if spoken(row.text):
            groups[row.change].append(row)
    rng = random.Random(seed)
    for group in groups.values():
        rng.shuffle(group)
    longest = max((len(group) for group in groups.values()), default=0)
    order = [groups[c][n] for n in range(longest) for c in sorted(groups) if n < len(groups[c])]
    return order[:count] if count else order


def rates(rows: Sequence[Utterance], heard: Mapping[str, Numbers]) -> dict[str, Any]:
    """Pooled error rates per change and of all rows, with 95 % intervals.

    Args:
        rows: those heard.
        heard: numbers of :class:`WordErrors` by id.

    Returns:
        Per change the ``wer`` and ``cer`` as :class:`Interval` fields.
    """
    out = {}
    for change in (*sorted({row.change for row in rows}), ALL):
        chosen = [row for row in rows if change in (ALL, row.change)]
        out[change] = {
            name: asdict(
                pooled_interval(
                    [heard[row.id][errors] for row in chosen],
                    [heard[row.id][reference] for row in chosen],
                    [row.speaker for row in chosen],
                )
            )
            for name, (errors, reference) in RATES.items()
        }
    return out


def table(report: Mapping[str, Any]) -> str:
    """The rates as a Markdown table."""
    lines = ["| change | rows | speakers | WER | CER |", "|---|---|---|---|---|"]
    for change, found in report["changes"].items():
        cells = [str(found["cer"]["n"]), str(found["cer"]["speakers"])]
        for name in RATES:
            value, low, high = (found[name][key] for key in ("value", "low", "high"))
            cell = "-" if value is None else f"{value:.2f}"
            cells.append(cell if low is None else f"{cell} ({low:.2f}–{high:.2f})")
        lines.append(f"| {change} | {' | '.join(cells)} |")
    return "\n".join(lines)


def kept(rows: Iterable[Utterance], heard: Mapping[str, Numbers], worst: float) -> list[Utterance]:
    """Rows without those heard worse than a rate and those made from them.

    Args:
        rows: a whole manifest.
        heard: numbers by id, of some of them.
        worst: highest error rate; of words, or of characters where words are not counted.

    Returns:
        The rest, in order.
    """

    def bad(key: str) -> bool:
        numbers = heard.get(key, {})
        rate = numbers.get("wer")
        rate = numbers.get("cer") if rate is None else rate
        return rate is not None and rate > worst

    return [row for row in rows if not bad(row.id) and not bad(row.source)]


def listen(rows: Sequence[Utterance], words: WordErrors, journal: Journal) -> None:
    """Count the errors of every row that is not in the journal."""
    for row in track([r for r in rows if r.id not in journal], "gate"):
        sample = Sample(row.id, Audio.load(row.path), spoken(row.text), row.lang)
        journal.add(row.id, dict(words.measure([sample])[0]))


def main() -> None:
    """Write ``gate.json`` and ``gate.md``, and the kept rows if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--count", type=int, default=200, help="rows heard; 0: all")
    parser.add_argument("--model", default="tiny.en", help="Whisper size; base for Chinese")
    parser.add_argument("--worst", type=float, default=0.5)
    parser.add_argument("--keep", help="manifest to write without the worse rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out = Path(args.out)
    if args.keep and Path(args.keep).exists():
        parser.error(f"{args.keep} exists; name a new manifest")
    manifest = read_manifest(args.manifest)
    rows = drawn_evenly(manifest, args.count, args.seed)
    words = WordErrors(WhisperRecognizer(args.model, threads=args.threads))
    model: ModelId = words.model
    # What another model heard is another matter.
    journal = Journal(out / f"heard-{Path(args.model).name}.jsonl")
    listen(rows, words, journal)
    report = {
        "manifest": Path(args.manifest).parent.name,
        "recognizer": asdict(model),
        "seed": args.seed,
        "changes": rates(rows, journal.done),
    }
    if args.keep:
        chosen = kept(manifest, journal.done, args.worst)
        write_manifest(args.keep, chosen)
        report["kept"] = {"worst": args.worst, "rows": len(chosen), "of": len(manifest)}
    (out / "gate.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (out / "gate.md").write_text(table(report) + "\n", encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    main()
