"""Beside any data stage: are the words still there, and does it sound well? A sample, per change.

A change that costs words teaches the editor to lose them. Rows are drawn evenly from every change,
heard by Whisper, and reported with intervals that resample speakers. With ``--keep`` rows heard
worse than ``--worst`` are left out of a new manifest, and so is what was made from them; rows that
were not heard stay.

    python -m recipes.nano.data.gate MANIFEST -o runs/nano/gate --count 60
    python -m recipes.nano.data.gate MANIFEST -o runs/nano/gate --count 0 --keep KEPT.jsonl
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
from stepaudio.evaluation.bootstrap import mean_interval, pooled_interval
from stepaudio.evaluation.contracts import Metric, ModelId, Sample
from stepaudio.evaluation.quality import Dnsmos
from stepaudio.evaluation.words import WhisperRecognizer, WordErrors

__all__ = ["drawn_evenly", "hear", "kept", "rates", "spoken", "table"]

ALL = "all"
#: A rate: errors and what should be there, as :class:`WordErrors` names them.
RATES = {"wer": ("word_errors", "words"), "cer": ("char_errors", "chars")}

#: DNSMOS's guess of a listener's opinion, 1 to 5.
MOS = "p808"

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
    """Pooled error rates and mean opinion per change and of all rows, with 95 % intervals.

    Args:
        rows: those heard.
        heard: numbers of the metrics by id.

    Returns:
        Per change the ``wer``, ``cer`` and ``p808`` as :class:`Interval` fields.
    """
    out = {}
    for change in (*sorted({row.change for row in rows}), ALL):
        chosen = [row for row in rows if change in (ALL, row.change)]
        speakers = [row.speaker for row in chosen]
        out[change] = {
            name: asdict(
                pooled_interval(
                    [heard[row.id][errors] for row in chosen],
                    [heard[row.id][reference] for row in chosen],
                    speakers,
                )
            )
            for name, (errors, reference) in RATES.items()
        }
        sounding = mean_interval([heard[row.id].get(MOS) for row in chosen], speakers)
        out[change][MOS] = asdict(sounding)
    return out


def table(report: Mapping[str, Any]) -> str:
    """The rates as a Markdown table."""
    lines = ["| change | rows | speakers | WER | CER | P808 |", "|---|---|---|---|---|---|"]
    for change, found in report["changes"].items():
        cells = [str(found["cer"]["n"]), str(found["cer"]["speakers"])]
        for name in (*RATES, MOS):
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


def listen(rows: Sequence[Utterance], metrics: Sequence[Metric], journal: Journal) -> None:
    """Measure every row that is not in the journal."""
    for row in track([r for r in rows if r.id not in journal], "gate"):
        sample = Sample(row.id, Audio.load(row.path), spoken(row.text), row.lang)
        numbers = [metric.measure([sample])[0] for metric in metrics]
        journal.add(row.id, {name: value for found in numbers for name, value in found.items()})


def hear(
    rows: Sequence[Utterance], out: Path, count: int, *, model: str = "tiny.en", mos: bool = False,
    seed: int = 0, threads: int = 1,
) -> dict[str, Numbers]:  # fmt: skip
    """Listen to a sample and write ``gate.json`` and ``gate.md``.

    Args:
        rows: of a manifest.
        out: the folder; what was heard before is not heard again.
        count: rows to listen to; 0: all.
        model: Whisper size; an English one hears no other language.
        mos: also guess how good it sounds (DNSMOS P.808).
        seed: of the sample.
        threads: of the recognizer.

    Returns:
        Numbers of the metrics by id.
    """
    words = WordErrors(WhisperRecognizer(model, threads=threads))
    metrics: list[Metric] = [words, Dnsmos()] if mos else [words]
    identities: list[ModelId] = [metric.model for metric in metrics]
    chosen = drawn_evenly(
        [row for row in rows if words.recognizer.understands(row.lang)], count, seed
    )
    # What other models heard is another matter.
    journal = Journal(out / f"heard-{Path(model).name}{'-mos' if mos else ''}.jsonl")
    listen(chosen, metrics, journal)
    report = {
        "models": [asdict(identity) for identity in identities],
        "seed": seed,
        "changes": rates(chosen, journal.done),
    }
    (out / "gate.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (out / "gate.md").write_text(table(report) + "\n", encoding="utf-8")
    return journal.done


def main() -> None:
    """Write ``gate.json`` and ``gate.md``, and the kept rows if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200, help="rows heard; 0: all")
    parser.add_argument("--model", default="tiny.en", help="Whisper size; base for Chinese")
    parser.add_argument("--mos", action="store_true", help="also DNSMOS (speechmos)")
    parser.add_argument("--worst", type=float, default=0.5)
    parser.add_argument("--keep", help="manifest to write without the worse rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.keep and Path(args.keep).exists():
        parser.error(f"{args.keep} exists; name a new manifest")
    rows = read_manifest(args.manifest)
    heard = hear(
        rows, args.out, args.count, model=args.model, mos=args.mos, seed=args.seed,
        threads=args.threads,
    )  # fmt: skip
    print((args.out / "gate.md").read_text(encoding="utf-8"))
    if args.keep:
        chosen = kept(rows, heard, args.worst)
        write_manifest(args.keep, chosen)
        print(f"{len(chosen)} of {len(rows)} rows kept")


if __name__ == "__main__":
    main()
