"""The figures of docs/watermark.md are those of the result files, and of the mark that is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepaudio.evaluation.systems import model_name
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "watermark.md").read_text(encoding="utf-8")


def results(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def test_the_table_is_what_was_measured() -> None:
    report = results("watermark.json")
    assert report["strength"] == DEFAULT_WATERMARKER.strength
    assert report["threshold"] == DEFAULT_WATERMARKER.threshold
    for name, row in report["after"].items():
        found, read = (f"{100 * row[of]:.1f} %" for of in ("found", "payload_read"))
        low, high = (abs(100 * border) for border in row["found_95"])
        line = f"| {name} | {found} ({low:.1f} to {high:.1f}) | {read} |"
        assert line.replace("0.0 % ", "0 % ") in PAGE.replace("0.0 % ", "0 % "), line
        assert row["wrong_bits_in_payloads_given"] == 0
    unmarked = report["unmarked"]
    assert unmarked["found"] == 0
    assert f"scores above {unmarked['exceeded_by_1_in_1000']}," in PAGE
    assert f"signal to noise {report['snr']['mean']} dB" in PAGE
    assert f"PESQ {report['pesq']['mean']} " in PAGE


def test_the_figures_of_edits_are_what_was_measured() -> None:
    report = results("watermark_edits.json")
    assert report["model"] == model_name(None)
    rows = report["first_edit"] + report["second_edit"]
    read, after = (sum(row[of] for row in rows) for of in ("read", "read_after_opus"))
    scores = [row["score_after_opus"] for row in rows]
    found = sum(score >= DEFAULT_WATERMARKER.threshold for score in scores)
    assert f"{read} of {len(rows)} are found and read" in PAGE
    assert f"{found} are found\nand {after} read (lowest score {min(scores)})" in PAGE
    assert f"of at most {max(report['scores_left_by_resynthesis'])}, like unmarked" in PAGE
    changed = report["changed_first_edit"] + report["changed_second_edit"]
    read = sum(row["read"] for row in changed)
    after = sum(row["read_after_opus"] for row in changed)
    low = min(row["score_after_opus"] for row in changed)
    assert f"the newest one is read in {read} of {len(changed)}, and in {after}\nafter" in PAGE
    assert f"after Opus (lowest score {low})" in PAGE
    assert f"{100 * report['share_of_an_edit']:.1f} % of\nan edit" in PAGE
