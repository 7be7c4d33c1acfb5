"""Text of any script survives encoding; damaged protobuf never escapes as another error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.errors import CheckpointError
from stepaudio.protobuf import fields
from stepaudio.tokenizers.text import SentencePieceText
from stepaudio.tokenizers.text_training import train_text_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> SentencePieceText:
    return train_text_tokenizer(["a small text, 42 words"], 300, audio_tokens=8)


# "▁" is how a space is spelled in the vocabulary, so it is the one character that cannot survive.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60)


@given(text=TEXT)
def test_round_trip(tokenizer: SentencePieceText, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text.removeprefix(" ")


@given(before=TEXT, after=TEXT, k=st.integers(0, 7))
def test_audio_tokens_are_found_in_any_text(
    tokenizer: SentencePieceText, before: str, after: str, k: int
) -> None:
    ids = tokenizer.encode(f"{before}<audio_{k}>{after}")
    head = tokenizer.encode(before)
    assert ids[: len(head) + 1] == [*head, tokenizer.audio_offset + k]


@given(data=st.binary(max_size=80))
def test_any_bytes_are_fields_or_a_checkpoint_error(data: bytes) -> None:
    try:
        found = list(fields(data, "random"))
    except CheckpointError:
        found = []
    assert all(field.number > 0 for field in found)
