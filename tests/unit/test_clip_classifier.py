"""The clip classifier, its confusion matrix, and the judge made of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, CheckpointError, OutputExistsError
from stepaudio.evaluation.classifier_judge import ClassifierJudge
from stepaudio.evaluation.clip_classifier import ClipClassifier, ClipClassifierConfig
from stepaudio.evaluation.confusion import CONFUSION_FILE, Confusion
from stepaudio.evaluation.contracts import Judge, ModelId, Sample

LABELS = ("low", "high")


def tone(hertz: float, seconds: float = 1.0, *, noise: int = 0, rate: int = 16000) -> Audio:
    time = torch.arange(round(seconds * rate)) / rate
    hiss = torch.randn(len(time), generator=torch.Generator().manual_seed(noise))
    return Audio(0.3 * torch.sin(2 * torch.pi * hertz * time) + 0.01 * hiss, rate)


def debug(labels: tuple[str, ...] = LABELS) -> ClipClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClipClassifier(ClipClassifierConfig.debug(labels)).eval()


@pytest.fixture(scope="module")
def trained() -> ClipClassifier:
    """Knows low tones from high ones."""
    model = debug()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    clips = [tone(hertz, noise=n) for n in range(4) for hertz in (300 + 40 * n, 2000 + 300 * n)]
    batch = model.features(torch.stack([clip.samples for clip in clips]))
    target = torch.tensor([0, 1] * 4)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def folder(trained: ClipClassifier, tmp_path: Path) -> Path:
    trained.save_pretrained(tmp_path / "tones")
    pairs = [("low", "low")] * 6 + [("low", "high")] * 2 + [("high", "high")] * 2
    matrix = Confusion.of(LABELS, pairs, speakers=["b", "a", "a"], protocol="by actor")
    matrix.save(tmp_path / "tones")
    return tmp_path / "tones"


def test_it_learns_what_it_has_not_heard(trained: ClipClassifier) -> None:
    for hertz, label in ((350, 0), (420, 0), (2100, 1), (2900, 1)):
        assert int(trained.classify(tone(hertz, 0.7, noise=9)).argmax()) == label


def test_padding_changes_nothing() -> None:
    model = debug()
    clips = [tone(500, 0.61).samples, tone(900, 1.0).samples, tone(70, 0.305).samples]
    features = [model.features(clip) for clip in clips]
    lengths = torch.tensor([len(f) for f in features])
    batch = torch.full((3, int(lengths.max()), model.config.n_mels), 7.0)
    for row, f in zip(batch, features, strict=True):
        row[: len(f)] = f
    with torch.no_grad():
        together = model(batch, lengths)
        single = torch.cat([model(f[None]) for f in features])
    assert len(set(lengths.tolist())) == 3
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)


def test_loudness_does_not_matter_and_pitch_does() -> None:
    model = debug()
    quiet = Audio(tone(500).samples * 0.1, 16000)
    torch.testing.assert_close(
        model.classify(quiet), model.classify(tone(500)), rtol=1e-3, atol=1e-3
    )
    assert (model.classify(tone(2500)) - model.classify(tone(500))).abs().max() > 1e-3


def test_windows_cover_a_long_recording(trained: ClipClassifier) -> None:
    both = Audio(torch.cat([tone(300, 3.0).samples, tone(2500, 3.05).samples]), 16000)
    middles, probabilities = trained.scan(both, 0.5)
    assert middles[0] == 0.5
    assert float(middles[-1]) == pytest.approx(6.05 - 0.5, abs=0.03)
    assert probabilities.shape == (len(middles), 2)
    assert (probabilities[middles < 2.5].argmax(-1) == 0).all()
    assert (probabilities[middles > 3.6].argmax(-1) == 1).all()
    assert trained.classify(both).sum() == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(AudioError, match=r"0\.050 s is too short"):
        trained.classify(tone(300, 0.05))


def test_labels_are_checked() -> None:
    for labels in (("a",), ("a", "a")):
        with pytest.raises(ValueError, match="labels"):
            ClipClassifierConfig.debug(labels)
    assert ClipClassifierConfig.release(["a", "b"]).labels == ("a", "b")


def test_the_matrix_counts() -> None:
    pairs = [("low", "low")] * 6 + [("low", "high")] * 2 + [("high", "high")] * 2
    matrix = Confusion.of(LABELS, pairs, speakers=["b", "a", "a"])
    assert matrix.counts == ((6, 2), (0, 2))
    assert matrix.accuracy == 0.8
    assert matrix.recalls == {"low": 0.75, "high": 1.0}
    assert matrix.balanced_accuracy == 0.875
    assert matrix.speakers == ("a", "b")
    assert "80.0% right (87.5% balanced) of 10 recordings of 2 unseen" in matrix.summary()
    assert "| low | 75 | 25 | 8 |" in matrix.markdown()
    empty = Confusion.of(LABELS, [])
    assert empty.accuracy is None
    assert empty.balanced_accuracy is None
    assert empty.summary() == "never measured"
    with pytest.raises(ValueError, match="middle"):
        Confusion.of(LABELS, [("low", "middle")])
    with pytest.raises(ValueError, match="rows"):
        Confusion(LABELS, ((1, 2),))


def test_the_judge_carries_its_accuracy(folder: Path) -> None:
    judge = ClassifierJudge.from_pretrained(folder)
    assert isinstance(judge, Judge)
    verdicts = judge.judge([Sample("a", tone(330)), Sample("b", tone(2600, 2.5, rate=44100))])
    assert [verdict.answer for verdict in verdicts] == ["low", "high"]
    assert set(verdicts[0].scores or ()) == set(LABELS)
    assert sum((verdicts[0].scores or {}).values()) == pytest.approx(1.0, abs=1e-5)
    assert judge.labels == LABELS
    assert judge.confusion.protocol == "by actor"
    assert judge.model.name.endswith("/tones")
    assert "80.0% right" in judge.model.version
    with pytest.raises(OutputExistsError):
        judge.confusion.save(folder)


def test_other_weights_are_another_version(folder: Path, tmp_path: Path) -> None:
    one = ClassifierJudge.from_pretrained(folder).model
    debug().save_pretrained(folder, force=True)
    assert ClassifierJudge.from_pretrained(folder).model != one


def test_an_unmeasured_judge_is_refused(folder: Path, trained: ClipClassifier) -> None:
    path = folder / CONFUSION_FILE
    kept = json.loads(path.read_text())
    path.unlink()
    with pytest.raises(CheckpointError, match=r"confusion\.json is missing"):
        ClassifierJudge.from_pretrained(folder)
    for counts, reason in (
        ([[0, 0], [0, 0]], "never measured"),
        ([[1, 0]], "rows and columns"),
        ([[1, 0], [0, -1]], "whole numbers"),
    ):
        path.write_text(json.dumps({**kept, "counts": counts}))
        with pytest.raises(CheckpointError, match=reason):
            ClassifierJudge.from_pretrained(folder)
    other = Confusion.of(("high", "low"), [("low", "low")])
    with pytest.raises(CheckpointError, match="measure it again"):
        ClassifierJudge(trained, other, ModelId("m", "1"))
