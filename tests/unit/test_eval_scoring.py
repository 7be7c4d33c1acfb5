"""Numbers of the benchmark by hand: accuracy, the upstream way, scores, joint success."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stepaudio.errors import EvaluationError
from stepaudio.evaluation.scoring import (
    JointRule,
    Outcome,
    Scored,
    asked_for,
    corrected,
    first_of_each,
    heard_label,
    off_list,
    outcome,
    speaker_means,
    upstream,
)
from stepaudio.evaluation.summary import summarise

STYLES = ("child", "act_coy", "whisper", "older", "none")


def item(answer: str | None = "child", **given: Any) -> Scored:
    values = {"row": "r", "step": "iter1", "task": "style", "label": "child", "lang": "en"}
    return Scored(**{**values, "speaker": "s", "answer": answer, **given})


@pytest.mark.parametrize(
    ("task", "label", "answer", "ours", "theirs"),
    [
        ("style", "child", "child", 1, 1),
        ("style", "child", "older", 0, 0),
        ("style", "child", "None", 0, 0),
        ("style", "child", "none", 0, 0),
        # Off their list: wrong for us, dropped by them.
        ("style", "child", "normal", 0, None),
        ("style", "child", "serious", 0, None),
        ("style", "child", "", 0, None),
        ("style", "child", None, 0, None),
        # Their prompt offers these words, their script drops them.
        ("style", "act_coy", "act_cute", 1, None),
        ("style", "act_coy", "act_coy", 1, 1),
        ("style", "whisper", "whisper (ASMR)", 1, None),
        ("style", "child", " Child ", 1, None),
        ("emotion", "happy", "happy", 1, 1),
        ("emotion", "happy", "natural", 0, 0),
        ("emotion", "happy", "neutral", 0, 0),
        ("emotion", "happy", "joyful", 0, None),
        ("paralinguistic", "[Sigh]", "3", 3, 3),
        ("paralinguistic", "[Sigh]", "1", 1, 1),
        ("paralinguistic", "[Sigh]", "2.5", 1, 2.5),
        ("paralinguistic", "[Sigh]", "7", 1, 7),
        ("paralinguistic", "[Sigh]", "perfect", 1, None),
        ("paralinguistic", "[Sigh]", None, 1, None),
    ],
)
def test_points(task: str, label: str, answer: str | None, ours: int, theirs: int | None) -> None:
    one = item(answer, task=task, label=label)
    assert corrected(one) == ours
    assert upstream(one) == theirs


@pytest.mark.parametrize(("task", "worst"), [("style", 0), ("paralinguistic", 1)])
def test_no_recording_is_wrong_here_and_dropped_there(task: str, worst: int) -> None:
    one = item(None, task=task, made=False)
    assert corrected(one) == worst
    assert upstream(one) is None
    assert asked_for(one) is False


def test_off_list() -> None:
    assert off_list(item("serious"), STYLES)
    assert not off_list(item("act_cute"), STYLES)
    assert not off_list(item("None"), STYLES)
    assert not off_list(item(""), STYLES)
    assert not off_list(item(None), STYLES)


def test_the_label_an_answer_means() -> None:
    assert heard_label("act_cute", STYLES) == "act_coy"
    assert heard_label(" Whisper (ASMR)", STYLES) == "whisper"
    assert heard_label("None", STYLES) == "none"
    assert heard_label("serious", STYLES) is None
    assert heard_label("", STYLES) is None


def test_speakers_count_the_same_and_so_do_their_labels() -> None:
    items = [item("child", row=str(n), speaker="a") for n in range(9)]
    items += [item("child", row="x", speaker="a", label="older")]
    items += [item("older", row="y", speaker="b")]
    assert speaker_means(items, corrected) == {"a": 0.5, "b": 0.0}


def test_the_two_numbers_differ_as_they_should() -> None:
    """Ten rows: 4 right, 2 wrong, 2 off the list, 1 without an answer, 1 without a recording."""
    answers = ["child"] * 4 + ["older"] * 2 + ["normal", "murmur", ""]
    items = [item(answer, row=str(n)) for n, answer in enumerate(answers)]
    items.append(item(None, row="9", made=False))
    cell = summarise(items, rule=JointRule(), baseline="iter0", labels={"style": STYLES})["style"][
        "all"
    ]["iter1"]
    assert cell["corrected"]["value"] == 0.4
    assert cell["upstream"] == {"value": round(4 / 6, 4), "n": 6}
    assert (cell["off_list"], cell["unanswered"], cell["failed"], cell["rows"]) == (2, 1, 1, 10)
    assert cell["answers"]["child"] == {
        "child": 4,
        "older": 2,
        "normal": 1,
        "murmur": 1,
        "(no answer)": 1,
        "(no recording)": 1,
    }


def test_an_item_given_twice_counts_once_for_us_and_twice_for_them() -> None:
    items = [item("child"), item("child"), item("older", row="q")]
    assert first_of_each(items) == [items[0], items[2]]
    cell = summarise(items, rule=JointRule(), baseline="iter0", labels={"style": STYLES})["style"][
        "all"
    ]["iter1"]
    assert cell["corrected"]["value"] == 0.5
    assert cell["upstream"] == {"value": round(2 / 3, 4), "n": 3}
    assert (cell["rows"], cell["repeated"]) == (2, 1)


def test_languages_stand_apart_and_together() -> None:
    items = [item("child"), item("older", row="q", lang="zh", speaker="t")]
    groups = summarise(items, rule=JointRule(), baseline="iter0", labels={"style": STYLES})["style"]
    assert {g: steps["iter1"]["corrected"]["value"] for g, steps in groups.items()} == {
        "all": 0.5,
        "en": 1.0,
        "zh": 0.0,
    }


# --- joint success ----------------------------------------------------------------------------

RULE = JointRule(similarity=("speaker.similarity",))
BASE = {"words.wer": 0.2, "speaker.similarity": 0.8}


def measured(answer: str | None, wer: float | None, similarity: float | None) -> Scored:
    return item(answer, values={"words.wer": wer, "speaker.similarity": similarity})


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("speaker", [True, False])
def test_success_needs_all_three(changed: bool, words: bool, speaker: bool) -> None:
    one = measured(
        "child" if changed else "older", 0.3 if words else 0.31, 0.7 if speaker else 0.69
    )
    result = outcome(one, item(step="iter0", values=BASE), RULE)
    assert result == Outcome(changed, words, speaker)
    assert result.success is (changed and words and speaker)


def test_what_cannot_be_told_makes_success_unknown() -> None:
    for three in itertools.product((True, False, None), repeat=3):
        success = Outcome(*three).success
        assert success is (None if None in three else all(three))


def test_missing_numbers() -> None:
    base = item(step="iter0", values=BASE)
    # Nothing left to recognise: lost.
    assert outcome(measured("child", None, None), base, RULE) == Outcome(True, False, False)
    # Never measured, or nothing to compare with: unknown.
    bare = item(step="iter0")
    assert outcome(measured("child", 0.0, 1.0), bare, RULE) == Outcome(True, None, None)
    assert outcome(measured("child", 0.0, 1.0), None, RULE) == Outcome(True, None, None)
    gone = item(step="iter0", values=BASE, made=False)
    assert outcome(measured("child", 0.0, 1.0), gone, RULE) == Outcome(True, None, None)
    # No judge.
    assert outcome(measured(None, 0.2, 0.8), base, RULE) == Outcome(None, True, True)
    # No recording: everything is lost.
    assert outcome(item(None, made=False), base, RULE) == Outcome(False, False, False)


def test_languages_without_spaces_are_compared_by_characters() -> None:
    base = item(step="iter0", values={"words.wer": None, "words.cer": 0.2})
    near, far = (item(values={"words.wer": None, "words.cer": rate}) for rate in (0.25, 0.5))
    assert outcome(near, base, RULE).words_kept is True
    assert outcome(far, base, RULE).words_kept is False


def test_margins_are_inclusive_in_spite_of_floats() -> None:
    base = item(step="iter0", values={"words.wer": 0.1, "speaker.similarity": 0.3})
    one = outcome(measured("child", 0.1 + 0.1, 0.3 - 0.1), base, RULE)
    assert (one.words_kept, one.speaker_kept) == (True, True)


def test_a_sound_is_made_from_a_score_on() -> None:
    two = item("2", task="paralinguistic", label="[Sigh]")
    assert asked_for(two) is False
    assert asked_for(two, sound_score=2) is True
    assert outcome(two, None, JointRule(sound_score=2)).changed is True
    with pytest.raises(EvaluationError, match="1, 2 or 3"):
        JointRule(sound_score=4)
    with pytest.raises(EvaluationError, match="margins"):
        JointRule(word_margin=-0.1)


def test_joint_success_in_the_table() -> None:
    items = [
        item("older", step="iter0", values=BASE),
        item("older", row="q", step="iter0", speaker="t", values=BASE),
        item("child", values=BASE),
        item("child", row="q", speaker="t", values={**BASE, "words.wer": 0.9}),
    ]
    steps = summarise(items, rule=RULE, baseline="iter0", labels={"style": STYLES})["style"]["all"]
    assert [steps[s]["corrected"]["value"] for s in ("iter0", "iter1")] == [0.0, 1.0]
    assert steps["iter1"]["joint"]["value"] == 0.5
    assert steps["iter1"]["words_kept"]["value"] == 0.5
    assert steps["iter1"]["speaker_kept"]["value"] == 1.0


def test_metrics_alone_need_no_judge_and_missing_is_not_zero() -> None:
    values = [
        {"words.wer": 1.0, "words.word_errors": 1.0, "words.words": 1.0, "dnsmos.ovrl": 3.0},
        {"words.wer": 0.0, "words.word_errors": 0.0, "words.words": 9.0, "dnsmos.ovrl": None},
    ]
    items = [item(None, row=str(n), values=v) for n, v in enumerate(values)]
    cell = summarise(items, rule=RULE, baseline="iter0", labels={})["style"]["all"]["iter1"]
    assert "corrected" not in cell
    assert "joint" not in cell
    assert set(cell["metrics"]) == {"words.wer", "dnsmos.ovrl"}
    # All errors over all words, not the mean of the rates.
    assert cell["metrics"]["words.wer"]["value"] == 0.1
    assert cell["metrics"]["dnsmos.ovrl"]["value"] == 3.0
    assert cell["metrics"]["dnsmos.ovrl"]["n"] == 1
