"""Where a long text is cut: all of it is said, and pauses fall where people make them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.sentences import TextPart, seconds, split_text

LETTERS = st.characters(exclude_categories=["Cs"])
WORD = st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Mn"]), min_size=1, max_size=9)
MARK = st.sampled_from(["", "", "", ",", ";", ".", "!", "?", "。", "，", '."', "…"])
TEXT = st.lists(st.tuples(WORD, MARK), min_size=1, max_size=60).map(
    lambda words: " ".join(word + mark for word, mark in words)
)
LONGEST = st.floats(1.0, 12.0)


@given(text=st.text(LETTERS, min_size=1, max_size=300) | TEXT, longest=LONGEST)
def test_nothing_is_lost_but_spaces(text: str, longest: float) -> None:
    parts = split_text(text, longest)
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())
    assert parts[-1].pause == 0
    assert all(part.pause >= 0 for part in parts)
    if text.strip():
        assert all(part.text.strip() for part in parts)


@given(text=TEXT, longest=LONGEST)
def test_parts_are_short(text: str, longest: float) -> None:
    # An accent is not cut off, so a part may end a few characters late.
    most = longest + 10 * seconds("w")
    assert all(seconds(part.text) <= most for part in split_text(text, longest))


@given(text=TEXT, longest=LONGEST)
def test_words_and_accents_stay_whole(text: str, longest: float) -> None:
    whole = set(text.split())
    for part in split_text(text, longest):
        assert not unicodedata.category(part.text[0]).startswith("M") or part.text[0] in text[0]
        if longest >= 3:  # nine letters and a mark always fit
            assert set(part.text.split()) <= whole


@given(text=TEXT)
def test_short_texts_and_models_that_say_everything_at_once_cut_nothing(text: str) -> None:
    assert split_text(text, None) == [TextPart(text, 0.0)]
    assert split_text(text, seconds(text) + 1) == [TextPart(text, 0.0)]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("It rained all day and nobody went out. Then it was over, at last.", ["out.", "last."]),
        ("He asked: “Who is there, so late at night?” Nobody said a word to him.", ["?”", "him."]),
        ("When the rain was over, the two of them went home together.", ["over,", "together."]),
        ("the two of them went home together along the river tonight", ["river", "tonight"]),
        ("Then Mrs. Brown and Dr. J. Green went home. It was late by then.", ["home.", "then."]),
        ("The price was 3.50 dollars for each of them. It was late.", ["them.", "late."]),
        ("A heading without a stop\n\nand what comes below it, quite long", ["stop", "long"]),
        ("今天天气很好。孩子们都很高兴，他们跑来跑去。", ["。", "。"]),
    ],
)
def test_where_a_reader_would_pause(text: str, ends: list[str]) -> None:
    parts = split_text(text, 4.0)
    assert [part.text[-len(end) :] for part, end in zip(parts, ends, strict=True)] == ends


def test_pauses_follow_what_ends() -> None:
    text = "One two three four five six. One two three four five, six seven eight nine ten eleven"
    assert [part.pause for part in split_text(text, 2.0)] == [0.35, 0.15, 0.0, 0.0]


def test_every_part_keeps_the_dialect() -> None:
    first, second = "今天天气很好。", "孩子们都很高兴。"
    parts = split_text(f"[Cantonese]{first}{second}", 2.0)
    assert [part.text for part in parts] == [f"[Cantonese]{first}", f"[Cantonese]{second}"]
