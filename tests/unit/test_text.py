"""A small trained vocabulary: the conventions it keeps, the errors it gives, saving and loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepaudio.edits import EDIT_KINDS, Edit
from stepaudio.errors import CheckpointError, OutputExistsError, PromptError, TokenError
from stepaudio.interfaces import TextTokenizer
from stepaudio.prompts import EDIT_SYSTEM, edit_prompt, encode_edit_prompt, prompt_phrases
from stepaudio.tokenizers.text import SentencePieceText
from stepaudio.tokenizers.text_training import train_text_tokenizer

LINES = [
    "the cat sat on the mat in 1984",
    "the dog saw the cat on the mat",
    "see you tomorrow said the cat to the dog",
    "we saw 12 dogs and 123 cats on the mats",
    "wie geht es dir und der Katze",
]
PHRASE = "The text corresponding to the audio is:"


@pytest.fixture(scope="module")
def tokenizer() -> SentencePieceText:
    return train_text_tokenizer(
        LINES,
        400,
        audio_tokens=40,
        special_tokens=["<|EXTRA|>"],
        phrases=[EDIT_SYSTEM, PHRASE],
    )


def test_layout_of_ids(tokenizer: SentencePieceText) -> None:
    assert isinstance(tokenizer, TextTokenizer)
    names = ["<unk>", "<s>", "</s>", "<|EOT|>", "<|BOT|>", "<|EXTRA|>", EDIT_SYSTEM, PHRASE]
    assert [tokenizer.token_id(name) for name in names] == list(range(8))
    assert tokenizer.token_id("<0x00>") == 8
    assert tokenizer.vocab_size <= 400
    assert tokenizer.num_audio_tokens == 40
    assert tokenizer.audio_offset == tokenizer.vocab_size - 40
    assert tokenizer.encode("<audio_0><audio_39>") == [
        tokenizer.audio_offset,
        tokenizer.vocab_size - 1,
    ]


def test_phrases_cost_one_id(tokenizer: SentencePieceText) -> None:
    ids = tokenizer.encode(f"{PHRASE} the cat")
    assert ids[0] == 7
    assert ids[1:] == tokenizer.encode(" the cat")
    prompt = edit_prompt(Edit.emotion("happy"), "<audio_1>", "the cat")
    whole = tokenizer.encode(prompt)
    assert {6, 7} <= set(whole)
    assert tokenizer.decode(whole) == prompt
    assert whole == encode_edit_prompt(tokenizer, Edit.emotion("happy"), "<audio_1>", "the cat")


def test_every_instruction_is_short_in_a_vocabulary_with_the_prompt_phrases() -> None:
    own = train_text_tokenizer(LINES, 600, audio_tokens=40, phrases=prompt_phrases())
    edits = [Edit(kind, label) for kind, row in EDIT_KINDS.items() for label in row.labels]
    bare = own.encode("<s><|BOT|> system\n<|EOT|><|BOT|> human\n<|EOT|><|BOT|> assistant\n")
    for edit in [*edits, Edit.denoise(), Edit.trim_silence()]:
        ids = encode_edit_prompt(own, edit, "<audio_1><audio_2>", "the cat")
        words = own.encode(" the cat\n") if edit.needs_text else []
        # The system text, the instruction and two line ends around the audio.
        assert len(ids) == len(bare) + 1 + 1 + len(words) + 1 + 2 + 1


def test_digits_stay_single_and_pieces_stay_within_words(tokenizer: SentencePieceText) -> None:
    assert tokenizer.encode("123")[-3:] == [tokenizer.token_id(digit) for digit in "123"]
    for number in range(tokenizer.token_id("<0xFF>") + 1, tokenizer.audio_offset):
        # A leading probe keeps the space of the piece itself.
        assert " " not in tokenizer.decode([tokenizer.token_id("<s>"), number])[4:]


def test_unseen_characters_are_bytes(tokenizer: SentencePieceText) -> None:
    first = tokenizer.token_id("<0x00>")
    assert [number - first for number in tokenizer.encode("😀")[1:]] == list("😀".encode())
    assert tokenizer.encode("<s>\n") == [1, first + 10]


def test_training_again_gives_the_same_ids(tokenizer: SentencePieceText) -> None:
    again = train_text_tokenizer(
        LINES, 400, audio_tokens=40, special_tokens=["<|EXTRA|>"], phrases=[EDIT_SYSTEM, PHRASE]
    )
    assert [again.encode(line) for line in LINES] == [tokenizer.encode(line) for line in LINES]


@pytest.mark.parametrize("room", [4, 5, 10, 30, 1000])
def test_vocabulary_size_is_a_limit(room: int) -> None:
    fixed = 5 + 256 + 3
    small = train_text_tokenizer(LINES, fixed + room, audio_tokens=3)
    assert fixed < small.vocab_size <= fixed + room
    assert small.decode(small.encode(LINES[0])) == LINES[0]


@pytest.mark.parametrize(
    ("lines", "options", "reason"),
    [
        ([], {"audio_tokens": 3}, "no text"),
        (["  ", "\n"], {"audio_tokens": 3}, "no text"),
        (LINES, {"audio_tokens": 0}, "audio token"),
        (LINES, {"audio_tokens": 36}, "no room"),
        (LINES, {"audio_tokens": 3, "phrases": ["a", "a"]}, r"\['a'\]"),
        (LINES, {"audio_tokens": 3, "special_tokens": [""]}, "not empty"),
        (LINES, {"audio_tokens": 3, "special_tokens": ["<s>"]}, "<s>"),
    ],
)
def test_training_refuses(lines: list[str], options: dict[str, object], reason: str) -> None:
    with pytest.raises(TokenError, match=reason):
        train_text_tokenizer(lines, 300, **options)  # type: ignore[arg-type]


def test_save_and_load(tokenizer: SentencePieceText, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "text")
    again = SentencePieceText.from_pretrained(tmp_path / "text")
    assert [again.encode(line) for line in LINES] == [tokenizer.encode(line) for line in LINES]
    assert again.audio_offset == tokenizer.audio_offset
    with pytest.raises(OutputExistsError):
        tokenizer.save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text", force=True)


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "no json"])
def test_damaged_file(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        SentencePieceText.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("literals", "reason"),
    [
        (["<unk>", "<s>", "</s>", "<|BOT|>", "<|EOT|>", "<audio_0>"], "<|EOT|>"),
        (["<unk>", "<s>", "</s>", "<|EOT|>", "<|BOT|>"], "no audio tokens"),
        (["<unk>", "<s>", "</s>", "<|EOT|>", "<|BOT|>", "<audio_0>", "x"], "'x'"),
    ],
)
def test_broken_conventions(literals: list[str], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason.replace("|", r"\|")):
        SentencePieceText.from_vocabulary([(text, 0.0) for text in literals], literals)


def test_foreign_tokenizer_file_is_refused(tokenizer: SentencePieceText, tmp_path: Path) -> None:
    path = tokenizer.save_pretrained(tmp_path) / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["vocab"][1][0] = "<start>"
    content["added_tokens"] = []
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="<s>"):
        SentencePieceText.from_pretrained(tmp_path)


def test_errors_name_what_is_wrong(tokenizer: SentencePieceText) -> None:
    with pytest.raises(PromptError, match="character 1"):
        tokenizer.encode("a\ud800b")
    with pytest.raises(PromptError, match="id -1 "):
        tokenizer.decode([1, -1])
    with pytest.raises(PromptError, match=str(tokenizer.vocab_size)):
        tokenizer.decode([tokenizer.vocab_size])
    with pytest.raises(KeyError):
        tokenizer.token_id("<|NOT_THERE|>")
