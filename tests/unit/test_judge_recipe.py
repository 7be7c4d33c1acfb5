"""The recipe of the emotion judge, on a few seconds of tones by invented speakers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.judges.clips import Clip, ClipBank, fold_speakers, read_clips
from recipes.judges.pairs import differences, questions
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


def take(speaker: str, label: str, text_id: str = "") -> Clip:
    return Clip(f"{speaker}{label}{text_id}", label, speaker, "tones/f", text_id)


TAKES = [
    take("ann", "natural", "1"),
    take("ann", "natural", "2"),
    take("ann", "happy", "2"),
    take("bob", "natural", "1"),
    take("bob", "natural", "2"),
    take("bob", "natural", "3"),
    take("bob", "sad", "9"),
    take("cy", "natural", "1"),
    take("cy", "happy", "1"),
]


def test_questions_are_about_one_person_and_if_possible_one_sentence() -> None:
    asked = {after: before for before, after in questions(TAKES)}
    # Cy has one natural take, which says nothing of how natural takes differ.
    assert set(asked) == set(range(7))
    assert (asked[0], asked[1], asked[2]) == (1, 0, 1)
    assert asked[6] in (3, 4, 5)
    for after, before in asked.items():
        assert after != before
        assert TAKES[before].speaker == TAKES[after].speaker
        assert TAKES[before].label == "natural"


def test_differences_are_learnt_from_natural_takes_and_from_other_microphones() -> None:
    # The hundreds tell who speaks, the tens which take it is, the ones which version.
    vectors = [
        np.array([[100.0 * ord(clip.speaker[0]) + 10 * number + version] for version in (0, 1)])
        for number, clip in enumerate(TAKES)
    ]
    clips, rows = differences(TAKES, vectors)
    assert {clip.speaker for clip in clips} == {"ann", "bob"}
    learnt = list(zip(clips, rows, strict=True))
    assert [len(of) for _, of in learnt] == [4, 1] * 7
    for (clip, of), (itself, version) in zip(learnt[::2], learnt[1::2], strict=True):
        number = next(n for n, one in enumerate(TAKES) if one.path == clip.path)
        assert clip.label == TAKES[number].label
        # Within the person, never the take itself: what two versions differ by is less.
        assert ((np.abs(of) > 5) & (np.abs(of) < 70)).all()
        assert (itself.label, itself.path, abs(version.item())) == ("natural", clip.path, 1.0)
    # Half of Ann's happy takes are held against the same sentence, ten apart.
    happy = next(of for clip, of in learnt if clip.label == "happy")
    assert (np.abs(happy[::2] - 10) <= 1).all()


def test_the_recipe_leaves_a_judge_of_pairs(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the confusion matrix is drawn with matplotlib")
    # Growling is how these actors speak; squeaking is angry.
    text = manifest.read_text("utf-8").replace('"sad"', '"neutral"')
    rows = [json.loads(line) for line in text.splitlines()]
    acted = [row for row in rows if row["speaker"] in ("actor0", "actor1")]
    others = [row for row in rows if row["speaker"] in ("actor2", "actor3")]
    learn, test = tmp_path / "learn.jsonl", tmp_path / "test.jsonl"
    for path, some in ((learn, acted), (test, others)):
        path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    out = tmp_path / "out"
    arguments = [str(learn), "-o", str(out), "--sets", "tones", "--folds", "2", "--debug"]
    arguments += ["--whisper", "", "--pairs", "--test-sets", "tones"]
    main([*arguments, "--test", str(test)])
    judge = ClassifierJudge.from_pretrained(out / "model")
    assert judge.confusion.total == 8
    low, high = (Audio.load(tmp_path / f"2{name}0.wav") for name in ("sad", "angry"))
    raised, same = judge.judge([Sample("a", high, source=low), Sample("b", high, source=high)])
    assert (raised.answer, same.answer) == ("angry", "natural")
    card = json.loads((out / "judge.json").read_text("utf-8"))
    assert "against a natural one of the same speaker" in card["settings"]
    assert (card["strangers"]["recordings"], card["strangers"]["speakers"]) == (8, 2)
    assert card["strangers"]["accuracy"]["value"] > 0.6
    page = (out / "judge.md").read_text("utf-8")
    assert "Other people, of tones: " in page
    assert page.count("\n| angry | ") == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*arguments, "--test", str(learn)])
    assert "people of the training: actor0, actor1" in capsys.readouterr().err
