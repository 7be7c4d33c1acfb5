"""The manners of the embedded model, and how those of actors are measured."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_voices import vowel

from recipes.nano.actors import Voice, actors_table, main, measure_pairs
from recipes.nano.manners import ACTED, MANNERS, share_of
from stepaudio.audio import Audio
from stepaudio.edits import EDIT_KINDS
from stepaudio.manner import COLOUR_HZ
from stepaudio.parts import Defaults
from stepaudio.recording_edits import MANNER_EDITS


@pytest.mark.parametrize("emotion", ACTED)
@pytest.mark.parametrize("times", [2, 3])
def test_shares_make_the_whole(emotion: str, times: int) -> None:
    """Semitones and decibels add up, factors multiply."""
    whole = ACTED[emotion]
    share = share_of(whole, 1 / times)
    assert times * share.pitch == pytest.approx(whole.pitch, abs=0.02)
    assert share.melody**times == pytest.approx(whole.melody, rel=0.005)
    assert share.rate**times == pytest.approx(whole.rate, rel=0.005)
    assert [times * gain for gain in share.colour] == pytest.approx(whole.colour, abs=0.16)
    assert share_of(whole, 1.0) == whole
    # Nothing that a share would leave out is in the whole.
    assert astuple(whole)[3:] == (1.0, whole.colour, 0.0, 0.0, 0.0)


def test_the_labels_are_those_of_edits() -> None:
    labels = {label for kind in MANNER_EDITS for label in EDIT_KINDS[kind].labels}
    assert set(MANNERS) <= labels
    assert set(ACTED) <= set(EDIT_KINDS["emotion"].labels) & set(MANNERS)
    defaults = Defaults(on_recording=MANNER_EDITS, manners=MANNERS)
    assert defaults.manners == MANNERS


def test_no_share_goes_further_than_actors() -> None:
    for emotion, whole in ACTED.items():
        done = MANNERS[emotion]
        assert 0 < done.pitch / whole.pitch < 1
        assert abs(np.log(done.rate)) < abs(np.log(whole.rate))
        assert all(
            abs(gain) <= abs(most) for gain, most in zip(done.colour, whole.colour, strict=True)
        )


def test_what_actors_do_is_in_the_numbers_of_the_docs() -> None:
    path = Path(__file__).parents[2] / "docs" / "results" / "nano_actors.json"
    measured = json.loads(path.read_text(encoding="utf-8"))
    assert set(measured) == set(ACTED)
    for emotion, numbers in measured.items():
        whole = asdict(ACTED[emotion])
        for name in ("pitch", "melody", "rate"):
            assert whole[name] == pytest.approx(numbers[name], abs=0.06)
        colour = [numbers[str(hertz)] for hertz in COLOUR_HZ]
        assert whole["colour"] == pytest.approx(colour, abs=0.06)


class Ear:
    """Hears the same speaker everywhere, but for one who is turned by a right angle."""

    def embed(self, audio: Audio) -> np.ndarray:
        return np.array([3.0, 0.0]) if audio.seconds > 1.5 else np.array([0.0, 2.0])


def swept(hz: float, semitones: float, seconds: float, tilt: float = 0.0) -> Audio:
    """A vowel that rises by so much, higher in every octave by so many dB."""
    sound = vowel(
        hz * 2 ** (np.linspace(-0.5, 0.5, round(seconds * 16000)) * semitones / 12), seconds
    )
    spectrum = np.fft.rfft(sound.samples.double().numpy())
    octaves = np.log2(np.fft.rfftfreq(len(sound), 1 / 16000).clip(50.0) / 1000)
    tilted = np.fft.irfft(spectrum * 10 ** (tilt * octaves / 20), len(sound))
    return Audio(torch.from_numpy(0.5 * tilted / np.abs(tilted).max()), 16000)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two actors; of the second there is no neutral sentence but one of another corpus."""
    rows = []
    for name, emotion, speaker, text, corpus, audio in [
        ("n", "neutral", "a", "s1", "emodb", swept(120.0, 4.0, 2.0)),
        ("h", "happy", "a", "s1", "emodb", swept(160.0, 8.0, 2.0 / 1.25, 3.0)),
        ("s", "sad", "a", "s1", "emodb", swept(110.0, 2.0, 1.4, -2.0)),
        ("m", "neutral", "b", "s1", "other", swept(120.0, 4.0, 2.0)),
        ("g", "happy", "b", "s1", "emodb", swept(300.0, 4.0, 2.0)),
    ]:
        path = audio.save(tmp_path / f"{name}.flac")
        rows.append(
            {"id": name, "path": str(path), "speaker": speaker, "text": "Satz", "lang": "de",
             "set": corpus, "licence": "CC0-1.0", "emotion": emotion, "text_id": text}
        )  # fmt: skip
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def test_pairs_tell_what_leads_from_one_to_the_other(manifest: Path) -> None:
    found = measure_pairs(manifest, Ear())
    assert {emotion: len(pairs) for emotion, pairs in found.items()} == {"happy": 1, "sad": 1}
    ((like, pitch, melody, rate, *colour),) = found["happy"]
    assert like == pytest.approx(1.0)
    assert pitch == pytest.approx(12 * np.log2(160 / 120), abs=0.1)
    assert melody == pytest.approx(2.0, rel=0.05)
    assert rate == pytest.approx(1.25, rel=0.02)
    assert np.mean(colour) == pytest.approx(0.0, abs=1e-9)
    # Three decibels more in every octave.
    assert np.polyfit(np.arange(1, 6), colour[1:6], 1)[0] == pytest.approx(3.0, abs=1.0)
    ((like, pitch, melody, rate, *colour),) = found["sad"]
    assert (like, rate) == (pytest.approx(0.0), pytest.approx(2.0 / 1.4, rel=0.02))
    assert pitch == pytest.approx(12 * np.log2(110 / 120), abs=0.1)
    assert melody == pytest.approx(0.5, rel=0.1)
    assert np.polyfit(np.arange(1, 6), colour[1:6], 1)[0] == pytest.approx(-2.0, abs=1.0)


def test_the_table_has_the_medians(
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("recipes.nano.actors.ResemblyzerVoice", Ear)
    main([str(manifest), "-o", str(tmp_path / "actors")])
    table = (tmp_path / "actors.md").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out
    numbers = json.loads((tmp_path / "actors.json").read_text(encoding="utf-8"))
    assert numbers["happy"]["pairs"] == 1
    assert set(numbers["sad"]) == {
        "pairs", "similarity", "pitch", "melody", "rate", *map(str, COLOUR_HZ)
    }  # fmt: skip
    happy = numbers["happy"]
    row = next(line for line in table.splitlines() if line.startswith("| happy |"))
    assert f"| {happy['pitch']:+.1f} (" in row
    assert f"| {happy['rate']:.2f} (" in row
    columns = {line.count("|") for line in table.splitlines()}
    assert columns == {7 + len(COLOUR_HZ)}


def test_the_table_says_where_half_of_the_pairs_lie() -> None:
    pairs = [np.array([0.5, pitch, 1.0, 1.0, *[0.0] * 7]) for pitch in (1.0, 2.0, 3.0, 4.0, 9.0)]
    assert "| fear | 5 | 0.50 (0.50 to 0.50) | +3.0 (+2.0 to +4.0) |" in actors_table(
        {"fear": pairs}
    )


def test_a_voice_is_known_by_its_direction() -> None:
    voice = Voice(swept(120.0, 4.0, 2.0), Ear())
    assert voice.who.tolist() == [1.0, 0.0]
    assert 2 ** (voice.pitch / 12) == pytest.approx(120.0, rel=0.01)
    assert voice.melody == pytest.approx(0.8 * 4.0, abs=0.2)
