"""Who is paired with whom: acted, cloned and changed recordings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest

from recipes.nano.data.voice_change import CHANGES
from stepaudio.audio import Audio
from stepaudio.data.cloning import CloneRequest, render_clones
from stepaudio.data.manifest import Utterance, read_manifest, write_manifest
from stepaudio.data.pairs import EditPair, edit_of_change, made_pairs, read_pairs, write_pairs
from stepaudio.data.quadruplets import plan_plain_clones, quadruplets, strip_tags
from stepaudio.data.triplets import acted_triplets, plan_clones
from stepaudio.edits import Edit
from stepaudio.errors import AudioError, DataError, EditError


def row(key: str, emotion: str = "", text: str = "See you.", **facts: str) -> Utterance:
    return Utterance(key, f"/{key}.wav", facts.pop("speaker", "s"), text, emotion=emotion, **facts)


def spoken(folder: Path, *rows: Utterance) -> list[Utterance]:
    """The same with recordings that are there."""
    made = [replace(one, path=str(folder / f"{one.id}.wav")) for one in rows]
    for number, one in enumerate(made):
        debug.speech(0.2, seed=number).save(one.path, force=True)
    return made


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

    n, h = spoken(tmp_path, row("n", "neutral", consent="c1", licence="CC0-1.0"), row("h", "happy"))
    requests = plan_clones(n, h, "emotion:happy", ["One.", "Two.", "One."])
    rows = render_clones(requests, speak, tmp_path, engine="fake 1")
    assert said == [("One.", "n"), ("One.", "h"), ("Two.", "n"), ("Two.", "h")]
    assert (rows[0].consent, rows[0].licence, rows[0].speaker) == ("c1", "CC0-1.0", "s")
    assert {(one.made, one.engine) for one in rows} == {("engine", "fake 1")}
    pairs = made_pairs(rows, removals=False)
    assert [(p.before, p.after, p.text) for p in pairs] == [
        (rows[0].id, rows[1].id, "One."),
        (rows[2].id, rows[3].id, "Two."),
    ]
    # What is there is not rendered again.
    assert render_clones(requests, speak, tmp_path, engine="fake 1") == rows
    assert len(said) == 4


def test_one_neutral_recording_serves_several_emotions_and_texts(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []

    def speak(text: str, voice: Utterance) -> Audio:
        said.append((text, voice.id))
        return debug.speech(0.2, seed=len(said))

    n, h, s = spoken(tmp_path, row("n", "neutral"), row("h", "happy"), row("s", "sad"))
    requests = plan_clones(n, h, "emotion:happy", ["A"]) + plan_clones(n, s, "emotion:sad", ["A"])
    requests += plan_clones(n, s, "emotion:sad", ["B"])
    # Another recording with the same emotion, and the same one in another manner.
    requests += plan_clones(n, s, "emotion:happy", ["A"]) + plan_clones(h, s, "emotion:sad", ["A"])
    rows = render_clones(requests, speak, tmp_path, engine="fake 1")
    # The plain words were asked for three times.
    assert len(rows) == len(said) == 8
    assert [(one.text, one.change) for one in rows[:5]] == [
        ("A", "none"), ("A", "emotion:happy"), ("A", "emotion:sad"), ("B", "none"),
        ("B", "emotion:sad"),
    ]  # fmt: skip
    manifest = write_manifest(tmp_path / "clones.jsonl", rows)
    assert len({Path(one.path).read_bytes() for one in read_manifest(manifest)}) == 8
    pairs = made_pairs(rows, removals=False)
    assert (pairs[0].before, pairs[1].before) == (rows[0].id, rows[0].id)
    assert len(pairs) == 5


def test_a_clone_of_something_else_is_never_reused(tmp_path: Path) -> None:
    said: list[str] = []

    def speak(text: str, voice: Utterance) -> Audio:
        said.append(text)
        return debug.speech(0.2, seed=len(said))

    (voice,) = spoken(tmp_path, row("n"))

    def rendered(text: str = "One.", engine: str = "fake 1") -> bytes:
        (made,) = render_clones([CloneRequest("x", text, voice)], speak, tmp_path, engine=engine)
        assert (made.id, made.text, made.engine) == ("x", text, engine)
        return Path(made.path).read_bytes()

    first = rendered()
    others = [rendered("Two."), rendered(engine="fake 2")]
    debug.speech(0.3, seed=7).save(voice.path, force=True)
    others.append(rendered())
    voice = replace(voice, text="Other words were said.")
    others.append(rendered())
    assert len({first, *others}) == len(said) == 5
    # The old ones are still there, and still found.
    (voice,) = spoken(tmp_path, row("n"))
    assert rendered() == first
    assert len(said) == 5


def test_clones_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    def speak(text: str, voice: Utterance) -> Audio:
        raise AssertionError("nothing may be rendered")

    voice = row("n")
    two = [CloneRequest("x", "One.", voice), CloneRequest("x", "Two.", voice)]
    with pytest.raises(DataError, match=r"the id 'x': 'One\.' .* and 'Two\.' in the voice of 'n'"):
        render_clones(two, speak, tmp_path, engine="fake 1")
    with pytest.raises(DataError, match="name of the engine"):
        render_clones(two[:1], speak, tmp_path, engine="")
    with pytest.raises(AudioError, match=r"n\.wav' does not exist"):
        render_clones(two[:1], speak, tmp_path, engine="fake 1")


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
    tagged = spoken(tmp_path, row("q", text="Well [Laughter] yes."), row("none", text="Well yes."))
    requests = plan_plain_clones(tagged)
    plain = render_clones(
        requests, lambda text, voice: debug.speech(0.2), tmp_path, engine="fake 1"
    )
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": 5}, "'text' must be a text, not 5"),
        ({"speaker": None}, "'speaker' must be a text, not None"),
        ({"before": ""}, "'before' and 'after' must be ids"),
        ({"after": 7}, "'after' must be a text, not 7"),
        ({"margin": "high"}, "'margin' must be a number from 1 to 10, or null .* not 'high'"),
        ({"margin": True}, "'margin' must be a number"),
        ({"margin": float("nan")}, "'margin' must be a number .* not nan"),
        ({"margin": float("inf")}, "'margin' must be a number"),
        ({"margin": 0.5}, "'margin' must be a number"),
        ({"margin": 10.5}, "'margin' must be a number"),
        ({"edit": "denoise"}, "'edit' must be an object"),
        ({"edit": {"kind": "denoise", "label": 0}}, "'label' must be a text, not 0"),
        ({"edit": {"label": "happy"}}, "'kind'"),
        ({"mood": "good"}, "'mood'"),
    ],
)
def test_a_pair_of_wrong_values_is_named_by_its_line(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    good = {"edit": {"kind": "denoise"}, "before": "a", "after": "b", "text": "x", "margin": 10}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}) + "\n")
    with pytest.raises(DataError, match=rf"pairs\.jsonl:2: not a pair: .*{words}"):
        read_pairs(path)
