"""The table of edits and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from stepaudio.edits import DIALECT_TAGS, EDIT_KINDS, PARALINGUISTIC_TAGS, Edit
from stepaudio.errors import EditError


def test_the_table_has_the_published_labels() -> None:
    assert len(EDIT_KINDS["emotion"].labels) == 15
    assert len(EDIT_KINDS["style"].labels) == 33
    assert len(PARALINGUISTIC_TAGS) == 10
    assert len(DIALECT_TAGS) == 4
    assert {row.published_name for row in EDIT_KINDS.values()} == {
        *("emotion", "style", "vad", "denoise", "paralinguistic", "speed")
    }


def test_every_label_makes_an_edit() -> None:
    for kind, make in (("emotion", Edit.emotion), ("style", Edit.style), ("speed", Edit.speed)):
        for label in EDIT_KINDS[kind].labels:
            edit = make(label)
            assert (edit.kind, edit.label, edit.published_label) == (kind, label, label)
            assert edit.needs_text
            assert edit.passes == 1


def test_edits_without_labels() -> None:
    assert not Edit.denoise().needs_text
    assert not Edit.trim_silence().needs_text
    edit = Edit.paralinguistic("Well [Laughter] why not?")
    assert edit.needs_text
    assert edit.text == "Well [Laughter] why not?"
    assert edit.passes == 1


def test_remove() -> None:
    assert Edit.remove("emotion") == Edit.emotion("remove")
    assert Edit.remove("style") == Edit.style("remove")
    with pytest.raises(EditError, match="'speed'"):
        Edit.remove("speed")


def test_strength_of_speed_is_a_label() -> None:
    edit = Edit.speed("faster", strength=2)
    assert edit == Edit.speed("more faster")
    assert edit.published_label == "more faster"
    assert Edit.speed("more slower").published_label == "more slower"
    assert edit.passes == 1


def test_strength_of_emotion_is_repetition() -> None:
    assert Edit.emotion("sad", strength=3).passes == 3
    assert Edit.style("whisper", strength=2).passes == 2
    assert Edit.style("whisper", strength=2).published_label == "whisper"


@pytest.mark.parametrize("strength", [0, -1, 4, 1.5, 2.0, True, "2", None])
def test_bad_strength(strength: object) -> None:
    with pytest.raises(EditError, match="emotion happy"):
        Edit.emotion("happy", strength=strength)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.int8, np.int64])
def test_whole_numbers_of_other_types_are_kept_as_plain_ones(kind: type) -> None:
    """JSON does not have the others."""
    edit = Edit.speed("faster", strength=kind(2))
    assert edit == Edit.speed("more faster")
    assert type(edit.strength) is int


def test_some_edits_have_one_strength() -> None:
    with pytest.raises(EditError, match="must be 1,"):
        Edit.emotion("remove", strength=2)
    with pytest.raises(EditError, match="must be 1,"):
        Edit("denoise", strength=2)
    with pytest.raises(EditError, match="from 1 to 2"):
        Edit.speed("faster", strength=3)


@pytest.mark.parametrize(
    ("label", "suggestion"),
    [
        ("hapy", "happy"),
        ("Happy", "happy"),
        ("humor", "humour"),
        ("qqqq", "choose one of happy, angry"),
        ("", "choose one of"),
    ],
)
def test_unknown_label_suggests(label: str, suggestion: str) -> None:
    with pytest.raises(EditError, match=suggestion):
        Edit.emotion(label)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Well [laughter] no", r"did you mean '\[Laughter\]'"),
        ("Well [Laugh] no", r"\[Laughter\]"),
        ("Well [Xyzzy] no", r"choose one of \[Breathing\]"),
        ("nothing to insert", r"at least one sound"),
        ("", r"at least one sound"),
    ],
)
def test_paralinguistic_tags_are_checked(text: str, reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        Edit.paralinguistic(text)


def test_fields_that_do_not_belong() -> None:
    with pytest.raises(EditError, match="takes no label"):
        Edit("denoise", "happy")
    with pytest.raises(EditError, match="does not change the words"):
        Edit("emotion", "happy", text="new words")
    with pytest.raises(EditError, match="trim_silence"):
        Edit("trim silence")  # type: ignore[arg-type]
