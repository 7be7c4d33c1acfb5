"""What an edit adds to the codec's own doing, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepaudio.evaluation.gains import gains
from stepaudio.evaluation.scoring import JointRule, Scored
from stepaudio.evaluation.summary import outcomes, summarise

LABELS = ("happy", "sad", "natural")


def row(
    name: str,
    label: str,
    answers: tuple[str | None, ...],
    speaker: str = "s",
    task: str = "emotion",
) -> list[Scored]:
    """Iteration 0, resynthesis and first edit; None is no recording."""
    return [
        Scored(name, step, task, label, "en", speaker, answer is not None, answer)
        for step, answer in zip(("iter0", "resynth", "iter1"), answers, strict=True)
    ]


def test_a_codec_that_makes_everything_sad_gains_nothing() -> None:
    items = [
        *row("a", "sad", ("natural", "sad", "sad")),
        *row("b", "sad", ("natural", "sad", "sad"), "t"),
        *row("c", "happy", ("natural", "sad", "happy")),
        *row("d", "happy", ("natural", "sad", "sad"), "t"),
    ]
    found = gains(items)
    assert {base: gain.overall.value for base, gain in found.items()} == {
        "iter0": 0.75,
        "resynth": 0.25,
    }
    by_label = {label: one.value for label, one in found["resynth"].by_label.items()}
    assert by_label == {"sad": 0.0, "happy": 0.5}
    assert found["iter0"].by_label["sad"].value == 1.0
    assert (found["resynth"].overall.n, found["resynth"].overall.speakers) == (4, 2)
    # Both speakers' rows with "sad" gain the same, those with "happy" do not.
    assert found["iter0"].by_label["sad"].low == 1.0
    assert (found["resynth"].by_label["happy"].low, found["resynth"].by_label["happy"].high) == (
        0.0,
        1.0,
    )


def test_a_gain_can_be_a_loss() -> None:
    found = gains(row("a", "sad", ("sad", "sad", "natural")))
    assert [gain.overall.value for gain in found.values()] == [-1.0, -1.0]
    assert found["iter0"].overall.low is None


def test_sounds_gain_points() -> None:
    found = gains(row("a", "[Sigh]", ("1", "2", "3"), task="paralinguistic"))
    assert (found["iter0"].overall.value, found["resynth"].overall.value) == (2.0, 1.0)


def test_failures() -> None:
    # The edit has no sound: it lost what was there. Nothing to compare with: left out.
    items = [
        *row("a", "sad", ("sad", "sad", None)),
        *row("b", "sad", ("natural", None, "sad")),
        *row("c", "sad", (None, None, None)),
    ]
    found = gains(items)
    assert (found["iter0"].overall.value, found["iter0"].overall.n) == (0.0, 3)
    assert (found["resynth"].overall.value, found["resynth"].overall.n) == (-0.5, 2)


def test_without_a_resynthesis_there_is_one_gain() -> None:
    spoken = [one for one in row("a", "sad", ("natural", "", "sad")) if one.step != "resynth"]
    assert list(gains(spoken)) == ["iter0"]
    assert gains(spoken[:1]) == {}


def test_an_item_given_twice_counts_once() -> None:
    one, other = row("a", "sad", ("natural", "sad", "sad")), row("b", "sad", ("sad",) * 3)
    assert gains([*one, *one, *other])["iter0"].overall.value == 0.5


def test_a_resynthesis_that_sounds_as_asked_is_no_success() -> None:
    values = {"words.wer": 0.0, "speaker:resemblyzer.similarity": 1.0}
    items = [replace(one, values=values) for one in row("a", "sad", ("sad", "sad", "sad"))]
    found = outcomes(items, JointRule(), "resynth")
    assert [one.success for one in found.values()] == [True, None, True]


def test_in_the_table_of_a_run() -> None:
    items = [*row("a", "sad", ("natural", "sad", "sad")), *row("b", "happy", ("natural",) * 3)]
    labels = {"emotion": LABELS}
    steps = summarise(items, rule=JointRule(), baseline="resynth", labels=labels)["emotion"]["all"]
    assert [steps[s]["corrected"]["value"] for s in steps] == [0.0, 0.5, 0.5]
    assert steps["resynth"]["by_label"] == {"sad": 1.0, "happy": 0.0}
    assert steps["resynth"]["answers"] == {"sad": {"sad": 1}, "happy": {"natural": 1}}
    assert "joint" in steps["iter0"]
    assert "joint" not in steps["resynth"]
    gained = steps["iter1"]["gains"]
    assert gained["iter0"]["all"]["value"] == 0.5
    assert gained["resynth"]["by_label"]["sad"]["value"] == pytest.approx(0.0)
    assert "gains" not in steps["resynth"]
    # Without a judge there is nothing to gain.
    alone = summarise(items, rule=JointRule(), baseline="resynth", labels={})["emotion"]["all"]
    assert not {"gains", "corrected", "answers"} & {key for cell in alone.values() for key in cell}
