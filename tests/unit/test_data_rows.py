"""Rows of ids: prompts as the pipeline writes them, answers that end their turn."""

from __future__ import annotations

from pathlib import Path

import debug_parts as debug
import pytest
import torch

from stepaudio.data.manifest import Utterance
from stepaudio.data.pairs import EditPair
from stepaudio.data.rows import (
    ChatRow,
    clone_row,
    edit_row,
    edit_rows,
    read_texts,
    text_row,
    write_rows,
)
from stepaudio.data.zero_shot import zero_shot_pairs, zero_shot_rows
from stepaudio.edits import Edit
from stepaudio.errors import DataError, EditError, PromptError
from stepaudio.prompts import edit_prompt, encode_clone_prompt, encode_edit_prompt, prompt_phrases
from stepaudio.tokenizers.interleave import to_text
from stepaudio.tokenizers.text import BOS, BOT, EOT, SentencePieceText
from stepaudio.tokenizers.text_training import train_text_tokenizer
from stepaudio.types import SpeechTokens


@pytest.fixture(scope="module")
def text() -> SentencePieceText:
    size = debug.TOKENS.size
    return train_text_tokenizer(debug.LINES, 500, audio_tokens=size, phrases=prompt_phrases())


def codes(units: int, start: int = 0) -> SpeechTokens:
    return SpeechTokens(
        (torch.arange(2 * units) + start) % 12, (torch.arange(3 * units) + start) % 20, debug.TOKENS
    )


def test_an_edit_row_is_the_prompt_and_the_wanted_codes(text: SentencePieceText) -> None:
    pair = EditPair(Edit.emotion("happy"), "a", "b", "well why not")
    row = edit_row(text, pair, codes(2), codes(3, 5))
    wanted = encode_edit_prompt(text, pair.edit, to_text(codes(2)), pair.text)
    assert list(row.prompt) == wanted
    assert text.decode(row.completion) == to_text(codes(3, 5)) + EOT
    assert len(row) == len(wanted) + 16
    old = edit_row(text, pair, codes(2), codes(3), layout="v1")
    assert list(old.prompt) == encode_edit_prompt(
        text, pair.edit, to_text(codes(2)), pair.text, layout="v1"
    )
    with pytest.raises(EditError, match="needs text"):
        edit_row(text, EditPair(Edit.emotion("happy"), "a", "b"), codes(2), codes(3))


def test_the_whole_row_is_the_published_chat(text: SentencePieceText) -> None:
    pair = EditPair(Edit.denoise(), "a", "b")
    row = edit_row(text, pair, codes(2), codes(2, 3))
    chat = edit_prompt(pair.edit, to_text(codes(2))) + to_text(codes(2, 3)) + EOT
    assert [*row.prompt, *row.completion] == text.encode(chat)


def test_a_clone_row_speaks_the_words(text: SentencePieceText) -> None:
    row = clone_row(text, "hello there", codes(2), "well", codes(1, 7))
    assert list(row.prompt) == encode_clone_prompt(
        text, "hello there", "well", to_text(codes(1, 7))
    )
    assert text.decode(row.completion) == to_text(codes(2)) + EOT


def test_a_text_row_is_a_chat_without_sound(text: SentencePieceText) -> None:
    row = text_row(text, "hello there", "see you tomorrow")
    chat = f"{BOS}{BOT} human\nhello there{EOT}{BOT} assistant\nsee you tomorrow{EOT}"
    assert [*row.prompt, *row.completion] == text.encode(chat)
    with pytest.raises(PromptError, match="no question"):
        text_row(text, " ", "yes")
    for answer in ("", f"yes{EOT}no"):
        with pytest.raises(DataError, match="is empty or ends a turn"):
            text_row(text, "well", answer)


def test_pairs_without_codes_and_long_rows_are_counted(text: SentencePieceText) -> None:
    known = {"a": codes(2), "b": codes(3), "long": codes(200)}
    pairs = [EditPair(Edit.denoise(), "a", after) for after in ("b", "long", "gone")]
    rows, counts = edit_rows(text, pairs, known, longest=500)
    assert counts == {"kept": 1, "no codes": 1, "too long": 1}
    assert rows == [edit_row(text, pairs[0], known["a"], known["b"])]


def test_voices_are_other_recordings_of_the_speaker() -> None:
    rows = [Utterance(f"{s}{n}", "x", s, f"words {n}") for s in "ab" for n in range(4)]
    rows += [
        Utterance("alone", "x", "c", "words"),
        Utterance("changed", "x", "a", "words 9", change="noisy", source="a0"),
    ]
    pairs = zero_shot_pairs(rows)
    assert [target.id for _, target in pairs] == [row.id for row in rows[:8]]
    assert all(v.speaker == t.speaker and v.text != t.text for v, t in pairs)
    # Another speaker's recordings change nothing.
    assert zero_shot_pairs(rows[:4]) == pairs[:4]
    assert zero_shot_pairs(rows, seed=1) != pairs


def test_zero_shot_rows_need_codes_of_both(text: SentencePieceText) -> None:
    rows = [Utterance(name, "x", "s", f"well {name}") for name in "ab"]
    known = {"a": codes(1), "b": codes(2)}
    made = zero_shot_rows(text, rows, known)
    assert made[0] == clone_row(text, "well a", known["a"], "well b", known["b"])
    assert len(made) == 2
    assert not zero_shot_rows(text, rows, {"a": codes(1)})
    assert not zero_shot_rows(text, rows, known, longest=10)


def test_rows_are_written_with_the_columns_of_trl(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [ChatRow((1, 2), (3,)), ChatRow((4,), (5, 6))])
    assert path.read_text().splitlines() == [
        '{"prompt": [1, 2], "completion": [3]}',
        '{"prompt": [4], "completion": [5, 6]}',
    ]


def test_a_row_that_teaches_nothing_is_refused() -> None:
    for prompt, completion, words in (
        ((), (2,), "empty"),
        ((1,), (), "empty"),
        ((1,), (-2,), "neg"),
    ):
        with pytest.raises(DataError, match=words):
            ChatRow(prompt, completion)


def test_texts_are_read_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"prompt": "q", "completion": "a"}\n{"prompt": "q", "completion": 1}\n')
    with pytest.raises(DataError, match=r"texts.jsonl:2: .* must be texts"):
        read_texts(path)
    path.write_text('{"prompt": "q", "completion": "a"}\n')
    assert read_texts(path) == [("q", "a")]
