"""The tables of docs/detector.md are what was measured, of the detector that is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.trust.detector.card import tables
from stepaudio.hub import weights_digest
from stepaudio.safety.detector import SyntheticSpeechDetector

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "detector.md").read_text(encoding="utf-8")
REPORT = json.loads((ROOT / "benchmarks" / "results" / "detector.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(7))
def test_tables(number: int) -> None:
    assert tables(REPORT)[number] in PAGE


def test_it_is_the_shipped_one() -> None:
    network = SyntheticSpeechDetector.from_pretrained().network
    assert REPORT["network"] == weights_digest(network)
    splices = REPORT["splices"]
    words = " ".join(PAGE.split())
    assert f"{splices['found']:.0%}".replace("%", " %") in words
    assert f"{splices['false_stretches']:.1%}".replace("%", " %") in words
    assert f"area of {splices['frame_auc']:.2f}" in words
    assert f"{REPORT['speakers']} people" in words
