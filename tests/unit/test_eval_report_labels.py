"""Tables by label, and the picture beside them, of a codec that makes every voice sound sad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eval_fakes import FakeSystem, YesJudge, tone, write_lines

from stepaudio.evaluation.contracts import Sample, Verdict
from stepaudio.evaluation.edit_benchmark import RunConfig, Store, steps_of
from stepaudio.evaluation.measuring import Instruments, measure_items
from stepaudio.evaluation.recordings import read_recordings, rows_of_recordings
from stepaudio.evaluation.report import build_report
from stepaudio.evaluation.report_labels import answer_table, label_table
from stepaudio.evaluation.report_numbers import show_interval, show_number, step_title
from stepaudio.evaluation.report_page import markdown
from stepaudio.evaluation.workers import run_benchmark

LABELS = ("happy", "sad", "angry", "natural")


class SadCodec(YesJudge):
    """Hears the recording as natural, the resynthesis as sad; edits work for one speaker."""

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        heard = {"iter0": "natural", "resynth": "sad"}
        return [
            Verdict(heard.get(s.id.rpartition("/")[2], s.label if s.speaker == "Ann" else "bored"))
            for s in samples
        ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    lines = []
    for number, speaker in enumerate(("Ann", "Bea")):
        tone(0.4 + 0.1 * number).save(folder / f"{speaker}.wav")
        lines.append({"path": f"{speaker}.wav", "text": "Hi.", "speaker": speaker})
    manifest = write_lines(folder / "m.jsonl", lines)
    asked = [("emotion", "happy"), ("emotion", "sad")]
    rows = rows_of_recordings(read_recordings(manifest), asked)
    config = RunConfig("fake", iterations=2, baseline="resynth")
    run_benchmark(rows, FakeSystem, str(folder / "out"), config)
    store = Store(folder / "out")
    found = [store.read(row.id, step) for row in rows for step in steps_of(row, config)]
    items = [item for item in found if item is not None]
    instruments = Instruments(judges={"emotion": SadCodec(LABELS)})
    scored = measure_items(rows, items, store, instruments)
    return build_report(
        "edit benchmark", scored, instruments, store.config(), baseline=config.baseline
    )


def test_the_resynthesis_stands_between_the_source_and_the_edits(report: dict[str, Any]) -> None:
    steps = report["tasks"]["emotion"]["all"]
    assert list(steps) == ["iter0", "resynth", "iter1", "iter2"]
    page = markdown(report)
    assert "| | Iter0 | resynth | Iter1 | Iter2 |" in page
    assert (
        "| **accuracy, %** | 0.0 (0.0 to 0.0) | 50.0 (50.0 to 50.0) | 50.0 (0.0 to 100.0) |" in page
    )
    assert "| answers off the list, none | 0, 0 | 0, 0 | 2, 0 | 2, 0 |" in page
    # No error rate was measured, so success is unknown; and nobody asked it to change.
    assert "- resynth: the source taken to tokens and back" in page


def test_labels_and_gains(report: dict[str, Any]) -> None:
    assert label_table("emotion", report["tasks"]["emotion"]["all"]) == [
        "| emotion | Iter0 | resynth | Iter1 | Iter2 | Iter1 over Iter0 | Iter1 over resynth |",
        "|---|---|---|---|---|---|---|",
        "| happy | 0.0 | 0.0 | 50.0 | 50.0 | +50.0 (+0.0 to +100.0) | +50.0 (+0.0 to +100.0) |",
        "| sad | 0.0 | 100.0 | 50.0 | 50.0 | +50.0 (+0.0 to +100.0) | -50.0 (-100.0 to +0.0) |",
        "| **all** | 0.0 | 50.0 | 50.0 | 50.0 | +50.0 (+0.0 to +100.0) | +0.0 (-50.0 to +50.0) |",
        "",
    ]
    assert "\n".join(label_table("emotion", report["tasks"]["emotion"]["all"])) in markdown(report)


def test_what_was_answered_to_what_was_asked(report: dict[str, Any]) -> None:
    table = answer_table("emotion", report["tasks"]["emotion"]["all"], LABELS)
    assert table == [
        "What the judge of emotion answered, in % of the recordings of each label asked for:",
        "",
        # "angry" was neither asked for nor heard, and iteration 1 is not the last.
        "| asked | heard in | happy | sad | natural | off the list | of |",
        "|---|---|---|---|---|---|---|",
        "| happy | Iter0 | **0** | 0 | 100 | 0 | 2 |",
        "| happy | resynth | **0** | 100 | 0 | 0 | 2 |",
        "| happy | Iter2 | **50** | 0 | 0 | 50 | 2 |",
        "| sad | Iter0 | 0 | **0** | 100 | 0 | 2 |",
        "| sad | resynth | 0 | **100** | 0 | 0 | 2 |",
        "| sad | Iter2 | 0 | **50** | 0 | 50 | 2 |",
        "",
    ]
    assert "\n".join(table) in markdown(report)


def test_aliases_and_silence_have_their_columns() -> None:
    answers = {"act_coy": {"act_cute": 1, "Act_Coy": 1, "(no answer)": 1, "(no recording)": 1}}
    table = answer_table("style", {"recording": {"answers": answers}}, ("act_coy", "none"))
    assert table[2] == "| asked | heard in | act_coy | (no answer) | (no recording) | of |"
    assert table[4] == "| act_coy | recording | **50** | 25 | 25 | 4 |"


def test_reports_without_judged_resyntheses_stay_readable(report: dict[str, Any]) -> None:
    steps = {**report["tasks"]["emotion"]["all"]}
    steps["resynth"] = {key: steps["resynth"][key] for key in ("rows", "failed", "metrics")}
    steps["iter1"] = {key: value for key, value in steps["iter1"].items() if key != "gains"}
    old = {**report, "tasks": {"emotion": {"all": steps}}}
    page = markdown(old)
    assert "| answers off the list, none | 0, 0 | – | 2, 0 | 2, 0 |" in page
    assert "| emotion | Iter0 | Iter1 | Iter2 |" in page
    assert label_table("emotion", {"iter1": {"metrics": {}}}) == []
    assert answer_table("emotion", {"iter1": {"metrics": {}}}, LABELS) == []


def test_the_picture_has_a_place_for_it(report: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    from stepaudio.evaluation.report_plots import draw_success, draw_trade_off

    text = draw_success(report, tmp_path / "success.svg").read_text("utf-8")
    places = [text.index(f">{name}<") for name in ("Iter0", "resynth", "Iter1", "Iter2")]
    assert places == sorted(places)
    draw_trade_off(report, tmp_path / "trade-off.svg")


def test_how_numbers_are_written() -> None:
    assert (step_title("iter3"), step_title("resynth")) == ("Iter3", "resynth")
    assert show_number(None, 1, True) == "–"
    assert show_number(0.125, 1, True) == "12.5"
    assert show_number(0.5, 2, False, signed=True) == "+0.50"
    assert show_interval(None, 1, True) == "–"
    assert show_interval({"value": None}, 1, True) == "–"
    assert show_interval({"value": -0.5, "low": None}, 1, True, signed=True) == "-50.0"
