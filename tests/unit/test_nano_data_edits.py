"""Rows made from recordings: noise and rooms, silence, acted pairs, and how many of each."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recipes.nano.data.acted import acted_pairs, emotions_of
from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.noise import SNRS, Room, at_snr, coloured, noisy_one
from recipes.nano.data.pauses import levels, loudness, pauses
from recipes.nano.data.pieces import pieces_of
from recipes.nano.data.plan import (
    CHANGED,
    SILENCE_ROWS,
    SYNTHETIC_EDITS,
    TRANSFORMED,
    drawn,
    planned,
)
from recipes.nano.data.silence import silence_one, trimmed
from recipes.nano.data.symbols import SILENCE
from recipes.nano.data.transform import changed, transform_one
from recipes.nano.data.voice_change import CHANGES
from recipes.nano.data.voices import other_head, other_voice
from recipes.nano.data.world import RATE

Array = NDArray[np.float32]


def words(*seconds: float) -> Array:
    """Tones and near silence in turn, beginning with a tone; lengths in seconds."""
    rng, parts = np.random.default_rng(0), []
    for number, length in enumerate(seconds):
        t = np.arange(int(length * RATE)) / RATE
        quiet = 1e-4 * rng.standard_normal(len(t))
        parts.append(quiet if number % 2 else 0.3 * np.sin(2 * np.pi * 150 * t) + quiet)
    return np.concatenate(parts).astype(np.float32)


def recording(folder: Path, key: str, samples: Array, **more: object) -> Utterance:
    path = folder / f"{key}.flac"
    write_audio(path, samples, RATE)
    return Utterance(key, str(path), "s1", "one two", licence="CC0-1.0", **more)  # type: ignore[arg-type]


def test_a_change_of_tempo_alone_stretches_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tempo = {name: rule for name, rule in CHANGES.items() if rule.only_tempo}
    assert set(tempo) == {name for name in CHANGES if name.startswith("speed:")}
    monkeypatch.setattr("recipes.nano.data.transform.CHANGES", tempo)
    monkeypatch.delattr("recipes.nano.data.transform.Analysed")
    hum = words(2.0)
    rows = transform_one(recording(tmp_path, "a", hum), tmp_path / "out", len(tempo), 0)
    assert {row.change for row in rows} == set(tempo)
    for row in rows:
        made = read_audio(row.path, RATE)
        assert len(made) == pytest.approx(len(hum) / tempo[row.change].rate, abs=1)
        spectrum = np.abs(np.fft.rfft(made * np.hanning(len(made))))
        assert spectrum.argmax() * RATE / len(made) == pytest.approx(150, abs=2)


def test_noise_is_at_the_ratio_it_is_said_to_be() -> None:
    speech = words(1.0, 0.5, 1.0)
    noise = coloured(len(speech), 3.0, np.random.default_rng(0))
    for snr in SNRS:
        added = at_snr(speech, noise, snr) - speech
        ratio = 20 * np.log10(loudness(speech) / np.sqrt(np.mean(added**2)))
        assert ratio == pytest.approx(snr, abs=0.01)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    spectrum = np.abs(np.fft.rfft(coloured(1 << 17, 3.0, np.random.default_rng(0)))) ** 2
    frequencies = np.fft.rfftfreq(1 << 17, 1 / RATE)

    def power(low: float) -> float:
        return float(spectrum[(frequencies > low) & (frequencies < 2 * low)].mean())

    assert 10 * np.log10(power(500) / power(1000)) == pytest.approx(3.0, abs=0.3)


def test_a_room_dies_away_in_its_time_and_keeps_the_direct_sound() -> None:
    response = Room(rt60=0.4, direct_db=6.0).response(np.random.default_rng(0))
    assert response[0] == 1.0
    assert 10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(-6.0, abs=1e-3)
    early, late = (np.mean(response[int(a * RATE) :][:800] ** 2) for a in (0.05, 0.25))
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=1.5)


def test_noisy_rows_tell_what_was_added_and_when_it_was_said(tmp_path: Path) -> None:
    source = recording(tmp_path, "a", words(1.5), labels={"phones": [[3, 1.5]]})
    rain = recording(tmp_path, "rain", coloured(8000, 0.0, np.random.default_rng(1)) * 0.1)
    other = Utterance("b", source.path, "s2", "three", licence="CC BY 4.0")
    rows = noisy_one(source, tmp_path, 12.0, [rain], [source, other], 0)
    assert len({row.id for row in rows}) == 12
    kinds = {row.labels["noise"]["kind"] for row in rows}  # type: ignore[index]
    assert kinds == {"made", "recording", "people talking"}
    for row in rows:
        assert (row.source, row.change, row.made, row.licence) == ("a", "noisy", "rule", "CC0-1.0")
        assert row.labels is not None
        assert row.labels["noise"]["snr_db"] in SNRS
        assert row.labels["phones"] == [[3, 1.5]]
        assert row.labels["times"] == [[0, 0], [1.5, 1.5]]
        assert "a" not in row.labels["noise"].get("from", [])
    assert any("rt60_s" in row.labels["noise"] for row in rows)  # type: ignore[index]
    again = noisy_one(source, tmp_path, 12.0, [rain], [source, other], 0)
    assert again == rows
    # Without noises of a corpus there is still noise.
    assert len(noisy_one(source, tmp_path, 3.0, [], [source], 0)) == 3


def test_trimming_takes_out_silence_and_no_word() -> None:
    samples = words(0.6, 0.9, 0.5, 0.2, 0.5, 1.0)
    short, times = trimmed(samples)
    # Two stretches go: 0.9 s and the 1.0 s at the end, less the margins beside the words.
    assert len(samples) - len(short) == pytest.approx((0.9 + 1.0 - 3 * 0.15) * RATE, abs=800)
    loud = (np.abs(samples) > 0.01).sum()
    assert (np.abs(short) > 0.01).sum() == pytest.approx(loud, abs=40)
    before, after = np.asarray(times).T
    for moment in (0.3, 1.7, 2.4):  # inside of each word
        there = round(float(np.interp(moment, before, after)) * RATE)
        here = round(moment * RATE)
        piece, same = samples[here : here + 400], short[there - 250 : there + 650]
        best = max(float(np.dot(piece, same[n : n + 400])) for n in range(500))
        assert best == pytest.approx(float(np.dot(piece, piece)), rel=0.01)


def test_silence_rows_go_from_long_to_short(tmp_path: Path) -> None:
    phones = [[3, 0.6], [0, 0.9], [4, 0.5], [0, 1.0]]
    source = recording(tmp_path, "a", words(0.6, 0.9, 0.5, 1.0), labels={"phones": phones})
    short, long = silence_one(source, tmp_path, 1.0, 0)
    assert [(r.change, r.source) for r in (short, long)] == [("trimmed", "a"), ("paused", short.id)]
    lengths = {r.id: len(read_audio(r.path, RATE)) / RATE for r in (source, short, long)}
    assert lengths[short.id] + 0.4 < lengths["a"]
    assert lengths[long.id] > lengths[short.id] + 0.8
    for row in (short, long):
        assert row.labels is not None
        covered = sum(seconds for _, seconds in row.labels["phones"])
        assert covered == pytest.approx(lengths[row.id], abs=0.02)
        # The words are still where their phones say.
        level, at = levels(read_audio(row.path, RATE)), 0.0
        for phone, seconds in row.labels["phones"]:
            if phone in (3, 4):
                assert level[round((at + seconds / 2) * 100)] > -3
            at += seconds
    assert len(pauses(levels(read_audio(long.path, RATE)), 0.4)) == 3
    assert silence_one(source, tmp_path, 0.0, 0) == []
    hush = recording(tmp_path, "hush", words(0.15, 2.0))
    assert silence_one(hush, tmp_path, 1.0, 0) == []


def test_pieces_keep_what_is_short_and_cut_what_is_long(tmp_path: Path) -> None:
    short = recording(tmp_path, "short", words(2.0))
    assert pieces_of(short, tmp_path) == [short]
    assert pieces_of(recording(tmp_path, "click", words(0.5)), tmp_path) == []
    samples = words(5.0, 0.6, 5.0)
    assert pieces_of(recording(tmp_path, "unknown", samples), tmp_path) == []
    labels = {"phones": [[3, 5.0], [0, 0.6], [4, 5.0]], "words": [["one", 1], ["two", 1]]}
    rows = pieces_of(recording(tmp_path, "long", samples, labels=labels), tmp_path)
    assert [(r.id, r.text) for r in rows] == [("long.0", "one"), ("long.1", "two")]
    assert len(read_audio(rows[0].path, RATE)) == pytest.approx(5.3 * RATE, abs=2)
    assert {r.licence for r in rows} == {"CC0-1.0"}


def test_a_change_by_rule_knows_its_times() -> None:
    source = Utterance(
        "a", "a.flac", "s", "one", labels={"phones": [[3, 1.6]], "words": [["one", 1]]}
    )
    row = changed(source, "speed:more faster", Path("x"), 1.6)
    assert row.id == "a-speed-more_faster"
    assert row.labels == {
        "times": [[0, 0], [1.6, 1.0]],
        "words": [["one", 1]],
        "phones": [[3, 1.0]],
    }
    assert (row.source, row.made) == ("a", "rule")


def test_actors_give_pairs_with_their_neutral_reading(tmp_path: Path) -> None:
    facts = [("n1", "neutral", "s1"), ("n2", "neutral", "s1"), ("h1", "happy", "s1"),
             ("h2", "happy", "s1"), ("d", "disgust", "s1"), ("b", "boredom", "s1"),
             ("h3", "happy", "s2")]  # fmt: skip
    manifest = tmp_path / "m.jsonl"
    rows = [{"id": i, "emotion": e, "text_id": t} for i, e, t in facts] + [{"id": "x"}]
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    utterances = [Utterance(i, "", "a", "Satz", "de", licence="CC0-1.0") for i, _, _ in facts]
    found = acted_pairs(utterances, emotions_of(manifest))
    assert [(r.id, r.change, r.source) for r in found] == [
        ("h1", "emotion:happy", "n1"), ("h2", "emotion:happy", "n2"),
        ("d", "emotion:disgusted", "n1"),
    ]  # fmt: skip
    assert {r.made for r in found} == {"human"}


@given(st.floats(18.0, 90.0))
def test_a_plan_adds_up_to_the_hours_asked_for(hours: float) -> None:
    plan = planned(hours, 6.0)
    assert 6.0 + sum(plan.hours.values()) == pytest.approx(hours, abs=0.1)
    pieces = 12.0 + plan.hours["kokoro-en"] + plan.hours["kokoro-zh"]
    assert plan.edits * pieces * TRANSFORMED == pytest.approx(plan.hours["transform"], rel=0.02)
    assert plan.silence * pieces * SILENCE_ROWS == pytest.approx(plan.hours["silence"], rel=0.05)
    made = plan.synthetic * 4.0 * (1 + SYNTHETIC_EDITS * CHANGED) / 3600
    assert made == pytest.approx(plan.hours["synthetic"], rel=0.02)


def test_a_plan_is_refused_where_the_corpus_alone_is_longer() -> None:
    with pytest.raises(ValueError, match="corpus, twice"):
        planned(11.0, 6.0)


def test_so_many_are_drawn_on_average_and_none_twice() -> None:
    rng, names = random.Random(0), [str(n) for n in range(5)]
    drawings = [drawn(names, 1.4, rng) for _ in range(2000)]
    assert {len(d) for d in drawings} == {1, 2}
    assert np.mean([len(d) for d in drawings]) == pytest.approx(1.4, abs=0.04)
    assert all(len(set(d)) == len(d) for d in drawings)
    assert len(drawn(names, 9.0, rng)) == 5


def test_another_head_is_a_new_speaker_with_the_same_words_sooner(tmp_path: Path) -> None:
    time = np.arange(RATE) / RATE
    samples = np.concatenate([np.zeros(RATE), 0.3 * np.sin(2 * np.pi * 200 * time)])
    write_audio(tmp_path / "a.flac", samples.astype(np.float32), RATE)
    labels = {"phones": [[SILENCE, 1.0], [5, 1.0]], "words": [["oh", 1]]}
    source = Utterance(
        "a", str(tmp_path / "a.flac"), "ann", "oh", lang="en", labels=labels, licence="CC0-1.0"
    )
    (row,) = other_voice(source, tmp_path / "made", seed=0)
    factor = other_head("ann", 0)
    assert 0.08 <= abs(math.log(factor)) <= 0.18
    made = read_audio(row.path, RATE)
    assert len(made) == pytest.approx(2 * RATE / factor, abs=2)
    spectrum = np.abs(np.fft.rfft(made[-RATE // 2 :] * np.hanning(RATE // 2)))
    assert 2 * spectrum.argmax() == pytest.approx(200 * factor, abs=2)
    assert (row.labels or {})["phones"][1] == [5, round(1 / factor, 4)]
    assert (row.made, row.source) == ("rule", "")
    assert row.speaker.startswith("ann~")
    assert len({round(other_head(str(n), 0), 3) for n in range(50)}) > 40
