"""The mix of kinds: shares by tokens, every row once a round, the same again after a stop."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.data.mixing import TokenMix, audio_tokens, one_to_one
from stepaudio.data.rows import ChatRow
from stepaudio.errors import DataError

ROWS = st.lists(st.integers(1, 300), min_size=1, max_size=12)
KINDS = st.fixed_dictionaries({"text": ROWS, "audio": ROWS})
SEEDS = st.integers(0, 2**40)
# Ids from here on are audio.
AUDIO = 1000


def chats(sizes: list[int]) -> list[ChatRow]:
    """Text of so many ids each, no two alike."""
    return [ChatRow((number,), (7,) * size) for number, size in enumerate(sizes)]


def speech(sizes: list[int]) -> list[ChatRow]:
    """Rows with so many audio ids each, half of them in the prompt, and words that do not count."""
    return [
        ChatRow((number, 7, 7, *(AUDIO,) * (size // 2)), (AUDIO + 1,) * (size - size // 2))
        for number, size in enumerate(sizes)
    ]


@given(KINDS, SEEDS, st.integers(1, 200))
def test_one_to_one_is_never_off_by_more_than_a_row(
    sizes: dict[str, list[int]], seed: int, steps: int
) -> None:
    mix = TokenMix(sizes, seed=seed)
    largest = max(max(rows) for rows in sizes.values())
    for name, row in islice(mix, steps):
        assert 0 <= row < len(sizes[name])
        assert abs(mix.tokens["text"] - mix.tokens["audio"]) <= largest


@given(KINDS, st.floats(0.1, 10), SEEDS, st.integers(1, 200))
def test_other_shares_are_held_as_well(
    sizes: dict[str, list[int]], share: float, seed: int, steps: int
) -> None:
    mix = TokenMix(sizes, shares={"text": share, "audio": 1.0}, seed=seed)
    drawn = Counter[str]()
    for name, row in islice(mix, steps):
        drawn[name] += sizes[name][row]
    assert dict(drawn) == {name: count for name, count in mix.tokens.items() if count}
    worst = max(max(sizes["text"]) / share, max(sizes["audio"]))
    assert abs(mix.tokens["text"] / share - mix.tokens["audio"]) <= worst * (1 + 1e-9)


@given(KINDS, SEEDS, st.integers(0, 60), st.integers(1, 60))
def test_resuming_is_not_noticed(
    sizes: dict[str, list[int]], seed: int, before: int, after: int
) -> None:
    mix = TokenMix(sizes, seed=seed)
    list(islice(mix, before))
    state = json.loads(json.dumps(mix.state()))
    resumed = TokenMix(sizes, seed=seed)
    resumed.restore(state)
    assert list(islice(resumed, after)) == list(islice(mix, after))
    assert resumed.state() == mix.state()


@given(ROWS, SEEDS, st.integers(1, 4))
def test_every_row_comes_once_a_round(sizes: list[int], seed: int, rounds: int) -> None:
    drawn = list(islice(TokenMix({"only": sizes}, seed=seed), rounds * len(sizes)))
    for start in range(0, len(drawn), len(sizes)):
        part = drawn[start : start + len(sizes)]
        assert sorted(row for _, row in part) == list(range(len(sizes)))


def test_the_order_follows_from_the_seed() -> None:
    def rows(seed: int) -> list[int]:
        return [row for _, row in islice(TokenMix({"a": [1] * 50}, seed=seed), 100)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    # A second round is in another order than the first.
    assert rows(1)[:50] != rows(1)[50:]


def test_audio_ids_are_counted_in_prompt_and_answer() -> None:
    assert audio_tokens([ChatRow((1, 50, 51), (52, 3)), ChatRow((1,), (2,))], 50) == [3, 0]


@given(ROWS, ROWS, SEEDS)
def test_a_file_has_all_sound_once_and_as_many_tokens_of_text(
    text_sizes: list[int], sound_sizes: list[int], seed: int
) -> None:
    text, sound = chats(text_sizes), speech(sound_sizes)
    if sum(map(len, text)) < sum(sound_sizes):
        with pytest.raises(DataError, match="give more chats or fewer recordings"):
            one_to_one(text, sound, AUDIO, seed=seed)
        return
    rows, counts = one_to_one(text, sound, AUDIO, seed=seed)
    taken = [row for row in rows if row in text]
    assert {row for row in rows if row not in text} == set(sound)
    assert len(set(taken)) == len(taken) == counts["text"] == len(text) - counts["text left out"]
    assert len(rows) == len(sound) + len(taken)
    assert counts["text tokens"] == sum(map(len, taken))
    assert counts["audio tokens"] == sum(sound_sizes)
    assert 0 <= counts["text tokens"] - counts["audio tokens"] < max(map(len, text))
    # Wherever the file is cut, the ratio is kept to one row.
    largest, lead = max(*map(len, text), *sound_sizes), 0
    for row in rows:
        lead += len(row) if row in text else -audio_tokens([row], AUDIO)[0]
        assert abs(lead) <= largest
    assert one_to_one(text, sound, AUDIO, seed=seed) == (rows, counts)


def test_which_chats_are_taken_follows_from_the_seed() -> None:
    text, sound = chats([10] * 50), speech([110] * 2)
    first, _ = one_to_one(text, sound, AUDIO, seed=1)
    assert first != one_to_one(text, sound, AUDIO, seed=2)[0]
    with pytest.raises(DataError, match="no row of sound"):
        one_to_one(text, [], AUDIO)


def test_a_mix_that_cannot_be_is_refused() -> None:
    for sizes, shares, words in (
        ({}, None, "at least one row"),
        ({"a": []}, None, "at least one row"),
        ({"a": [1, 0]}, None, "at least one token"),
        ({"a": [1]}, {"b": 1.0}, "one positive share"),
        ({"a": [1]}, {"a": 0.0}, "one positive share"),
    ):
        with pytest.raises(DataError, match=words):
            TokenMix(sizes, shares=shares)
    with pytest.raises(DataError, match="does not fit"):
        TokenMix({"a": [1]}, seed=1).restore(TokenMix({"a": [1]}, seed=2).state())
