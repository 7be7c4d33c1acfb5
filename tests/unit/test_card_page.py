"""A model card as files: targets with their outcome, what is missing, nothing replaced unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepaudio.errors import OutputExistsError
from stepaudio.evaluation.card_page import card_markdown, write_card


def figure(name: str, value: float | None, met: bool | None, **values: Any) -> dict[str, Any]:
    ends = {"low": None, "high": None} if value is None else {"low": value - 0.1, "high": 0.9}
    told = {"name": name, "title": name, "value": value, **ends, "share": False, "digits": 2}
    return {**told, "n": 4, "speakers": 2, "target": None, "met": met, **values}


AT_MOST = {"sense": "at most", "bound": 0.1}
AT_LEAST = {"sense": "at least", "bound": 0.6}
CARD: dict[str, Any] = {
    "kind": "model card",
    "model": "tiny (12345678)",
    "environment": {
        "stepaudio": "0",
        "torch": "2",
        "machine": "abacus",
        "cores": 2,
        "date": "2020-01-01",
    },
    "plan": {"seed": 5},
    "targets": {"met": 1, "missed": 1, "unknown": 1},
    "judges": {},
    "missing": {"dnsmos": "no package"},
    "sections": {
        "resynth": {
            "title": "Resynthesis",
            "rows": 4,
            "speakers": 2,
            "failed": 1,
            "metrics": {"words": {"name": "whisper", "version": "1"}},
            "figures": [
                figure("source", 0.25, None),
                figure("added", 0.25, False, target=AT_MOST),
                figure("heard", 0.75, True, target=AT_LEAST, share=True, digits=0),
                figure("p808", None, None, target=AT_LEAST, missing="no package"),
            ],
            "labels": {
                "sad": {"tempo": {"value": 0.9, "low": None}},
                "happy": {"pitch": {"value": 1.5, "low": 1.0, "high": 2.0}},
            },
            "slices": {
                "gender f": {"rows": 2, "speakers": 1, "figures": [figure("added", 0.25, None)]},
                "gender m": {
                    "rows": 2,
                    "speakers": 3,
                    "figures": [figure("heard", 0.75, None, share=True, digits=0)],
                },
            },
        },
        "denoise": {"title": "Denoising", "missing": "no noises"},
    },
}


def test_the_page() -> None:
    page = card_markdown(CARD)
    for line in (
        "Of 3 targets **1 are met**, 1 missed, 1 unknown.",
        "**Resynthesis** (4 rows, 2 speakers, 1 without sound)",
        "| source | 0.25 (0.15 to 0.90) |  |  |",
        "| added | 0.25 (0.15 to 0.90) | ≤ 0.10 | **missed** |",
        "| heard | 75 % (65 to 90) | ≥ 60 % | met |",
        "| p808 | missing: no package | ≥ 0.60 | unknown |",
        "| Iter1, by label | F0, semitones | tempo × |",
        "| sad | – | 0.90 |",
        "| happy | +1.5 (+1.0 to +2.0) | – |",
        "| by speaker | gender f (1 speakers) | gender m (3 speakers) |",
        "| added | 0.25 (0.15 to 0.90) | – |",
        "| heard | – | 75 % (65 to 90) |",
        "**Denoising**: missing (no noises).",
        "- words: whisper (1)",
        "- dnsmos: **missing** (no package)",
    ):
        assert line in page
    assert page.endswith("\n")


def test_a_second_judge_has_a_table_of_its_own() -> None:
    def step(value: float, joint: float) -> dict[str, Any]:
        told = {"corrected": {"value": value, "low": None}, "off_list": 0, "unanswered": 0}
        return {
            **told,
            "joint": {"value": joint, "low": None},
            "metrics": {},
            "rows": 4,
            "failed": 0,
        }

    resynthesis = CARD["sections"]["resynth"]
    judged = {"task": "emotion", "steps": {"iter0": step(0.25, 0.2), "iter1": step(0.5, 0.4)}}
    second = {"judge": "emotion_pairs", "steps": {"iter0": step(0, 0), "iter1": step(0.75, 0.6)}}
    names = {name: {"name": f"by {name}", "version": "1"} for name in ("emotion", "emotion_pairs")}
    section = {**resynthesis, **judged, "second": second}
    page = card_markdown({**CARD, "sections": {"emotion": section}, "judges": names})
    first, _, after = page.partition("By the judge of emotion_pairs:")
    assert "| **accuracy, %** | 25.0 | 50.0 |" in first
    assert "| **accuracy, %** | 0.0 | 75.0 |" in after
    assert "| **joint success, %** | 0.0 | 60.0 |" in after
    assert "- judge of emotion_pairs: by emotion_pairs (1)" in after
    assert "By the judge of" not in card_markdown(CARD)


def test_files_without_judges_have_no_pictures(tmp_path: Path) -> None:
    output = tmp_path / "out" / "nano.json"
    written = write_card(output, CARD)
    assert written == [output.with_suffix(".md"), output]
    assert json.loads(output.read_text(encoding="utf-8")) == CARD
    with pytest.raises(OutputExistsError, match=r"nano\.md exists"):
        write_card(output, CARD)
    assert write_card(output, CARD, force=True) == written
