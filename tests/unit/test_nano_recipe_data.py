"""The data stages of the recipe on tiny fakes: sounds, places, Mandarin, the quality gate."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.gate import drawn_evenly, kept, listen, rates, spoken, table
from recipes.nano.data.journal import Journal
from recipes.nano.data.kokoro import VOICES, spoken_one
from recipes.nano.data.mandarin_texts import FRAMES, SLOTS, sentences
from recipes.nano.data.nonverbal import (
    Place,
    chosen_place,
    insert,
    places,
    sound_of,
    tagged,
    with_sound,
)
from recipes.nano.data.nonverbal_sounds import GESTURES, Voice, perform
from recipes.nano.data.pauses import RATE, breaths, levels, loudness, pauses
from recipes.nano.data.symbols import SILENCE, UNKNOWN_PHONE
from recipes.nano.data.words import timed_words
from stepaudio.audio import Audio
from stepaudio.edits import PARALINGUISTIC_TAGS, Edit
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.words import WordErrors

Array = NDArray[np.float32]


def tone(seconds: float, amplitude: float = 0.3) -> Array:
    t = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sign(np.sin(2 * np.pi * 120 * t))).astype(np.float32)


def noise(seconds: float, amplitude: float) -> Array:
    white = np.random.default_rng(0).standard_normal(int(seconds * RATE) + 2)
    # A little darker than white, as breath is.
    return (amplitude * (white[2:] + white[1:-1] + 0.4 * white[:-2])).astype(np.float32)


def voice() -> Voice:
    f0 = np.full(100, 120.0, np.float32)
    envelope = np.linspace(0, -8, 65, dtype=np.float32) * np.ones((100, 1), np.float32)
    return Voice.heard(f0, envelope, [("ɑ", 0.5), ("m", 0.5)])


def test_every_published_sound_can_be_made() -> None:
    assert set(GESTURES) == set(PARALINGUISTIC_TAGS)
    for tag, gesture in GESTURES.items():
        tracks = perform(gesture, voice(), random.Random(0))
        assert len(tracks.f0) == len(tracks.envelope) == len(tracks.noise) >= 8
        assert np.isfinite(tracks.envelope).all()
        assert (tracks.f0 > 0).any() == bool(gesture.pitch), tag
        assert 0 <= tracks.noise.min() <= tracks.noise.max() <= 1


def test_a_question_rises_and_a_sigh_falls() -> None:
    def ends(tag: str) -> tuple[float, float]:
        f0 = perform(GESTURES[tag], voice(), random.Random(1)).f0
        f0 = f0[f0 > 0]
        return float(f0[:3].mean()), float(f0[-3:].mean())

    first, last = ends("[Question-ei]")
    assert last > 1.3 * first
    first, last = ends("[Sigh]")
    assert last < 0.9 * first


def test_a_voice_needs_something_voiced() -> None:
    with pytest.raises(ValueError, match="voiced"):
        Voice.heard(np.zeros(10, np.float32), np.zeros((10, 5), np.float32), [("ɑ", 0.1)])


def test_a_breath_is_found_in_its_pause_and_a_hum_is_not() -> None:
    background = noise(0.2, 0.0005)
    breath = noise(0.3, 0.015)
    hum = tone(0.3, 0.015)
    parts = [tone(1.0), background, breath, background, tone(1.0), background, hum, background]
    found = breaths(np.concatenate([*parts, tone(0.5)]))
    assert len(found) == 1
    assert found[0] == pytest.approx((1.2, 1.5), abs=0.04)


def test_words_and_places_follow_runs_and_level() -> None:
    phones = [(SILENCE, 0.1), (3, 0.2), (4, 0.9), (SILENCE, 0.02), (5, 0.3), (6, 0.3)]
    words = timed_words(phones, [("two", 2), ("one", 1), ("more", 1)])
    assert [w.text for w in words] == ["two", "one", "more"]
    assert (words[0].start, words[0].last_start) == pytest.approx((0.1, 0.3))
    # The aligner stretched the last phone over a pause; the level knows where it is.
    quiet = noise(0.5, 0.0005)
    samples = np.concatenate([quiet[:1600], tone(0.5), quiet, tone(0.12), tone(0.6)])
    found = places(words, levels(samples))
    assert [p.pause for p in found] == [True, True, False, True]
    assert 0.6 < found[1].time < 1.1
    assert found[2].time == pytest.approx(1.52, abs=0.06)
    assert (found[0].time, found[3].words) == (0.0, 3)


def test_an_inserted_sound_lies_where_the_row_says() -> None:
    samples, sound = tone(2.0), noise(0.4, 0.05)
    samples[8000:12000] *= 0.001
    phones = [(1, 1.0), (2, 1.0)]
    for at in (0.0, 1.0, 2.0):
        out, begin, end = insert(samples, sound, at, random.Random(0))
        runs = with_sound(phones, at, begin, end, len(out) / RATE)
        assert end - begin == pytest.approx(len(sound) / RATE)
        assert sum(s for _, s in runs) == pytest.approx(len(out) / RATE, abs=2e-3)
        time = sum(s for _, s in runs[: [p for p, _ in runs].index(UNKNOWN_PHONE)])
        assert time == pytest.approx(begin, abs=2e-3)
        a, b = round(begin * RATE), round(end * RATE)
        assert np.corrcoef(out[a:b][400:-400], sound[400 : b - a - 400])[0, 1] > 0.99
        # The words on both sides are as they were.
        left = int(at * RATE) - 200
        assert left < 0 or (out[:left] == samples[:left]).all()
        right = len(samples) - int(at * RATE) - 200
        assert right < 0 or (out[len(out) - right :] == samples[len(samples) - right :]).all()


def test_a_pause_between_words_is_the_usual_place() -> None:
    found = [Place(t, n, t != 1.0) for n, t in enumerate((0.0, 1.0, 2.0, 3.0))]
    rng = random.Random(0)
    drawn = [chosen_place(found, rng).words for _ in range(400)]
    share = [drawn.count(n) / 400 for n in range(4)]
    assert share == pytest.approx([0.125, 0.125, 0.625, 0.125], abs=0.06)
    assert chosen_place(found[:1] + found[-1:], rng) in found


def test_the_tag_stands_at_the_place() -> None:
    text = tagged(["why", "not", "now"], Place(0.0, 2, True), "[Laughter]")
    assert text == "why not [Laughter] now"
    assert Edit.paralinguistic(text).text == text


def test_a_rule_made_sound_is_at_the_speakers_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "recipes.nano.data.nonverbal.speak", lambda f0, e, n, seed: tone(len(f0) / 100, 0.01)
    )
    piece = tone(1.0, 0.2)
    sound, said = sound_of("[Laughter]", piece, voice(), [], random.Random(0))
    below = 20 * np.log10(loudness(sound) / loudness(piece))
    assert below == pytest.approx(GESTURES["[Laughter]"].db, abs=4)
    assert said == {"tag": "[Laughter]", "made": "rule"}
    # Nothing clips, or the words would be turned down with it.
    sound, _ = sound_of("[Surprise-ah]", tone(1.0, 0.97), voice(), [], random.Random(0))
    assert np.abs(sound).max() <= 0.901


def test_a_pause_shorter_than_asked_is_none() -> None:
    level = np.full(100, -3, np.float32)
    level[20:50] = -30
    level[80:90] = -30
    assert pauses(level, 0.15) == [(0.2, 0.5)]


def test_a_journal_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    Journal(path).add("a", [1])
    with path.open("a") as file:
        file.write('["b", [')
    journal = Journal(path)
    assert "a" in journal
    assert "b" not in journal
    journal.add("b", [2])
    assert Journal(path).done == {"a": [1], "b": [2]}


def test_mandarin_sentences_are_filled_and_different(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(300, random.Random(0))
    assert len(set(texts)) == 300
    assert texts[:20] == sentences(20, random.Random(0))
    assert not any(set("{}abcdefghijklmnopqrstuvwxyz") & set(text) for text in texts)
    assert len(FRAMES) >= 24
    assert all(len(set(words)) == len(words) for words in SLOTS.values())
    monkeypatch.setattr("recipes.nano.data.mandarin_texts.FRAMES", ("你好。",))
    with pytest.raises(ValueError, match="frames"):
        sentences(2, random.Random(0))


def test_a_sentence_of_kokoro_names_voice_engine_and_licence(tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []

    def speak(text: str, name: str, speed: float) -> Array:
        said.append((name, speed))
        return tone(0.5)

    (row,) = spoken_one((6, "你好。"), "zh", tmp_path, 0, speak)
    assert said[0][0] == VOICES[1]
    assert (row.id, row.lang, row.speaker) == ("kokoro-zh00006", "zh", f"kokoro_{VOICES[1]}")
    assert (row.licence, row.made, row.change) == ("Apache-2.0", "engine", "none")
    assert row.engine.startswith("Kokoro")
    assert Path(row.path).exists()


class Ears:
    """Hears the words of a table, by length of the sound."""

    model = ModelId("fake", "1")

    def __init__(self, heard: dict[int, str]) -> None:
        self.heard = heard

    def understands(self, lang: str) -> bool:
        return True

    def transcribe(self, audios: Sequence[Audio], lang: str) -> list[str]:
        return [self.heard[len(audio)] for audio in audios]


class Opinion:
    """Finds that everything sounds the same."""

    name, model = "opinion", ModelId("fake", "1")

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        return [{"p808": 3.5} for _ in samples]


def rows_for_gate(folder: Path) -> list[Utterance]:
    rows = []
    for n, (key, change, source) in enumerate(
        [("a", "none", ""), ("a-w", "style:whisper", "a"), ("b", "none", ""), ("b-w", "x:y", "b")]
    ):
        path = folder / f"{key}.flac"
        write_audio(path, tone(0.5 + n / 10), RATE)
        rows.append(Utterance(key, str(path), key[0], "one two [Sigh] three four", "en",
                              None, change, source))  # fmt: skip
    return rows


def test_the_gate_counts_per_change_and_drops_with_what_was_made(tmp_path: Path) -> None:
    rows = rows_for_gate(tmp_path)
    texts = ["one two three four", "one two", "nothing of it at all", "one two three four"]
    heard = {len(read_audio(r.path, RATE)): t for r, t in zip(rows, texts, strict=True)}
    journal = Journal(tmp_path / "heard.jsonl")
    listen(rows, [WordErrors(Ears(heard)), Opinion()], journal)
    report = {"changes": rates(rows, journal.done)}
    assert report["changes"]["style:whisper"]["wer"]["value"] == 0.5
    assert report["changes"]["none"]["wer"]["value"] > 0.5
    assert report["changes"]["all"]["wer"]["n"] == 4
    assert "| style:whisper | 1 | 1 | 0.50 |" in table(report)
    assert report["changes"]["style:whisper"]["p808"]["value"] == 3.5
    assert (
        rates(rows, {r.id: {**journal.done[r.id], "p808": None} for r in rows})["all"]["p808"]["n"]
        == 0
    )
    assert [r.id for r in kept(rows, journal.done, 0.6)] == ["a", "a-w"]
    assert [r.id for r in kept(rows, {}, 0.6)] == [r.id for r in rows]


def test_the_gate_draws_evenly_and_never_hears_tags() -> None:
    rows = [Utterance(f"n{i}", "", "s", "x", change="none") for i in range(20)]
    rows += [Utterance(f"c{i}", "", "s", "x", change="style:child") for i in range(3)]
    rows.append(Utterance("noise", "", "", ""))
    drawn = drawn_evenly(rows, 6, 0)
    assert sorted(r.change for r in drawn) == ["none"] * 3 + ["style:child"] * 3
    assert len(drawn_evenly(rows, 0, 0)) == 23
    assert spoken("well [Uhm] yes") == "well yes"
