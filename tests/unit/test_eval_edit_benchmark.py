"""Running the benchmark: what is asked of the system, and going on after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from eval_fakes import FakeSystem, tone, write_benchmark, write_lines

from stepaudio.audio import Audio
from stepaudio.errors import CancelledError, EvaluationError, OutputExistsError
from stepaudio.evaluation.benchmark_data import Row, read_benchmark
from stepaudio.evaluation.edit_benchmark import Item, RunConfig, Store, steps_of
from stepaudio.evaluation.recordings import read_recordings, rows_of_recordings
from stepaudio.evaluation.workers import run_benchmark

CONFIG = RunConfig("fake", iterations=2, seed=5)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_benchmark(write_benchmark(tmp_path / "benchmark"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_the_system_is_asked(rows: list[Row], tmp_path: Path) -> None:
    system = FakeSystem()
    chosen = [rows[0], rows[-4]]
    seen: list[Item] = []
    run_benchmark(chosen, lambda: system, str(tmp_path / "out"), CONFIG, done=seen.append)
    assert [call[:2] for call in system.calls] == [
        ("speak", "Hello there."),
        ("edit emotion happy", "Hello there."),
        ("edit emotion happy", "Hello there."),
        ("speak", "Well, why not?"),
        ("edit paralinguistic Well [Sigh], why not?", "Well, why not?"),
    ]
    assert len({seed for *_, seed in system.calls}) == 5
    assert [item.step for item in seen] == ["iter0", "iter1", "iter2", "iter0", "iter1"]
    store = Store(tmp_path / "out")
    levels = [float(Audio.load(store.wav(rows[0].id, f"iter{n}")).samples[0]) for n in range(3)]
    assert levels == pytest.approx([0.1, 0.2, 0.3], abs=0.01)
    assert store.read(rows[0].id, "iter2") == seen[2]
    assert (seen[0].stop_reason, seen[0].seconds, seen[0].seconds_spent) == ("end", 0.25, 0.5)


def test_the_voice_is_fixed_if_asked(rows: list[Row], tmp_path: Path) -> None:
    system = FakeSystem()
    config = replace(CONFIG, fixed_prompt=True)
    run_benchmark(rows[:1], lambda: system, str(tmp_path / "out"), config)
    assert [c[0] for c in system.calls] == ["speak", *["edit emotion happy fixed"] * 2]


def test_recordings_take_the_place_of_iteration_0(tmp_path: Path) -> None:
    tone(0.5).save(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", [{"path": "a.wav", "text": "Hi.", "id": "a"}])
    made = rows_of_recordings(read_recordings(manifest), [("style", "whisper")])
    system = FakeSystem()
    config = replace(CONFIG, baseline="resynth")
    assert steps_of(made[0], config) == ["iter0", "resynth", "iter1", "iter2"]
    run_benchmark(made, lambda: system, str(tmp_path / "out"), config)
    assert [c[0] for c in system.calls] == ["resynth", *["edit style whisper"] * 2]
    first = Audio.load(Store(tmp_path / "out").wav(made[0].id, "iter0"))
    assert torch.equal(first.samples, Audio.load(tmp_path / "a.wav").samples)


@pytest.mark.parametrize("stop_after", [0, 1, 4, 7])
def test_an_interrupted_run_goes_on_and_ends_up_the_same(
    rows: list[Row], tmp_path: Path, stop_after: int
) -> None:
    whole = FakeSystem()
    run_benchmark(rows[:4], lambda: whole, str(tmp_path / "whole"), CONFIG)
    interrupted, rest = FakeSystem(stop_after), FakeSystem()
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(rows[:4], lambda: interrupted, str(tmp_path / "parts"), CONFIG)
    seen: list[Item] = []
    run_benchmark(rows[:4], lambda: rest, str(tmp_path / "parts"), CONFIG, done=seen.append)
    assert interrupted.calls + rest.calls == whole.calls
    assert len(seen) == 12
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_sound_without_its_line_is_made_again(rows: list[Row], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_benchmark(rows[:1], FakeSystem, str(out), CONFIG)
    before = contents(out)
    line = out / "items" / rows[0].id / "iter1.json"
    line.unlink()
    line.with_suffix(".wav").write_bytes(b"half")
    run_benchmark(rows[:1], FakeSystem, str(out), CONFIG)
    assert contents(out) == before


def test_a_damaged_line_is_named(rows: list[Row], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_benchmark(rows[:1], FakeSystem, str(out), CONFIG)
    (out / "items" / rows[0].id / "iter1.json").write_text("{", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"iter1\.json is damaged"):
        run_benchmark(rows[:1], FakeSystem, str(out), CONFIG)


def test_nothing_is_loaded_when_nothing_is_left(rows: list[Row], tmp_path: Path) -> None:
    run_benchmark(rows[:2], FakeSystem, str(tmp_path / "out"), CONFIG)

    def load() -> FakeSystem:
        raise AssertionError("the model was loaded")

    run_benchmark(rows[:2], load, str(tmp_path / "out"), CONFIG)


def test_another_configuration_is_refused_by_name(rows: list[Row], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    run_benchmark(rows[:2], FakeSystem, out, CONFIG)
    before = contents(tmp_path / "out")
    for other, chosen, message in [
        (replace(CONFIG, iterations=3), rows[:2], "iterations was 2 and is now 3"),
        (replace(CONFIG, seed=6), rows[:2], "seed was 5 and is now 6"),
        (replace(CONFIG, model="new"), rows[:2], 'model was "fake" and is now "new"'),
        (CONFIG, rows[:3], "rows was 2 and is now 3"),
        (CONFIG, rows[1:3], "rows_digest was"),
    ]:
        with pytest.raises(EvaluationError, match="another configuration") as caught:
            run_benchmark(chosen, FakeSystem, out, other)
        assert message in str(caught.value)
    assert contents(tmp_path / "out") == before


def test_a_folder_of_something_else_is_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="is not empty"):
        run_benchmark(rows, FakeSystem, str(tmp_path / "benchmark"), CONFIG)
    assert not (tmp_path / "benchmark" / "config.json").exists()


def test_failures_are_kept_and_not_tried_again(rows: list[Row], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    chosen = [rows[0], rows[1]]
    system = FakeSystem(fails="Hello")
    seen: list[Item] = []
    run_benchmark(chosen, lambda: system, out, CONFIG, done=seen.append)
    assert [c[0] for c in system.calls] == ["speak", "speak", *["edit emotion happy"] * 2]
    assert [item.wav is None for item in seen] == [True, True, True, False, False, False]
    assert seen[0].error == "GenerationError: nothing that can be decoded"
    assert seen[1].error == "EvaluationError: iter0 failed"
    again = FakeSystem()
    run_benchmark(chosen, lambda: again, out, CONFIG)
    assert not again.calls


def test_cancelling_keeps_what_is_finished(rows: list[Row], tmp_path: Path) -> None:
    system = FakeSystem()
    out = str(tmp_path / "out")
    with pytest.raises(CancelledError, match="run again"):
        run_benchmark(rows, lambda: system, out, CONFIG, cancel=lambda: len(system.calls) == 5)
    assert len(list((tmp_path / "out" / "items").rglob("*.json"))) == 5


def test_shards_together_make_the_whole(rows: list[Row], tmp_path: Path) -> None:
    run_benchmark(rows[:5], FakeSystem, str(tmp_path / "whole"), CONFIG)
    for number in (2, 1):
        run_benchmark(rows[:5], FakeSystem, str(tmp_path / "parts"), CONFIG, part=(number, 2))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_settings_that_make_no_sense(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="at least one iteration"):
        RunConfig("fake", iterations=0)
    with pytest.raises(EvaluationError, match="at least one worker"):
        run_benchmark(rows, FakeSystem, str(tmp_path / "out"), CONFIG, workers=0)


def test_the_configuration_can_be_read_back(rows: list[Row], tmp_path: Path) -> None:
    run_benchmark(rows[:1], FakeSystem, str(tmp_path / "out"), CONFIG)
    config = Store(tmp_path / "out").config()
    assert (config["model"], config["iterations"], config["rows"]) == ("fake", 2, 1)
    (tmp_path / "out" / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(EvaluationError, match="does not hold a configuration"):
        Store(tmp_path / "out").config()


@pytest.mark.slow
def test_workers_make_what_one_makes(rows: list[Row], tmp_path: Path) -> None:
    run_benchmark(rows[:4], FakeSystem, str(tmp_path / "one"), CONFIG)
    seen: list[Item] = []
    run_benchmark(rows[:4], FakeSystem, str(tmp_path / "two"), CONFIG, workers=2, done=seen.append)
    assert len(seen) == 12
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    with pytest.raises(EvaluationError, match=r"(?s)a worker failed: .*ZeroDivisionError"):
        run_benchmark(rows[4:7], partial(divmod, 1, 0), str(tmp_path / "bad"), CONFIG, workers=2)


def test_items_are_one_line_of_json(rows: list[Row], tmp_path: Path) -> None:
    run_benchmark(rows[:1], FakeSystem, str(tmp_path / "out"), CONFIG)
    text = (tmp_path / "out" / "items" / rows[0].id / "iter0.json").read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert json.loads(text)["wav"] == f"items/{rows[0].id}/iter0.wav"
