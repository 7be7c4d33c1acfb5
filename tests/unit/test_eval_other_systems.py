"""Edits of other systems' speech: the set of a recording reaches the tables of the report."""

from __future__ import annotations

from pathlib import Path

from eval_fakes import FakeSystem, YesJudge, tone, write_lines

from stepaudio.evaluation.edit_benchmark import RunConfig, Store, steps_of
from stepaudio.evaluation.measuring import Instruments, measure_items
from stepaudio.evaluation.recordings import read_recordings, rows_of_recordings
from stepaudio.evaluation.report import build_report, item_lines
from stepaudio.evaluation.report_page import markdown
from stepaudio.evaluation.workers import run_benchmark


def test_every_system_has_a_table(tmp_path: Path) -> None:
    # What one engine makes is too quiet for the judge, before the edit and after it.
    tone(0.1).save(tmp_path / "loud.wav")
    tone(-0.5).save(tmp_path / "quiet.wav")
    lines = [
        {"path": f"{name}.wav", "set": engine, "speaker": engine, "text": "Hello there."}
        for name, engine in (("loud", "piper"), ("quiet", "espeak-ng"))
    ]
    found = read_recordings(write_lines(tmp_path / "m.jsonl", lines))
    rows = rows_of_recordings(found, [("emotion", "happy")])
    config = RunConfig("fake (01)", iterations=1, baseline="resynth")
    run_benchmark(rows, FakeSystem, str(tmp_path / "out"), config)
    store = Store(tmp_path / "out")
    made = [store.read(row.id, step) for row in rows for step in steps_of(row, config)]
    items = [item for item in made if item is not None]
    instruments = Instruments(judges={"emotion": YesJudge(("happy", "sad"))})
    scored = measure_items(rows, items, store, instruments)
    report = build_report("edit benchmark", scored, instruments, store.config(), baseline="resynth")
    groups = report["tasks"]["emotion"]
    assert list(groups) == ["all", "espeak-ng", "piper"]
    accuracy = {name: steps["iter1"]["corrected"]["value"] for name, steps in groups.items()}
    assert accuracy == {"all": 0.5, "espeak-ng": 0.0, "piper": 1.0}
    assert "## emotion, piper" in markdown(report)
    assert {line["set"] for line in item_lines(rows, items, scored, baseline="resynth")} == {
        "piper",
        "espeak-ng",
    }
