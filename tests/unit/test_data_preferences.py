"""Preference pairs: strictly more than the threshold, on floats, origins apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepaudio.data.preferences import (
    Origin,
    PreferencePair,
    RatedAnswer,
    preference_pairs,
    read_ratings,
    survivors,
    write_preferences,
)
from stepaudio.errors import DataError


def rated(
    *ratings: float, origin: Origin = "human", prompt: tuple[int, ...] = (1,)
) -> list[RatedAnswer]:
    return [RatedAnswer(prompt, (10 + n,), rating, origin) for n, rating in enumerate(ratings)]


def test_whole_ratings_leave_the_ends_of_the_scale_only() -> None:
    assert preference_pairs(rated(5, 4, 2, 1)) == [PreferencePair((1,), (10,), (13,), 4.0, "human")]
    assert preference_pairs(rated(10, 9, 2, 1, origin="judge")) == [
        PreferencePair((1,), (10,), (13,), 9.0, "judge")
    ]


@pytest.mark.parametrize("lower", [1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.7, 1.9])
def test_a_margin_of_three_is_not_more_than_three(lower: float) -> None:
    # In binary some of these differences are a little above three, others a little below.
    assert not preference_pairs(rated(lower, lower + 3))
    found = preference_pairs(rated(lower, lower + 3.05))
    assert [(pair.chosen, pair.margin) for pair in found] == [((11,), 3.05)]


def test_ratings_of_one_answer_are_averaged_first() -> None:
    twice = [RatedAnswer((1,), (10,), rating, "human") for rating in (5, 4)]
    low = RatedAnswer((1,), (11,), 1.25, "human")
    (pair,) = preference_pairs([*twice, low])
    assert pair == PreferencePair((1,), (10,), (11,), 3.25, "human")


def test_prompts_and_origins_are_never_mixed() -> None:
    answers = rated(5.0) + rated(1.0, prompt=(2,)) + rated(1.0, 1.0, origin="judge")
    assert not preference_pairs(answers)


def test_large_margins_come_first_and_thresholds_can_move() -> None:
    found = preference_pairs(rated(3, 1, 5), thresholds={"human": 1.5, "judge": 8})
    assert [pair.margin for pair in found] == [4.0, 2.0, 2.0]


def test_a_threshold_that_is_not_given_is_that_of_the_paper() -> None:
    judged = rated(9, 1, origin="judge") + rated(10, 1, origin="judge", prompt=(2,))
    found = preference_pairs(judged + rated(4, 1.5), thresholds={"human": 2.0})
    assert [(pair.origin, pair.margin) for pair in found] == [("judge", 9.0), ("human", 2.5)]
    with pytest.raises(DataError, match=r"\['people'\] rates; thresholds are of human, judge"):
        preference_pairs(judged, thresholds={"people": 2.0})


def test_the_report_counts_what_each_threshold_leaves() -> None:
    answers = rated(5, 3, 1) + rated(4, 1, prompt=(2,)) + rated(10, 1, origin="judge")
    assert survivors(answers, "human", [0, 2, 3]) == [
        {"threshold": 0.0, "pairs": 4, "prompts": 2, "share": 1.0},
        {"threshold": 2.0, "pairs": 2, "prompts": 2, "share": 0.5},
        {"threshold": 3.0, "pairs": 1, "prompts": 1, "share": 0.25},
    ]
    assert survivors([], "judge", [8]) == [
        {"threshold": 8.0, "pairs": 0, "prompts": 0, "share": 0.0}
    ]


def test_ratings_are_read_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    good = {"prompt": [1], "completion": [10], "rating": 4.5, "origin": "human"}
    path.write_text(json.dumps(good) + "\n")
    assert read_ratings(path) == [RatedAnswer((1,), (10,), 4.5, "human")]
    for change, words in (
        ({"rating": 5.5}, r"a human rating lies in 1\.\.5, not 5\.5"),
        ({"rating": None}, "must be a number"),
        ({"rating": float("nan")}, "lies in"),
        ({"origin": "cat"}, "origin must be one of human, judge"),
        ({"completion": []}, "needs a prompt and a completion"),
        ({"prompt": "hi"}, "'prompt' must be a list of ids"),
    ):
        path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}) + "\n")
        with pytest.raises(DataError, match=f"ratings.jsonl:2: .*{words}"):
            read_ratings(path)


def test_pairs_are_written_with_the_columns_of_trl(tmp_path: Path) -> None:
    pairs = preference_pairs(rated(5, 1))
    path = write_preferences(tmp_path / "pairs.jsonl", pairs)
    assert json.loads(path.read_text()) == {
        "prompt": [1],
        "chosen": [10],
        "rejected": [11],
        "margin": 4.0,
        "origin": "human",
    }
