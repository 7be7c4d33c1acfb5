"""The recipe of the emotion judge, on a few seconds of tones by invented speakers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.judges.clips import Clip, ClipBank, fold_speakers, read_clips
from recipes.judges.train import train_judge
from recipes.judges.train_emotion import LABELS, main
from recipes.judges.train_statistics import vary
from recipes.nano.data.corpus import read_manifest
from stepaudio.audio import Audio
from stepaudio.evaluation.classifier_judge import ClassifierJudge
from stepaudio.evaluation.clip_classifier import ClipClassifier, ClipClassifierConfig
from stepaudio.evaluation.contracts import Sample
from stepaudio.evaluation.judge_prompts import EMOTIONS

TONES = {"sad": 250.0, "angry": 2600.0}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four actors who growl when sad and squeak when angry, and one row of each kind not used."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(4):
        for emotion, hertz in TONES.items():
            for take in range(2):
                time = np.arange(round((0.5 + 0.1 * number) * 16000)) / 16000
                pitch = hertz * (1 + 0.1 * number)
                wave = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * rng.standard_normal(
                    len(time)
                )
                name = f"{number}{emotion}{take}.wav"
                soundfile.write(tmp_path / name, wave, 16000)
                rows.append({"path": name, "emotion": emotion, "speaker": f"actor{number}"})
    rows = [
        {**row, "set": "tones", "gender": "fm"[int(row["speaker"][-1]) // 2], "train_ok": False}
        for row in rows
    ]
    rows.append({**rows[0], "emotion": "disgust"})
    rows.append({**rows[0], "set": "elsewhere"})
    rows.append({**rows[0], "speaker": None})
    path = tmp_path / "manifest.jsonl"
    text = "\n".join(json.dumps({"id": str(n), **row}) for n, row in enumerate(rows))
    path.write_text(text + "\n", encoding="utf-8")
    return path


def test_clips_are_read_and_the_editors_recipe_refuses_them(manifest: Path) -> None:
    clips = read_clips(manifest, LABELS, sets=["tones"])
    assert len(clips) == 16
    assert {clip.label for clip in clips} == set(TONES)
    assert clips[0].group == "tones/f"
    assert Path(clips[0].path).is_absolute()
    with pytest.raises(ValueError, match="nowhere"):
        read_clips(manifest, LABELS, sets=["nowhere"])
    with pytest.raises(ValueError, match="not licensed"):
        read_manifest(manifest)


def test_labels_are_those_of_the_benchmark() -> None:
    assert set(LABELS.values()) == set(EMOTIONS)


def test_folds_hold_whole_speakers_of_every_group() -> None:
    clips = [Clip("x", "a", f"{group}{n}", group) for group in "fm" for n in range(4)] * 3
    parts = fold_speakers(clips, 4)
    assert sorted(map(len, parts)) == [2, 2, 2, 2]
    assert set().union(*parts) == {clip.speaker for clip in clips}
    assert all({name[0] for name in part} == {"f", "m"} for part in parts)
    for folds in (1, 9):
        with pytest.raises(ValueError, match="dealt out"):
            fold_speakers(clips, folds)


def test_batches_are_varied_balanced_and_without_the_held_out(manifest: Path) -> None:
    clips = read_clips(manifest, LABELS, sets=["tones"])
    model = ClipClassifier(ClipClassifierConfig.debug(tuple(TONES)))
    bank = ClipBank(clips, model)
    fbank, lengths, target = bank.draw(200, np.random.default_rng(0), without=set())
    assert fbank.shape == (200, int(lengths.max()), model.config.n_mels)
    assert torch.isfinite(fbank).all()
    assert 70 < int(target.sum()) < 130
    assert len({float(x.sum()) for x in fbank}) == 200
    again = bank.draw(200, np.random.default_rng(0), without=set())
    assert (again[0] == fbank).all()
    # Actors' clips differ in length: only the longest are the last actor's.
    _, fewer, _ = bank.draw(200, np.random.default_rng(0), without={"actor3"})
    assert int(fewer.max()) < int(lengths.max())


def test_the_recipe_leaves_a_judge_with_its_accuracy(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the confusion matrix is drawn with matplotlib")
    out = tmp_path / "out"
    arguments = [str(manifest), "-o", str(out), "--sets", "tones", "--folds", "2", "--debug"]
    main([*arguments, "--whisper", ""])
    judge = ClassifierJudge.from_pretrained(out / "model")
    assert judge.labels == ("sad", "angry")
    assert judge.confusion.total == 16
    assert judge.confusion.speakers == tuple(f"actor{n}" for n in range(4))
    assert (judge.confusion.accuracy or 0) > 0.8
    verdicts = judge.judge([
        Sample(c.path, Audio.load(c.path)) for c in read_clips(manifest, LABELS, sets=["tones"])
    ])  # fmt: skip
    assert {verdict.answer for verdict in verdicts} == set(TONES)
    said = capsys.readouterr().out
    assert "16 recordings of 4 speakers heard right:" in said
    card = json.loads((out / "judge.json").read_text())
    assert card["accuracy"]["value"] == pytest.approx(judge.confusion.accuracy, abs=1e-4)
    assert card["by_set"]["tones"]["speakers"] == 4
    assert (out / "judge.md").read_text() in said
    assert (out / "confusion.svg").read_text().count("sad") >= 2
    vectors = {path: path.stat().st_mtime_ns for path in (out / "vectors").iterdir()}
    assert len(vectors) == 16
    weights = (out / "model" / "model.safetensors").read_bytes()
    main([*arguments, "--whisper", ""])  # nothing is listened to again, and the same is learned
    assert {path: path.stat().st_mtime_ns for path in (out / "vectors").iterdir()} == vectors
    assert (out / "model" / "model.safetensors").read_bytes() == weights


def test_varied_recordings_sound_different_but_keep_pitch_and_tempo() -> None:
    time = torch.arange(16000) / 16000
    audio = Audio(0.1 * torch.sin(2 * torch.pi * 440 * time), 16000)
    one, other = (vary(audio, np.random.default_rng(seed)) for seed in (0, 1))
    assert len(one.samples) == len(other.samples) == 16000
    for varied in (one, other):
        assert varied.samples.abs().max() == pytest.approx(0.3, abs=1e-4)
        assert int(torch.fft.rfft(varied.samples).abs().argmax()) == 440
    assert (one.samples - other.samples).abs().max() > 0.01


def test_held_out_actors_are_not_trained_on(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = read_clips(manifest, LABELS, sets=["tones"])
    seen: list[frozenset[str]] = []
    real = ClipBank.draw

    def spy(self: ClipBank, size: int, rng: np.random.Generator, *, without: set[str]):  # type: ignore[no-untyped-def]
        seen.append(frozenset(without))
        return real(self, size, rng, without=without)

    monkeypatch.setattr(ClipBank, "draw", spy)
    pytest.importorskip("matplotlib", reason="curves are drawn with matplotlib")
    config = ClipClassifierConfig.debug(tuple(TONES))
    train_judge(clips, config, tmp_path / "out", minutes=0.0005, folds=2, batch=4)
    parts = fold_speakers(clips, 2)
    assert set(seen) == {frozenset(parts[0]), frozenset(parts[1]), frozenset()}
