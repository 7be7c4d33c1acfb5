"""Who is paired with whom: acted, cloned and changed recordings."""

from __future__ import annotations

from pathlib import Path

import debug_parts as debug
import pytest

from recipes.nano.data.voice_change import CHANGES
from stepaudio.audio import Audio
from stepaudio.data.cloning import render_clones
from stepaudio.data.manifest import Utterance
from stepaudio.data.pairs import EditPair, edit_of_change, made_pairs, read_pairs, write_pairs
from stepaudio.data.quadruplets import plan_plain_clones, quadruplets, strip_tags
from stepaudio.data.triplets import acted_triplets, plan_clones
from stepaudio.edits import Edit
from stepaudio.errors import DataError, EditError


def row(key: str, emotion: str = "", text: str = "See you.", **facts: str) -> Utterance:
    return Utterance(key, f"/{key}.wav", facts.pop("speaker", "s"), text, emotion=emotion, **facts)


def test_triplets_share_speaker_and_words() -> None:
    rows = [
        row("n", "neutral"),
        row("h", "happy", "see YOU"),
        row("other words", "happy", "Good morning."),
        row("other speaker", "happy", speaker="t"),
        row("other corpus", "happy", set="c"),
        row("no such edit", "boredom"),
    ]
    there, back = acted_triplets(rows)
    assert there == EditPair(Edit.emotion("happy"), "n", "h", "See you.", "s")
    assert there.category == "emotion:happy"
    assert back == EditPair(Edit.remove("emotion"), "h", "n", "See you.", "s")
    assert acted_triplets(rows, removals=False) == [there]


def test_an_id_of_the_text_counts_more_than_its_spelling() -> None:
    rows = [row("n", "read", "x", text_id="1"), row("h", "sad", "y", text_id="1")]
    assert [pair.after for pair in acted_triplets(rows, removals=False)] == ["h"]
    assert not acted_triplets([row("n", "read", ""), row("h", "sad", "")])


def test_every_change_of_the_recipe_is_an_edit() -> None:
    for change in CHANGES:
        edit = edit_of_change(change)
        assert edit is not None
        assert change.startswith(edit.kind)
    assert edit_of_change("speed:more faster") == Edit.speed("faster", strength=2)
    assert edit_of_change("none") is None
    with pytest.raises(EditError, match="unknown edit"):
        edit_of_change("louder:much")


def test_changed_recordings_are_paired_with_their_sources() -> None:
    rows = [
        row("a"),
        row("fast", change="speed:faster", source="a"),
        row("noise", change="noisy", source="a"),
        row("cut", change="trim_silence", source="a"),
        row("low", change="style:whisper", source="a"),
        row("haha", change="paralinguistic:[Laughter]", source="a", text="See [Laughter] you."),
    ]
    found = [(pair.edit, pair.before, pair.after, pair.text) for pair in made_pairs(rows)]
    assert found == [
        (Edit.speed("faster"), "a", "fast", "See you."),
        # What is heard is the noisy one, what is wanted the clean one.
        (Edit.denoise(), "noise", "a", ""),
        (Edit.trim_silence(), "a", "cut", "See you."),
        (Edit.style("whisper"), "a", "low", "See you."),
        (Edit.remove("style"), "low", "a", "See you."),
        (Edit.paralinguistic("See [Laughter] you."), "a", "haha", "See you."),
    ]
    with pytest.raises(DataError, match="'a', which is not in the manifest"):
        made_pairs(rows[1:2])
    with pytest.raises(DataError, match="b: change 'emotion:hungry' is no edit"):
        made_pairs([row("a"), row("b", change="emotion:hungry", source="a")])


def test_cloned_triplets_say_the_same_new_words_in_both_manners(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []

    def speak(text: str, voice: Utterance) -> Audio:
        said.append((text, voice.id))
        return debug.speech(0.2)

    voices = row("n", "neutral", consent="c1", licence="CC0-1.0"), row("h", "happy")
    requests = plan_clones(*voices, "emotion:happy", ["One.", "Two."])
    rows = render_clones(requests, speak, tmp_path)
    assert said == [("One.", "n"), ("One.", "h"), ("Two.", "n"), ("Two.", "h")]
    assert (rows[0].consent, rows[0].licence, rows[0].speaker) == ("c1", "CC0-1.0", "s")
    pairs = made_pairs(rows, removals=False)
    assert [(p.before, p.after, p.text) for p in pairs] == [
        ("n.0", "n.0-emotion-happy", "One."),
        ("n.1", "n.1-emotion-happy", "Two."),
    ]
    # What is there is not rendered again.
    assert render_clones(requests, speak, tmp_path) == rows
    assert len(said) == 4


@pytest.mark.parametrize(
    ("tagged", "plain"),
    [
        ("Well [Laughter], why not?", "Well, why not?"),
        ("[Breathing] So [Sigh] be it.", "So be it."),
        ("你好[Laughter]吗？", "你好吗？"),
        ("Nothing [here].", "Nothing [here]."),
    ],
)
def test_tags_are_stripped(tagged: str, plain: str) -> None:
    assert strip_tags(tagged) == plain


def test_quadruplets_pair_real_sounds_with_plain_clones(tmp_path: Path) -> None:
    tagged = [row("q", text="Well [Laughter] yes."), row("none", text="Well yes.")]
    requests = plan_plain_clones(tagged)
    plain = render_clones(requests, lambda text, voice: debug.speech(0.2), tmp_path)
    assert quadruplets(tagged, plain) == [
        EditPair(Edit.paralinguistic("Well [Laughter] yes."), "q-plain", "q", "Well yes.", "s")
    ]
    with pytest.raises(DataError, match="counterpart of q is missing"):
        quadruplets(tagged, [])
    with pytest.raises(DataError, match=r"says 'No\.'; it must say 'Well yes\.'"):
        quadruplets(tagged, [row("q-plain", text="No.")])


def test_pairs_come_back_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    pairs = [
        EditPair(Edit.emotion("happy", strength=2), "a", "b", "x", "s", 7.5),
        EditPair(Edit.denoise(), "c", "d"),
    ]
    path = write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(path) == pairs
    path.write_text('{"before": "a", "after": "b", "edit": {"kind": "mood"}}\n')
    with pytest.raises(DataError, match=r"pairs.jsonl:1: not a pair: unknown edit 'mood'"):
        read_pairs(path)
