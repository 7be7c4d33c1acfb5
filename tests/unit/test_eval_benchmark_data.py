"""Rows of the edit benchmark, read as published."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from eval_fakes import TAGGED, row, tone, write_benchmark, write_lines

from stepaudio.edits import Edit
from stepaudio.errors import EvaluationError
from stepaudio.evaluation.benchmark_data import read_benchmark, spoken_words, unique_ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path)


def test_all_rows_are_read_in_order(folder: Path) -> None:
    rows = read_benchmark(folder)
    assert [r.task for r in rows] == ["emotion"] * 16 + ["style"] * 12 + ["paralinguistic"] * 4
    first = rows[0]
    assert (first.label, first.speaker, first.lang) == ("happy", "167", "en")
    assert first.text == first.words == "Hello there."
    assert first.prompt_audio == folder / "prompt_audios" / "167.wav"
    assert first.prompt_text == "the words of the prompt"
    assert first.origin == f"{folder / 'emotion.jsonl'}:1"
    assert first.edit == Edit.emotion("happy")
    assert first.recording is None


def test_placeholder_ids_and_repeated_rows_get_ids_of_their_own(folder: Path) -> None:
    rows = read_benchmark(folder)
    assert len({r.published_id for r in rows if r.task == "style"}) == 4
    ids = [r.id for r in rows]
    assert len(set(ids)) == len(ids)
    assert all(Path(name).name == name and "[" not in name for name in ids)
    style = [r for r in rows if r.task == "style" and r.speaker == "167"]
    assert style[2].id == f"{style[0].id}-2"
    assert style[2].text == style[0].text


def test_ids_do_not_depend_on_what_else_is_read(folder: Path) -> None:
    alone = read_benchmark(folder, ["style"])
    everything = [r for r in read_benchmark(folder) if r.task == "style"]
    assert alone == everything
    assert unique_ids(everything) == everything


def test_the_misspelled_task_is_understood_in_either_file_name(folder: Path) -> None:
    rows = read_benchmark(folder, ["paralinguistic"])
    assert rows[0].edit == Edit.paralinguistic(TAGGED["en"])
    (folder / "paralingustic.jsonl").rename(folder / "paralinguistic.jsonl")
    assert [r.id for r in read_benchmark(folder, ["paralinguistic"])] == [r.id for r in rows]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Well [Sigh], why not?", "Well, why not?"),
        ("Stop! [Surprise-oh] You did it.", "Stop! You did it."),
        ("I ran [Breathing], then fell.", "I ran, then fell."),
        ("I ran, [Breathing], then fell.", "I ran, then fell."),
        ("Really? [Question-ei], who?", "Really? who?"),
        ("Really? [Question-ei]!", "Really?"),
        ("[Uhm], let me see", "let me see"),
        ("That is all [Sigh]", "That is all"),
        ("刚跑完步，累得不行，[Breathing]，需要休息一下。", "刚跑完步，累得不行，需要休息一下。"),
        ("终于可以歇一会儿了 [Breathing]。", "终于可以歇一会儿了。"),
        ("好 [Laughter] 好", "好好"),
        ("nothing to take out, is there?", "nothing to take out, is there?"),
        ("a [Sigh] b [Uhm] c", "a b c"),
        ("[Sigh]", ""),
    ],
)
def test_spoken_words(text: str, words: str) -> None:
    assert spoken_words(text) == words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gen_text": ""}, "'gen_text' must be text"),
        ({"id": 7}, "'id' must be text, got 7"),
        ({"speaker": None}, "'speaker' must be text"),
        ({"lang": "English"}, "'lang' must be a code"),
        ({"task": "style"}, "the task is 'style' in a file of emotion rows"),
        ({"task_sub": "hapy"}, "unknown emotion 'hapy'; did you mean 'happy'"),
        ({"prompt_audio": "prompt_audios/nobody.wav"}, "there is no recording"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    folder: Path, change: dict[str, object], message: str
) -> None:
    good = row("emotion", "happy", "167", "Hello.", "0")
    file = write_lines(folder / "emotion.jsonl", [good, good, {**good, **change}])
    with pytest.raises(EvaluationError) as caught:
        read_benchmark(folder)
    assert str(caught.value).startswith(f"{file}:3: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["no tag", "[Sigh] and [Sigh]", "[Laughter] instead"])
def test_a_sound_must_stand_in_its_text_once(folder: Path, text: str) -> None:
    write_lines(folder / "paralingustic.jsonl", [row("paralingustic", "[Sigh]", "167", text, "0")])
    with pytest.raises(EvaluationError, match=r"jsonl:1: the text must hold \[Sigh\] once"):
        read_benchmark(folder)


def test_broken_lines_are_named_and_empty_ones_passed_over(folder: Path) -> None:
    good = json.dumps(row("emotion", "happy", "167", "Hello.", "0"))
    (folder / "emotion.jsonl").write_text(f"\ufeff{good}\n\n{good}\r\n", encoding="utf-8")
    assert len(read_benchmark(folder, ["emotion"])) == 2
    (folder / "emotion.jsonl").write_text(f"{good}\n\n{{oops\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"emotion\.jsonl:3: not JSON"):
        read_benchmark(folder)
    (folder / "emotion.jsonl").write_text("[1]\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"emotion\.jsonl:1: expected an object"):
        read_benchmark(folder)


def test_missing_files_and_tasks(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="holds no rows"):
        read_benchmark(tmp_path)
    tone(0.1).save(tmp_path / "prompt_audios" / "167.wav")
    write_lines(tmp_path / "emotion.jsonl", [row("emotion", "happy", "167", "Hello.", "0")])
    assert len(read_benchmark(tmp_path)) == 1
    with pytest.raises(EvaluationError, match=r"holds no style\.jsonl"):
        read_benchmark(tmp_path, ["style"])
    with pytest.raises(EvaluationError, match="unknown task 'speed'"):
        read_benchmark(tmp_path, ["speed"])


@pytest.mark.skipif(
    "STEPAUDIO_BENCHMARK_DIR" not in os.environ,
    reason="STEPAUDIO_BENCHMARK_DIR does not name a folder with the published benchmark",
)
def test_the_published_files() -> None:
    rows = read_benchmark(os.environ["STEPAUDIO_BENCHMARK_DIR"])
    assert len({r.id for r in rows}) == len(rows)
    counts = {task: sum(r.task == task for r in rows) for task in {r.task for r in rows}}
    speakers = len({r.speaker for r in rows})
    # 50 rows per speaker and label: five emotions, seven styles, ten sounds.
    assert counts == {
        "emotion": 250 * speakers,
        "style": 350 * speakers,
        "paralinguistic": 500 * speakers,
    }
    assert not [r for r in rows if "[" in r.words or not r.words]
