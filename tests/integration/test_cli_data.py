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
    lines("texts.jsonl", {"prompt": "hello", "completion": "well hello"})
    rows = told(
        "data", "rows", "made/manifest.jsonl", "codes", "-o", "rows.jsonl", "--model", model,
        "--edits", "pairs.jsonl", "--zero-shot", "--text", "texts.jsonl",
    )  # fmt: skip
    assert (rows["kept"], rows["no codes"], rows["zero-shot"], rows["text"]) == (24, 0, 4, 1)
    written = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert len(written) == rows["rows"] == 29
    assert rows["ids"] == sum(len(row["prompt"]) + len(row["completion"]) for row in written)


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
