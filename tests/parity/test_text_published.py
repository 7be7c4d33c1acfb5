"""The real published ``tokenizer.model``: every reference vector, both prompt layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepaudio.edits import Edit
from stepaudio.prompts import edit_prompt, encode_clone_prompt, encode_edit_prompt
from stepaudio.tokenizers.text import SentencePieceText

AUDIO = "<audio_1><audio_2><audio_1030><audio_1031><audio_1032>"
AUDIO_IDS = [65537, 65538, 66566, 66567, 66568]

TEXTS = {
    "": [],
    "human\n": [4623, 78],
    "assistant\n": [15886, 78],
    "\n": [324, 78],
    "\nHello world": [324, 78, 20574, 2844],
    "Hello, world! 123": [324, 20574, 327, 2844, 1293, 324, 328, 331, 338],
    "[Laughter]": [877, 766, 37168, 422],
    "[Sichuanese]": [877, 459, 5986, 5009, 5851, 422],
    "[Cantonese]": [877, 11563, 42730, 359, 422],
    "[Japanese]": [877, 52975, 422],
    "[Korean]": [877, 56414, 402, 422],
    "tab\tnew\n\nx": [10244, 77, 1224, 78, 78, 489],
    "😀": [324, 308, 227, 220, 196],
    "我也想guo4guo4guo1儿guo4guo4的生活": [
        *(324, 676, 448, 1730, 5137, 385, 342, 5137, 385, 342, 5137, 385, 328, 1907),
        *(5137, 385, 342, 5137, 385, 342, 6821),
    ],
    "  two": [324, 983],
    "<|EOT|>": [3],
}

# fmt: off
SPECIAL = {
    "<unk>": 0, "<s>": 1, "</s>": 2, "<|EOT|>": 3, "<|BOT|>": 4,
    "<|CALL_START|>": 5, "<|CALL_END|>": 6, "<|THINK_START|>": 7, "<|THINK_END|>": 8,
    "<im_patch>": 13, "<im_start>": 14, "<im_end>": 15, "<dream>": 16,
    "<|MASK_1e69f|>": 19, "<|UNMASK_1e69f|>": 20, "<row_patch>": 23, "<column_patch>": 24,
    "<|SEP_1e69f|>": 25, "<audio_start>": 31, "<audio_end>": 32,
    "<|TTS|>": 35, "<|ASR|>": 36, "<|TQAA|>": 37, "<|AQTA|>": 38,
    "<0x00>": 68, "<0x0A>": 78, "<audio_0>": 65536, "<audio_1024>": 66560,
    "<audio_9215>": 74751,
}
# fmt: on

CLONE_V2 = [
    *(1, 4, 2323, 78, 19091, 15665, 424, 336, 2308, 324, 1150, 17929, 327, 1332, 332, 12559, 353),
    *(324, 24363, 2048, 78, 78, 432, 27908, 339, 2568, 422, 78, 27908, 598, 352, 324, 5431, 78),
    *(27908, 324, 23005, 2765, 352, 324, 78, 23161, 326, 78, 27908, 15665, 8056, 332, 352, 324, 78),
    *(65537, 65538, 66566, 66567, 66568, 78, 432, 27908, 339, 955, 422, 78, 3),
    *(4, 4623, 78, 3685, 359, 326, 3, 4, 15886, 78),
]

HAPPY_TAIL = [
    *(29799, 326, 392, 2765, 19892, 358, 336, 15665, 379, 352, 7404, 326, 78, 78),
    *(*AUDIO_IDS, 78),
]


@pytest.fixture(scope="module")
def tokenizer(published_dir: Path) -> SentencePieceText:
    return SentencePieceText.from_sentencepiece(published_dir / "tokenizer.model")


def test_sizes(tokenizer: SentencePieceText) -> None:
    assert tokenizer.vocab_size == 74752
    assert tokenizer.audio_offset == 65536
    assert tokenizer.num_audio_tokens == 9216


@pytest.mark.parametrize(("text", "ids"), TEXTS.items())
def test_reference_vectors(tokenizer: SentencePieceText, text: str, ids: list[int]) -> None:
    assert tokenizer.encode(text) == ids


@pytest.mark.parametrize(("token", "number"), SPECIAL.items())
def test_special_ids(tokenizer: SentencePieceText, token: str, number: int) -> None:
    assert tokenizer.token_id(token) == number


@pytest.mark.parametrize("text", [*TEXTS, "ñandú Ünï ✓ 日本語 한국어 नमस्ते مرحبا 👩‍👩‍👧\x00\x7f"])
def test_round_trip(tokenizer: SentencePieceText, text: str) -> None:
    # One space at the very beginning is dropped: it may be the one that encoding adds.
    assert tokenizer.decode(tokenizer.encode(text)) == text.removeprefix(" ")


def test_only_the_first_stretch_of_text_gets_a_space(tokenizer: SentencePieceText) -> None:
    assert tokenizer.encode("<|EOT|>Make") == [3, 17758]
    assert tokenizer.encode("human\n<audio_1>Make")[-2:] == [65537, 17758]
    assert tokenizer.encode("Make") != [17758]
    assert tokenizer.encode(" human\n") == tokenizer.encode("human\n")


def test_saved_tokenizer_gives_the_same_ids(tokenizer: SentencePieceText, tmp_path: Path) -> None:
    again = SentencePieceText.from_pretrained(tokenizer.save_pretrained(tmp_path))
    assert [again.encode(text) for text in TEXTS] == list(TEXTS.values())
    assert (again.vocab_size, again.audio_offset) == (74752, 65536)


def test_clone_v2(tokenizer: SentencePieceText) -> None:
    assert encode_clone_prompt(tokenizer, "Bye.", "Hi.", AUDIO) == CLONE_V2
    assert len(CLONE_V2) == 74


def test_clone_v1_is_v2_with_stray_bos(tokenizer: SentencePieceText) -> None:
    expected = [
        number
        for following in CLONE_V2
        for number in ([1, following] if following in (2323, 4623, 15886) else [following])
    ]
    assert len(expected) == 77
    ids = encode_clone_prompt(tokenizer, "Bye.", "Hi.", AUDIO, speaker="debug", layout="v1")
    assert ids == expected


def test_edit_v2(tokenizer: SentencePieceText) -> None:
    edit = Edit.emotion("happy")
    ids = encode_edit_prompt(tokenizer, edit, AUDIO, "Hi.")
    assert ids == tokenizer.encode(edit_prompt(edit, AUDIO, "Hi."))
    starts = [i for i, number in enumerate(ids) if number == 4]
    assert starts[0] == 1
    assert ids[:4] == [1, 4, 2323, 78]
    assert starts[1] - 1 - 2 == 125  # the system turn between <|BOT|> and <|EOT|>
    user = ids[starts[1] + 3 : starts[2] - 1]
    assert len(ids) - len(user) == 135
    assert user[0] == 17758
    assert user[-len(HAPPY_TAIL) :] == HAPPY_TAIL
    assert ids[starts[2] :] == [4, 15886, 78]
    assert ids.count(1) == 1


def test_edit_v1(tokenizer: SentencePieceText) -> None:
    edit = Edit.emotion("happy")
    v2 = encode_edit_prompt(tokenizer, edit, AUDIO, "Hi.")
    ids = encode_edit_prompt(tokenizer, edit, AUDIO, "Hi.", layout="v1")
    assert ids.count(1) == 5
    make = tokenizer.encode("Make")
    assert len(make) == 1
    # Same ids as v2 but for the four stray <s> and the space before the first word of the user.
    without = [1, *(number for number in ids if number != 1)]
    assert without == [make[0] if number == 17758 else number for number in v2]
    start = [i for i, number in enumerate(ids) if number == 4][1]
    assert ids[start : start + 5] == [4, 1, 4623, 78, 1]
