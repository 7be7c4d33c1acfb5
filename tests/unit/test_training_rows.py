from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from training_debug import SPEC, write_completions, write_lines, write_pairs

from stepaudio.errors import DataError
from stepaudio.training.rows import completion_rows, pair_rows

PAIR = {"prompt": [1], "chosen": [5], "rejected": [6]}


def test_rows_are_read_where_they_lie(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "rows.jsonl",
        [{"prompt": [1, 2], "completion": [80, 3], "id": "ü"}, {"prompt": [4], "completion": [3]}],
    )
    path.write_text("\n" + path.read_text() + "  \n")
    rows = completion_rows(path, SPEC)
    assert rows.lengths == [4, 2]
    assert [row.prompt.tolist() for row in rows] == [[1, 2], [4]]
    assert rows[-1].completion.tolist() == [3]
    assert rows[1].prompt.dtype == torch.int64
    assert len(rows[0:5]) == 2
    assert rows.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def test_pairs_and_what_may_be_left_out(tmp_path: Path) -> None:
    pairs = pair_rows(write_pairs(tmp_path / "pairs.jsonl", 2), SPEC)
    assert [(pair.margin, pair.origin) for pair in pairs] == [(9.0, "judge"), (4.0, "human")]
    first = pairs[0]
    assert first.tokens == 2 * len(first.prompt) + len(first.chosen) + len(first.rejected)
    (plain,) = pair_rows(write_lines(tmp_path / "plain.jsonl", [PAIR]), SPEC)
    assert (plain.margin, plain.origin) == (0.0, "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": None}, "has no 'prompt'"),
        ({"chosen": []}, "'chosen' must be a list of at least one token id"),
        ({"rejected": [1, True]}, "'rejected' must be a list"),
        ({"prompt": [120]}, r"'prompt' has ids outside 0\.\.119"),
        ({"chosen": [-1]}, "'chosen' has ids outside"),
        ({"chosen": [6]}, "are the same"),
        ({"rejected": [7] * 512}, "has 513 tokens, the model reads 512"),
        ({"margin": "big"}, "'margin' must be a number"),
        ({"margin": -1}, "must be 0 or more"),
        ({"margin": float("inf")}, "must be 0 or more"),
        ({"origin": "crowd"}, "'origin' must be 'human' or 'judge'"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", [PAIR, PAIR | change])
    with pytest.raises(DataError, match=rf"pairs\.jsonl, line 2: .*{words}"):
        pair_rows(path, SPEC)


def test_files_that_are_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        completion_rows(tmp_path / "missing.jsonl", SPEC)
    for text, words in (("", "has no rows"), ("[1]\n", "line 1: must be an object"), ("{\n", "1:")):
        path = tmp_path / "bad.jsonl"
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            completion_rows(path, SPEC)


def test_the_debug_rows_are_rows(tmp_path: Path) -> None:
    rows = completion_rows(write_completions(tmp_path / "rows.jsonl", 3), SPEC)
    assert [int(row.completion[-1]) for row in rows] == [SPEC.end_ids[0]] * 3
