"""docs/safety.md has the numbers of the measurement."""

from __future__ import annotations

import json
from pathlib import Path

from stepaudio.evaluation.systems import model_name
from stepaudio.safety.matching import measured

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")


def test_costs_are_those_that_were_measured() -> None:
    report = json.loads((ROOT / "benchmarks" / "results" / "trust_cost.json").read_text("utf-8"))
    assert report["model"] == model_name(None)
    spent = dict(report["seconds"])
    assert f"model ({spent.pop('edit'):.2f} s)" in PAGE
    for name, seconds in spent.items():
        assert f"| {name} | {seconds:.4f} |" in PAGE
    told = [f"{100 * report[name]:.1f} %" for name in report if name.startswith("share")]
    assert len(told) == 3
    assert all(share in PAGE for share in told)
    # What was promised of all of it together.
    assert report["share_of_the_first_edit"] <= 0.15


def test_table_and_thresholds_are_those_of_the_file() -> None:
    for row in measured()["slices"]:
        rates = [f"{row['equal_error']:.1%}"]
        for name in ("strangers_accepted", "speakers_refused"):
            low, high = row[f"{name}_95"]
            rates.append(f"{row[name]:.1%} ({100 * low:.0f} to {100 * high:.0f})")
        counts = [str(row["speakers"]), f"{row['same']:,}, {row['different']:,}"]
        assert f"| {' | '.join([row['name'], *counts, *rates])} |" in PAGE
    for level, at in measured()["thresholds"].items():
        assert f"*{level}* ({at['score']})" in PAGE.lower()
    careful = measured()["thresholds"]["careful"]
    accepted, refused = careful["strangers_accepted"], careful["speakers_refused"]
    assert f"accepts {accepted:.0%} of strangers and refuses {refused:.0%}".replace(
        "%", " %"
    ) in " ".join(PAGE.split())
    assert f"measured on {measured()['speakers']} speakers" in PAGE
