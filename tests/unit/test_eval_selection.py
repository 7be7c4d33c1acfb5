"""Which rows are run, and recordings of any origin in their place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from eval_fakes import tone, write_benchmark, write_lines

from stepaudio.edits import Edit
from stepaudio.errors import EvaluationError
from stepaudio.evaluation.benchmark_data import Row, read_benchmark
from stepaudio.evaluation.recordings import FileStore, read_recordings, rows_of_recordings
from stepaudio.evaluation.selection import Selection, select, shard


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return read_benchmark(write_benchmark(tmp_path))


def test_everything_is_taken_by_default(rows: list[Row]) -> None:
    assert select(rows, Selection()) == rows


def test_tasks_languages_and_speakers(rows: list[Row]) -> None:
    some = select(rows, Selection(("style", "emotion"), ("en",), ("167",)))
    assert {(r.task, r.speaker) for r in some} == {("style", "167"), ("emotion", "167")}
    quiet = select(rows, Selection(tasks=("style",), labels=("act_coy",)))
    assert quiet
    assert {(r.task, r.label) for r in quiet} == {("style", "act_coy")}
    for wanted, message in [
        (Selection(labels=("bored",)), "no row has the label 'bored'; there are"),
        (Selection(tasks=("speed",)), "no row has the task 'speed'; there are emotion"),
        (Selection(langs=("de",)), "no row has the language 'de'"),
        (Selection(speakers=("me",)), "no row has the speaker 'me'"),
        (Selection(langs=("zh",), speakers=("167",)), "asked for together"),
        (Selection(limit=0), "at least 1"),
    ]:
        with pytest.raises(EvaluationError, match=message):
            select(rows, wanted)


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_is_balanced_and_grows_without_exchanging(rows: list[Row], seed: int) -> None:
    before: set[str] = set()
    for limit in range(1, 9):
        some = select(rows, Selection(limit=limit, seed=seed))
        assert some == [r for r in rows if r in some]
        for label in {r.label for r in rows}:
            of_label = [r for r in some if r.label == label]
            assert len(of_label) == min(limit, sum(r.label == label for r in rows))
            for key in ("lang", "speaker"):
                counts = Counter(getattr(r, key) for r in of_label)
                everybody = {getattr(r, key) for r in rows}
                shares = [counts[one] for one in everybody]
                assert max(shares) - min(shares) <= 1
        assert before <= {r.id for r in some}
        before = {r.id for r in some}


def test_the_seed_chooses(rows: list[Row]) -> None:
    chosen = {tuple(r.id for r in select(rows, Selection(limit=2, seed=s))) for s in range(8)}
    assert len(chosen) > 1


def test_ranked_rows_are_taken_from_the_front(rows: list[Row]) -> None:
    backwards = [row for row in rows if row.task == "emotion"][::-1]
    some = select(backwards, Selection(limit=2, ranked=True))
    assert some == [row for row in backwards if row in some]
    for label in ("happy", "sad"):
        first = [row for row in backwards if row.label == label][:2]
        assert [row for row in some if row.label == label] == first


def test_shards_part_the_rows(rows: list[Row]) -> None:
    parts = [shard(rows, i, 3) for i in (1, 2, 3)]
    assert sorted(r.id for part in parts for r in part) == sorted(r.id for r in rows)
    for number in (0, 4):
        with pytest.raises(EvaluationError, match="no shard"):
            shard(rows, number, 3)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        tone(0.1).save(tmp_path / "sounds" / f"{name}.wav")
    return write_lines(
        tmp_path / "manifest.jsonl",
        [
            {"path": "sounds/a.wav", "text": "Hello.", "speaker": "Ann", "emotion": "sad"},
            {"id": "b1", "path": "sounds/b.wav", "text": None, "lang": "zh", "source": None},
            {"id": "b1", "path": "sounds/b.wav", "source": "sounds/a.wav"},
        ],
    )


def test_a_manifest(manifest: Path) -> None:
    first, second, third = read_recordings(manifest)
    assert (first.id, first.text, first.speaker, first.lang) == (
        "sounds/a.wav",
        "Hello.",
        "Ann",
        "en",
    )
    assert (second.id, second.text, second.lang, second.source) == ("b1", "", "zh", None)
    assert third.source == manifest.parent / "sounds" / "a.wav"


def test_a_folder(tmp_path: Path) -> None:
    tone(0.1).save(tmp_path / "in" / "b.wav")
    tone(0.1).save(tmp_path / "in" / "deep" / "a.flac")
    (tmp_path / "in" / "b.txt").write_text("Two\nlines.\n", encoding="utf-8")
    found = read_recordings(tmp_path / "in")
    assert [(r.id, r.text) for r in found] == [("b.wav", "Two lines."), ("deep/a.flac", "")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({}, "'path' must name a recording"),
        ({"path": "no.wav"}, "there is no recording"),
        ({"path": "sounds/a.wav", "source": "no.wav"}, "there is no recording"),
        ({"path": "sounds/a.wav", "speaker": 7}, "'speaker' must be text, got 7"),
        ({"path": "sounds/a.wav", "joins": 0.5}, "'joins' must be a list of seconds, got 0.5"),
        ({"path": "sounds/a.wav", "joins": [True]}, "'joins' must be a list of seconds"),
    ],
)
def test_bad_lines_are_named(manifest: Path, line: dict[str, object], message: str) -> None:
    write_lines(manifest, [{"path": "sounds/a.wav"}, line])
    with pytest.raises(EvaluationError, match=r"manifest\.jsonl:2: ") as caught:
        read_recordings(manifest)
    assert message in str(caught.value)


def test_places_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="names no recordings"):
        read_recordings(tmp_path)
    with pytest.raises(EvaluationError, match="does not exist"):
        read_recordings(tmp_path / "nothing")


def test_edits_of_recordings(manifest: Path) -> None:
    recordings = read_recordings(manifest)[:1]
    edits = [("emotion", "happy"), ("speed", "more faster"), ("denoise", "")]
    made = rows_of_recordings(recordings, edits)
    assert [r.edit for r in made] == [
        Edit.emotion("happy"),
        Edit.speed("more faster"),
        Edit.denoise(),
    ]
    assert len({r.id for r in made}) == 3
    assert {r.recording for r in made} == {recordings[0].path}


def test_recordings_that_cannot_be_edited(manifest: Path) -> None:
    recordings = read_recordings(manifest)
    with pytest.raises(EvaluationError, match=r"jsonl:1: no 'task' and 'label'"):
        rows_of_recordings(recordings)
    with pytest.raises(EvaluationError, match=r"jsonl:2: emotion needs the words"):
        rows_of_recordings(recordings, [("emotion", "happy")])
    with pytest.raises(EvaluationError, match=r"jsonl:1: unknown task 'mood'"):
        rows_of_recordings(recordings, [("mood", "happy")])
    with pytest.raises(EvaluationError, match=r"jsonl:1: unknown emotion 'hapy'"):
        rows_of_recordings(recordings, [("emotion", "hapy")])


def test_recordings_to_be_measured_keep_apart(manifest: Path, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "out", read_recordings(manifest))
    assert len({row.id for row in store.rows}) == 3
    item = store.item(store.rows[0])
    assert (item.step, item.wav) == ("recording", str(tmp_path / "sounds" / "a.wav"))
    assert store.wav(store.rows[2].id, "recording") == tmp_path / "sounds" / "b.wav"
