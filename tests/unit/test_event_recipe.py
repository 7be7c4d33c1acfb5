"""The recipe of the detector of sounds, on seconds of tones and noise by invented people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.judges.clips import Clip
from recipes.judges.event_trial import Alarms, Trial, report, story
from recipes.judges.event_windows import listen
from recipes.judges.sounds import TAGS, cut_out, insert, read_sounds
from recipes.judges.train_events import main
from stepaudio.audio import Audio
from stepaudio.edits import PARALINGUISTIC_TAGS
from stepaudio.evaluation.event_judge import OTHER, EventJudge
from stepaudio.evaluation.mixing import pauses
from stepaudio.evaluation.statistics_classifier import StatisticsConfig

RATE = 16000


def _time(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE)) / RATE


def laugh(number: int) -> np.ndarray:
    time = _time(0.9)
    return 0.3 * np.sin(2 * np.pi * (900 + 50 * number) * time) * (np.sin(9 * np.pi * time) > 0)


def sigh(number: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(number).standard_normal(round(0.8 * RATE))


def cough(number: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * (3000 + 90 * number) * _time(0.5))


def words(number: int, seconds: float = 2.5) -> np.ndarray:
    """Syllables of a low voice; a pause of 0.3 s in every second."""
    time = _time(seconds)
    voice = sum(np.sin(2 * np.pi * (120 + 15 * number) * k * time) / k for k in range(1, 12))
    return 0.1 * voice * (time % 1 < 0.7)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four people who laugh, sigh and cough, four who read, two to read with sounds put in."""
    rows: list[dict[str, object]] = []

    def row(kind: str, corpus: str, speaker: str, samples: np.ndarray, **more: str) -> None:
        name = f"{corpus}{speaker}{len(rows)}.wav"
        hiss = 3e-4 * np.random.default_rng(len(rows)).standard_normal(len(samples))
        soundfile.write(tmp_path / name, samples + hiss, RATE)
        facts = {"set": corpus, "emotion": kind, "speaker": speaker}
        rows.append({"id": name, "path": name, **facts, **more})

    for n in range(4):
        row("nonverbal:laughing", "sounds", f"p{n}", np.pad(laugh(n), 4000))
        row("nonverbal:sighing", "sounds", f"p{n}", np.pad(sigh(n), 4000))
        row("nonverbal:coughing", "sounds", f"p{n}", cough(n))
        row("read", "speech", f"r{n}", words(n))
    row("nonverbal:hmm", "sounds", "p0", cough(0))
    row("noise:rain", "sounds", "", cough(7), author="somebody")
    for n in range(2):
        row("read", "books", f"b{n}", words(n + 4, 3.5))
    path = tmp_path / "manifest.jsonl"
    text = "\n".join(json.dumps({**one, "gender": "f", "train_ok": False}) for one in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def test_sounds_are_read_with_the_tags_of_the_benchmark(manifest: Path) -> None:
    assert set(TAGS.values()) <= set(PARALINGUISTIC_TAGS)
    clips = read_sounds(manifest, ["sounds"])
    labels = [clip.label for clip in clips]
    assert {label: labels.count(label) for label in labels} == {
        "[Laughter]": 4, "[Sigh]": 4, OTHER: 5,
    }  # fmt: skip
    assert clips[-1].speaker == "somebody"
    assert clips[0].group == "sounds/nonverbal:laughing"
    with pytest.raises(ValueError, match="no sound of"):
        read_sounds(manifest, ["speech"])


def test_a_sound_is_cut_to_what_is_heard() -> None:
    padded = np.concatenate([np.zeros(RATE), sigh(0), np.zeros(RATE)])
    cut = cut_out(Audio(torch.from_numpy(padded).float(), RATE))
    assert cut.seconds == pytest.approx(0.8, abs=0.05)
    long = np.concatenate([0.2 * words(0, 3.0), words(0, 3.0)])
    strongest = cut_out(Audio(torch.from_numpy(long).float(), RATE))
    assert strongest.seconds == pytest.approx(1.6, abs=0.02)
    assert float(strongest.samples.abs().max()) > 0.1


def test_a_sound_is_put_into_a_pause_at_its_level() -> None:
    speech = Audio(torch.from_numpy(words(0, 3.0)).float(), RATE)
    places = pauses(speech)
    assert places == pytest.approx([0.85, 1.85], abs=0.03)
    sound = Audio(torch.from_numpy(sigh(0)).float(), RATE)
    both = insert(speech, sound, places[0], 6.0)
    assert both.end - both.start == pytest.approx(0.8, abs=1e-3)
    assert both.start == pytest.approx(places[0], abs=0.03)
    assert both.audio.seconds == pytest.approx(3.8 - 0.04, abs=1e-3)
    inner = both.audio.samples[round((both.start + 0.1) * RATE) : round((both.end - 0.1) * RATE)]
    said = speech.samples[round(0.1 * RATE) : round(0.6 * RATE)]
    assert 20 * float((said.std() / inner.std()).log10()) == pytest.approx(6.0, abs=1.5)
    end = both.audio.samples[round(both.end * RATE) :]
    assert torch.allclose(end, speech.samples[-len(end) :], atol=1e-4)
    steady = Audio(torch.from_numpy(words(0, 0.6)).float(), RATE)
    assert len(pauses(steady)) == 1


def test_windows_know_the_sound_and_the_words(manifest: Path, tmp_path: Path) -> None:
    sounds = [clip for clip in read_sounds(manifest, ["sounds"]) if clip.speaker == "p1"]
    host = Clip(str(next(tmp_path.glob("booksb0*"))), OTHER, "b0", "books/f")
    config, kept = StatisticsConfig(("[Laughter]", "[Sigh]", OTHER), seconds=0.8), tmp_path / "v"
    parts = [{"p1", "b0"}]
    heard = listen(sounds, [host], parts, config, kept, variants=2, listener=None)
    assert {one.clip.speaker for one in heard} == {"p1", "b0"}
    assert sum(one.whole for one in heard) == 4
    inside = [one for one in heard if one.clip.label == "[Sigh]" and not one.whole]
    assert len(inside) == 2
    assert all(3 <= len(one.vectors) <= 12 for one in inside)
    times = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    again = listen(sounds, [host], parts, config, kept, variants=2, listener=None)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == times
    assert all((a.vectors == b.vectors).all() for a, b in zip(heard, again, strict=True))
    with pytest.raises(ValueError, match="nobody speaks"):
        listen(sounds, [host], [{"p1"}, {"b0"}], config, kept, variants=2, listener=None)


def test_rates_and_their_story() -> None:
    trials = [
        Trial("[Sigh]", "a", True, True, False),
        Trial("[Sigh]", "b", False, True, False),
        Trial("[Laughter]", "c", True, True, True),
        Trial(OTHER, "d", False, True, False),
        Trial(OTHER, "e", False, False, False),
    ]
    alarms = [Alarms("x", 0.5, ("[Sigh]",)), Alarms("y", 1.5, ())]
    numbers = report(trials, alarms)
    assert numbers["inserted"]["found"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert numbers["inserted"]["found"]["n"] == 3
    assert numbers["inserted"]["by_tag"]["[Sigh]"]["value"] == 0.5
    assert numbers["inserted"]["other_sounds_taken_for_a_tag"]["value"] == 0.5
    assert numbers["false_alarms_per_minute"]["all"]["value"] == 0.5
    assert numbers["false_alarms_per_minute"]["by_tag"]["[Laughter]"]["value"] == 0
    told = story({**numbers, "people": {"[Sigh]": 2}, "tags_without_data": ["[Uhm]"]}, ["books"])
    assert "| [Sigh] | 50 (0 to 100) | 2 | 2 |" in told
    assert "No recording was to be had of\n[Uhm]" in told


def test_the_recipe_leaves_a_judge_of_sounds(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the confusion matrix is drawn with matplotlib")
    out = tmp_path / "out"
    arguments = [str(manifest), "-o", str(out), "--sets", "sounds", "--speech", "speech"]
    arguments += ["--folds", "2", "--variants", "1", "--trials", "1", "--debug", "--whisper", ""]
    arguments += ["--steps", "100"]
    with pytest.raises(SystemExit):
        main([*arguments, "--hosts", "speech"])
    main([*arguments, "--hosts", "books"])
    judge = EventJudge.from_pretrained(out / "model")
    assert judge.classifier.config.labels == ("[Laughter]", "[Sigh]", OTHER)
    assert judge.confusion.total == 13 + 4
    assert "b0" not in judge.confusion.speakers
    card = json.loads((out / "judge.json").read_text())
    assert card["accuracy"]["value"] > 0.8
    assert card["inserted"]["found"]["value"] > 0.6
    assert card["inserted"]["found"]["n"] == 8
    assert card["people"] == {"[Laughter]": 4, "[Sigh]": 4, OTHER: 9}
    assert len(card["tags_without_data"]) == 8
    speech = Audio(torch.from_numpy(words(5, 3.5)).float(), RATE)
    both = insert(speech, Audio(torch.from_numpy(sigh(9)).float(), RATE), 1.85, 3.0)
    events = [event for event in judge.events(both.audio) if event.label == "[Sigh]"]
    assert any(abs(event.middle - both.middle) < 0.5 for event in events)
    assert (out / "judge.md").read_text() in capsys.readouterr().out
