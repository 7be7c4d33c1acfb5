"""Metrics and judges at work: what they are given, and that nothing is asked for twice."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from eval_fakes import FakeSystem, LoudnessMetric, YesJudge, tone, write_benchmark, write_lines

from stepaudio.errors import (
    AudioError,
    CancelledError,
    JudgeAnswerError,
    JudgeBudgetError,
    JudgeError,
)
from stepaudio.evaluation.benchmark_data import Row, read_benchmark
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.evaluation.edit_benchmark import Item, RunConfig, Store, steps_of
from stepaudio.evaluation.measuring import Instrument, Instruments, measure_items
from stepaudio.evaluation.recordings import FileStore, read_recordings, rows_of_recordings
from stepaudio.evaluation.workers import run_benchmark

CONFIG = RunConfig("fake", iterations=1)
LABELS = ("happy", "sad")


class Ran:
    """A run of a few rows."""

    def __init__(self, folder: Path, rows: Sequence[Row], config: RunConfig = CONFIG) -> None:
        run_benchmark(rows, lambda: FakeSystem(fails="Who"), str(folder), config)
        self.rows, self.store = list(rows), Store(folder)
        found = [self.store.read(row.id, step) for row in rows for step in steps_of(row, config)]
        self.items: list[Item] = [item for item in found if item is not None]

    def measure(self, instruments: Instruments, **given: object) -> list[dict[str, float | None]]:
        scored = measure_items(self.rows, self.items, self.store, instruments, **given)  # type: ignore[arg-type]
        self.answers = [one.answer for one in scored]
        return [dict(one.values) for one in scored]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_benchmark(write_benchmark(tmp_path / "benchmark"))


@pytest.fixture
def ran(rows: list[Row], tmp_path: Path) -> Ran:
    """Two rows of one voice; the second one fails."""
    return Ran(tmp_path / "out", rows[:2])


def test_numbers_answers_and_failures_come_together(ran: Ran) -> None:
    judge = YesJudge(LABELS)
    values = ran.measure(Instruments([Instrument(LoudnessMetric())], {"emotion": judge}))
    assert values[0]["loud:ness.level"] == pytest.approx(0.1, abs=0.01)
    assert values[1]["loud:ness.level"] == pytest.approx(0.2, abs=0.01)
    assert values[2:] == [{}, {}]
    assert ran.answers == ["nothing", "happy", None, None]


def test_what_an_item_is_compared_with(ran: Ran) -> None:
    before, voice = LoudnessMetric(), LoudnessMetric()
    voice.name = "voice"
    metrics = [Instrument(before), Instrument(voice, source="voice", together=True)]
    values = ran.measure(Instruments(metrics))
    # Speech from text was not made of another recording; its voice was heard before.
    assert [v.get("loud:ness.source") for v in values[:2]] == [
        None,
        pytest.approx(values[0]["loud:ness.level"]),
    ]
    assert [v["voice.source"] for v in values[:2]] == pytest.approx([0.1, 0.1], abs=0.001)


def test_recordings_are_compared_with_themselves(tmp_path: Path) -> None:
    tone(0.5).save(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", [{"path": "a.wav", "text": "Hi."}])
    rows = rows_of_recordings(read_recordings(manifest), [("emotion", "sad"), ("emotion", "happy")])
    ran = Ran(tmp_path / "out", rows, replace(CONFIG, baseline="resynth"))
    metric, judge = LoudnessMetric(), YesJudge(LABELS)
    values = ran.measure(Instruments([Instrument(metric, together=True)], {"emotion": judge}))
    assert [v["loud:ness.source"] for v in values] == pytest.approx([0.5] * 6)
    # Judges hear the resynthesis as well, against the recording; one used twice is one object.
    assert ran.answers == ["sad"] * 3 + ["happy"] * 3
    assert [s.id.rpartition("/")[2] for s in judge.asked] == ["iter0", "resynth", "iter1"] * 2
    assert {float(s.source.samples[0]) for s in judge.asked if s.source} == {
        float(judge.asked[0].audio.samples[0])
    }
    sources = {id(sample.source) for batch in metric.heard for sample in batch}
    assert len(sources) == 1
    # Iteration 0 and its resynthesis are the same for both edits, what was edited is not.
    alone = LoudnessMetric(version="2")
    assert ran.measure(Instruments([Instrument(alone)])) == values
    asked = [sample.id.split("/")[1] for batch in alone.heard for sample in batch]
    assert sorted(asked) == sorted(
        {(i.step, ran.store.wav(i.row, i.step).read_bytes()): i.step for i in ran.items}.values()
    )
    assert asked.count("iter0") == 1


def test_metrics_hear_words_and_judges_see_tags(rows: list[Row], tmp_path: Path) -> None:
    ran = Ran(tmp_path / "out", rows[-4:-3])
    metric, judge = LoudnessMetric(), YesJudge(("1", "2", "3"))
    ran.measure(Instruments([Instrument(metric)], {"paralinguistic": judge}))
    assert metric.heard[0][0].text == "Well, why not?"
    assert judge.asked[0].text == "Well [Sigh], why not?"
    assert judge.asked[0].label == "[Sigh]"
    # A judge of changes compares with iteration 0, and that with itself.
    assert judge.asked[0].source is judge.asked[1].source
    assert judge.asked[0].source is not None
    assert torch.equal(judge.asked[0].source.samples, judge.asked[0].audio.samples)


def test_nothing_is_asked_for_twice(ran: Ran) -> None:
    first, judge = LoudnessMetric(), YesJudge(LABELS)
    one = ran.measure(Instruments([Instrument(first)], {"emotion": judge}))
    again, silent = LoudnessMetric(), YesJudge(LABELS)
    assert ran.measure(Instruments([Instrument(again)], {"emotion": silent})) == one
    assert not again.heard
    assert not silent.asked
    newer = LoudnessMetric(version="2")
    ran.measure(Instruments([Instrument(newer)]))
    assert sum(len(batch) for batch in newer.heard) == 2
    # Another sound under the same name is another question.
    tone(0.9).save(ran.store.wav(ran.rows[0].id, "iter1"), force=True)
    louder = LoudnessMetric(version="2")
    assert ran.measure(Instruments([Instrument(louder)]))[1]["loud:ness.level"] == pytest.approx(
        0.9, abs=1e-3
    )
    assert sum(len(batch) for batch in louder.heard) == 1


def test_metrics_of_a_whole_set_get_it_at_once_or_not_at_all(
    rows: list[Row], tmp_path: Path
) -> None:
    ran = Ran(tmp_path / "out", [rows[0], rows[4]])
    metric = LoudnessMetric()
    ran.measure(Instruments([Instrument(metric, together=True)]))
    assert [len(batch) for batch in metric.heard] == [2, 2]
    again = LoudnessMetric()
    ran.measure(Instruments([Instrument(again, together=True)]))
    assert not again.heard
    ran.items = ran.items[:3]
    smaller = LoudnessMetric()
    ran.measure(Instruments([Instrument(smaller, together=True)]))
    assert [len(batch) for batch in smaller.heard] == [1]


class Files:
    """Two recordings with sources of their own, measured again and again in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = [
            {"path": f"{name}.wav", "speaker": name, "source": f"{name}0.wav"} for name in "ab"
        ]
        for line in self.lines:
            line |= {"task": "emotion", "label": "happy"}
        for number, name in enumerate(("a", "b", "a0", "b0", "louder")):
            tone(0.2 + number / 10).save(folder / f"{name}.wav")

    def asked(self, *, together: bool) -> tuple[list[float | None], int, int]:
        """Sources that were heard, and how many a metric and a judge were asked about."""
        manifest = write_lines(self.folder / "m.jsonl", self.lines)
        store = FileStore(self.folder / "out", read_recordings(manifest))
        items = [store.item(row) for row in store.rows]
        metric, judge = LoudnessMetric(), YesJudge(LABELS)
        instruments = Instruments([Instrument(metric, together=together)], {"emotion": judge})
        scored = measure_items(store.rows, items, store, instruments)
        sources = [one.values["loud:ness.source"] for one in scored]
        return sources, sum(map(len, metric.heard)), len(judge.asked)


@pytest.mark.parametrize("together", [False, True])
def test_another_source_is_another_question(tmp_path: Path, together: bool) -> None:
    files = Files(tmp_path)
    near = functools.partial(pytest.approx, abs=1e-3)
    assert files.asked(together=together) == (near([0.4, 0.5]), 2, 2)
    assert files.asked(together=together) == (near([0.4, 0.5]), 0, 0)
    # Another file, or the same one with another sound; one that hears all hears all again.
    files.lines[0]["source"] = "louder.wav"
    everybody = 2 if together else 1
    assert files.asked(together=together) == (near([0.6, 0.5]), everybody, 1)
    tone(0.7).save(tmp_path / "louder.wav", force=True)
    assert files.asked(together=together) == (near([0.7, 0.5]), everybody, 1)
    # The same sound elsewhere is no other question.
    tone(0.7).save(tmp_path / "moved.wav")
    files.lines[0]["source"] = "moved.wav"
    assert files.asked(together=together) == (near([0.7, 0.5]), 0, 0)
    del files.lines[0]["source"]
    assert files.asked(together=together) == ([None, near(0.5)], everybody, 1)


def test_another_speaker_of_one_is_another_set_for_all(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.asked(together=True)
    files.lines[0]["speaker"] = "c"
    assert files.asked(together=True)[1:] == (2, 1)
    # Back again, the other row was last measured beside c.
    files.lines[0]["speaker"] = "a"
    assert files.asked(together=True)[1:] == (2, 0)


def test_another_judge_is_asked_again(ran: Ran) -> None:
    ran.measure(Instruments(judges={"emotion": YesJudge(LABELS)}))
    other = YesJudge(LABELS)
    other.model = ModelId("fake/judge", "2")
    ran.measure(Instruments(judges={"emotion": other}))
    assert len(other.asked) == 2


def test_a_folder_whose_resyntheses_were_never_judged_goes_on(tmp_path: Path) -> None:
    tone(0.5).save(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", [{"path": "a.wav", "text": "Hi."}])
    rows = rows_of_recordings(read_recordings(manifest), [("emotion", "sad"), ("emotion", "happy")])
    ran = Ran(tmp_path / "out", rows, replace(CONFIG, baseline="resynth"))
    ran.measure(Instruments(judges={"emotion": YesJudge(LABELS)}))
    whole = ran.answers
    for answer in (tmp_path / "out" / "measured" / "judge-emotion").rglob("resynth.json"):
        answer.unlink()
    rest, told = YesJudge(LABELS), []
    ran.measure(Instruments(judges={"emotion": rest}), progress=lambda *news: told.append(news))
    assert [s.id.rpartition("/")[2] for s in rest.asked] == ["resynth", "resynth"]
    assert told == [("judge-emotion", 4, 6), ("judge-emotion", 6, 6)]
    assert ran.answers == whole


class Moody(YesJudge):
    """Says nothing of some samples, in the ways judges do."""

    def __init__(self, error: Exception, unable: str) -> None:
        super().__init__(LABELS, yes="sad")
        self.error, self.unable = error, unable

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        said = [None if self.unable in s.id else Verdict("sad") for s in samples]
        if None in said:
            if isinstance(self.error, JudgeError) and self.error.verdicts:
                raise type(self.error)("not all", said)
            raise self.error
        return [one for one in said if one is not None]


@pytest.mark.parametrize(
    "error", [JudgeAnswerError("not all", [None]), JudgeError("bad tag"), AudioError("too short")]
)
def test_a_judge_without_an_answer_is_wrong_not_the_end(ran: Ran, error: Exception) -> None:
    ran.measure(Instruments(judges={"emotion": Moody(error, "iter1")}))
    assert ran.answers[:2] == ["sad", ""]
    willing = YesJudge(LABELS)
    ran.measure(Instruments(judges={"emotion": willing}))
    assert [s.id.rpartition("/")[2] for s in willing.asked] == ["iter1"]


def test_a_judge_that_never_answers_is_an_error(ran: Ran) -> None:
    with pytest.raises(JudgeError, match="gone"):
        ran.measure(Instruments(judges={"emotion": Moody(JudgeError("gone"), "iter")}))


@pytest.mark.parametrize("kind", [JudgeBudgetError, JudgeError])
def test_a_judge_that_is_gone_or_out_of_money_stops_and_keeps(
    ran: Ran, kind: type[JudgeError]
) -> None:
    with pytest.raises(kind):
        ran.measure(Instruments(judges={"emotion": Moody(kind("x", [None]), "iter1")}))
    rest = YesJudge(LABELS)
    ran.measure(Instruments(judges={"emotion": rest}))
    assert len(rest.asked) == 1


def test_cancelling_keeps_what_was_said(rows: list[Row], tmp_path: Path) -> None:
    ran = Ran(tmp_path / "out", rows[:1])
    metric, told = LoudnessMetric(), []
    with pytest.raises(CancelledError):
        ran.measure(
            Instruments([Instrument(metric)]),
            cancel=lambda: len(metric.heard) == 1,
            progress=lambda *news: told.append(news),
        )
    assert told == [("loud:ness", 0, 2)]
    rest = LoudnessMetric()
    ran.measure(Instruments([Instrument(rest)]))
    assert [len(batch) for batch in rest.heard] == [1]
