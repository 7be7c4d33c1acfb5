"""From recordings to rows on the command line, with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import debug_parts as debug
import pytest
from command_line import ok, refused, told

from stepaudio import EditPipeline
from stepaudio.data.manifest import Utterance, read_manifest, write_manifest
from stepaudio.data.pairs import read_pairs
from stepaudio.data.shards import TokenShards
from stepaudio.parts import load_part


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "debug"
    return str(EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS).save_pretrained(folder))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a corpus: neutral and happy, two texts, one speaker."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number, emotion in enumerate(["neutral", "happy", "neutral", "happy"]):
        name = f"r{number}"
        debug.speech(0.6 + 0.1 * number, seed=number).save(f"{name}.wav")
        text = ["hello there", "see you tomorrow"][number // 2]
        rows.append(Utterance(name, f"{name}.wav", "s", text, "en", emotion=emotion))
    write_manifest("corpus.jsonl", rows)
    write_manifest("refused.jsonl", [Utterance("x", "r0.wav", train_ok=False)])
    return tmp_path


def lines(path: str, *rows: Any) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_road_from_recordings_to_rows(model: str) -> None:
    assert told("data", "check", "corpus.jsonl")["speakers"] == 1
    debug.speech(0.3, seed=9).save("noise.wav")
    write_manifest("noises.jsonl", [Utterance("noise", "noise.wav")])
    made = told(
        "data", "signal", "corpus.jsonl", "-o", "made", "--kinds", "speed,denoise",
        "--noises", "noises.jsonl", "--seed", "1",
    )  # fmt: skip
    assert made["changes"]["noisy"] == made["changes"]["speed:faster"] == 4
    assert len(read_manifest("made/manifest.jsonl")) == 4 * 6
    found = told("data", "pairs", "made/manifest.jsonl", "-o", "pairs.jsonl")
    # Two triplets each way, four speeds and one noise of each of four recordings.
    assert found["pairs"] == len(read_pairs("pairs.jsonl")) == 2 * 2 + 4 * 5
    codes = told(
        "tokenize", "made/manifest.jsonl", "-o", "codes", "--model", model, "--per-shard", "10",
        "--batch-size", "4",
    )  # fmt: skip
    assert (codes["recordings"], codes["failed"]) == (24, 0)
    assert len(TokenShards("codes")) == 24
    rows = told(
        "data", "rows", "made/manifest.jsonl", "codes", "-o", "rows.jsonl", "--model", model,
        "--edits", "pairs.jsonl", "--zero-shot",
    )  # fmt: skip
    assert (rows["kept"], rows["no codes"], rows["zero-shot"]) == (24, 0, 4)
    written = read_lines("rows.jsonl")
    assert len(written) == rows["rows"] == 28
    assert rows["ids"] == sum(len(row["prompt"]) + len(row["completion"]) for row in written)


def test_rows_have_as_many_tokens_of_text_as_of_audio(model: str) -> None:
    told("tokenize", "corpus.jsonl", "-o", "codes", "--model", model)
    first_audio = load_part(model, "text").token_id("<audio_0>")
    lines("few.jsonl", {"prompt": "hello", "completion": "well hello"})
    lines("long.jsonl", {"prompt": "hello", "completion": "well hello " * 200})
    texts = [{"prompt": "hello", "completion": f"well hello {n}"} for n in range(200)]
    lines("texts.jsonl", *texts)

    def written(output: str, *options: str) -> dict[str, Any]:
        return told(
            "data", "rows", "corpus.jsonl", "codes", "-o", output, "--model", model, *options
        )

    values = written("rows.jsonl", "--zero-shot", "--text", "texts.jsonl")
    counts, longest = {"text": 0, "audio": 0}, 0
    for row in read_lines("rows.jsonl"):
        ids = row["prompt"] + row["completion"]
        heard = sum(one >= first_audio for one in ids)
        counts["audio" if heard else "text"] += heard or len(ids)
        longest = max(longest, 0 if heard else len(ids))
    assert (values["text tokens"], values["audio tokens"]) == (counts["text"], counts["audio"])
    assert 0 <= counts["text"] - counts["audio"] < longest
    assert values["rows"] == values["text"] + values["zero-shot"]
    assert values["text"] + values["text left out"] == 200

    written("again.jsonl", "--zero-shot", "--text", "texts.jsonl")
    assert Path("again.jsonl").read_bytes() == Path("rows.jsonl").read_bytes()
    spoken = ok(
        "data", "rows", "corpus.jsonl", "codes", "-o", "spoken.jsonl", "--model", model,
        "--zero-shot", "--text", "texts.jsonl", "--seed", "1",
    )  # fmt: skip
    assert "tokens of text to" in spoken
    assert Path("spoken.jsonl").read_bytes() != Path("rows.jsonl").read_bytes()

    # Text alone has no ratio to keep; too little of it is never drawn twice.
    assert written("chat.jsonl", "--text", "texts.jsonl")["text"] == 200
    assert written("short.jsonl", "--text", "long.jsonl", "--longest", "100")["rows"] == 0
    line = refused(
        "data", "rows", "corpus.jsonl", "codes", "-o", "none.jsonl", "--model", model,
        "--zero-shot", "--text", "few.jsonl",
    )  # fmt: skip
    assert "few.jsonl: 1 chats have" in line
    assert "give more chats or fewer recordings" in line
    assert not Path("none.jsonl").exists()


def test_large_margins_are_selected() -> None:
    kept = told(
        "data", "pairs", "corpus.jsonl", "-o", "pairs.jsonl", "--select",
        "--threshold", "emotion:happy=10", "--floor", "1",
    )  # fmt: skip
    assert kept["found"] == 4
    assert kept["categories"]["emotion:happy"] == {
        "threshold": 10.0, "kept": 0, "below": 2, "unrated": 0,
    }  # fmt: skip
    # The floor of 1 keeps everything.
    assert kept["categories"]["emotion:remove"]["kept"] == 2
    assert all(pair.margin is not None for pair in read_pairs("pairs.jsonl"))


def test_ratings_become_preference_pairs() -> None:
    answers = [
        {"prompt": [1], "completion": [n], "rating": rating, "origin": "human"}
        for n, rating in enumerate((5, 2, 1))
    ]
    lines("ratings.jsonl", *answers)
    values = told("data", "preferences", "ratings.jsonl", "-o", "pairs.jsonl")
    assert values["pairs"] == {"human": 1}
    assert [row["pairs"] for row in values["survivors"]["human"]] == [3, 2, 2, 2, 1, 1]
    looser = told(
        "data", "preferences", "ratings.jsonl", "-o", "more.jsonl", "--human", "2.5", "--judge", "7"
    )
    assert looser["pairs"] == {"human": 2}


def test_refusals(model: str) -> None:
    for command in (["data", "pairs"], ["data", "signal"]):
        line = refused(*command, "refused.jsonl", "-o", "out")
        assert "refused.jsonl:1: x is not licensed for training" in line
    assert "1 recordings" in ok("data", "check", "refused.jsonl")
    assert told("data", "pairs", "refused.jsonl", "-o", "out", "--evaluation")["found"] == 0
    assert "exists" in refused("data", "pairs", "corpus.jsonl", "-o", "corpus.jsonl")
    assert "needs a folder" in refused("tokenize", "corpus.jsonl", code=2)
    wrong = refused("data", "pairs", "corpus.jsonl", "-o", "p", "--threshold", "happy", code=2)
    assert "'happy' is not CATEGORY=MARGIN" in wrong
    told("tokenize", "corpus.jsonl", "-o", "codes", "--model", model)
    again = refused("tokenize", "refused.jsonl", "-o", "codes", "--model", model)
    assert "made from other recordings" in again
