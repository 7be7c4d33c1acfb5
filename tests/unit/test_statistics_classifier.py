"""A recording as a vector of statistics, and the classifier of such vectors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, CheckpointError, JudgeError
from stepaudio.evaluation import statistics_classifier
from stepaudio.evaluation.classifier_judge import ClassifierJudge
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier, StatisticsConfig
from stepaudio.evaluation.voice_statistics import MANNER, course_of, statistics

RATE = 16000


def voice(hz: float, seconds: float = 1.2, *, wobble: float = 0.0, gain: float = 0.1) -> Audio:
    """Harmonics whose pitch may move up and down, in four syllables."""
    time = torch.arange(round(seconds * RATE)) / RATE
    moving = hz * 2 ** (wobble / 12 * (2 * math.pi * 1.5 * time).sin())
    phase = 2 * math.pi * torch.cumsum(moving / RATE, 0)
    tone = sum((k * phase).sin() / k for k in range(1, 16))
    return Audio((gain * tone * (0.6 - 0.4 * (2 * math.pi * 3 * time).cos())).float(), RATE)


class Ears:
    """In Whisper's place: two channels, one of which tells the level."""

    size = "fake"

    def __init__(self, digest: str = "sha256:aa") -> None:
        self.model = ModelId("fake/ears", f"9 {digest}")

    def frames(self, audio: Audio) -> np.ndarray:
        count = max(1, len(audio.samples) // 320)
        level = audio.samples[: 320 * count].reshape(count, -1).square().mean(-1)
        return torch.stack([level, torch.ones(count)], 1).numpy()


def test_a_vector_hears_the_melody_and_not_the_level_or_the_pauses_around() -> None:
    flat = statistics(course_of(voice(150), None))
    assert flat.shape == (MANNER,)
    assert np.isfinite(flat).all()
    padded = torch.cat([torch.zeros(RATE), voice(150).samples * 0.2, torch.zeros(RATE)])
    # A frame more or less at its edges, where it begins to be loud.
    assert np.abs(statistics(course_of(Audio(padded, RATE), None)) - flat).max() < 2.0
    quiet = Audio(voice(150).samples * 0.2, RATE)
    assert np.allclose(statistics(course_of(quiet, None)), flat, atol=0.05)
    first = 152  # after the spectrum: median, mean and deviation of the melody in semitones
    assert flat[first] == pytest.approx(12 * math.log2(1.5), abs=0.1)
    assert flat[first + 2] == pytest.approx(0, abs=0.2)
    lively = statistics(course_of(voice(300, wobble=4), None))
    assert lively[first] == pytest.approx(12 * math.log2(3), abs=1.5)
    assert lively[first + 2] > 1.5


def test_a_whisper_has_no_melody_and_is_summed_up_all_the_same() -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    vector = statistics(course_of(Audio(noise, RATE), None))
    assert np.isfinite(vector).all()
    assert not vector[152:167].any()


def test_the_encoder_is_summed_up_too() -> None:
    course = course_of(voice(150), Ears())  # type: ignore[arg-type]
    vector = statistics(course)
    assert vector.shape == (MANNER + 6,)
    assert vector[MANNER + 1] == 1
    assert vector[MANNER + 3] == 0
    half = course.part(0, 50)
    assert len(half) == 50
    assert len(half.heard) == 25
    assert np.isfinite(statistics(half)).all()


@pytest.mark.parametrize("samples", [torch.zeros(RATE), voice(150, 0.1).samples, torch.zeros(1)])
def test_too_little_sound(samples: torch.Tensor) -> None:
    with pytest.raises(AudioError, match="too short"):
        course_of(Audio(samples, RATE), None)


def test_configurations() -> None:
    config = StatisticsConfig.release(["a", "b"], Ears())  # type: ignore[arg-type]
    assert (config.whisper, config.whisper_width) == ("fake", 2)
    assert config.size == MANNER + 6
    assert StatisticsConfig.release(["a", "b"]).size == MANNER
    with pytest.raises(ValueError, match="labels"):
        StatisticsConfig(("a", "a"))
    with pytest.raises(ValueError, match="together"):
        StatisticsConfig(("a", "b"), whisper="tiny.en")


def test_a_long_recording_is_heard_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = StatisticsClassifier(StatisticsConfig.debug()).eval()
    batches: list[int] = []
    forward = StatisticsClassifier.forward

    def spy(self: StatisticsClassifier, vectors: torch.Tensor) -> torch.Tensor:
        batches.append(len(vectors))
        return forward(self, vectors)

    monkeypatch.setattr(StatisticsClassifier, "forward", spy)
    for seconds in (0.5, 4.5, 6.0, 11.0):
        assert model.classify(voice(150, seconds)).sum() == pytest.approx(1, abs=1e-5)
    assert batches == [1, 1, 2, 4]


def test_stretches_of_silence_are_left_out() -> None:
    model = StatisticsClassifier(StatisticsConfig.debug()).eval()
    words, gap = voice(150, 2.0).samples, torch.zeros(20 * RATE)
    heard = model.classify(Audio(torch.cat([words, gap, words]), RATE))
    assert heard.sum() == pytest.approx(1, abs=1e-5)
    assert heard.isfinite().all()


def test_a_window_slides_over_what_is_to_be_heard() -> None:
    model = StatisticsClassifier(StatisticsConfig(("one", "other"), seconds=0.5)).eval()
    gap = torch.zeros(RATE)
    samples = torch.cat([gap, voice(150).samples, gap, voice(200).samples, gap])
    middles, likely = model.scan(Audio(samples, RATE), 0.1)
    assert likely.shape == (len(middles), 2)
    assert likely.sum(1).allclose(torch.ones(len(middles)), atol=1e-5)
    assert middles[0] == pytest.approx(1.25, abs=0.03)
    assert middles[-1] == pytest.approx(4.15, abs=0.03)
    steps = middles.diff()
    # Half a second of the gap is in windows without a sound.
    assert int((steps > 0.11).sum()) == 1
    assert float(steps.max()) == pytest.approx(0.5, abs=0.15)
    short, one = model.scan(voice(150, 0.3), 0.1)
    assert len(short) == len(one) == 1


def test_the_judge_takes_either_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = StatisticsConfig.release(["a", "b"], Ears())  # type: ignore[arg-type]
    StatisticsClassifier(config).save_pretrained(tmp_path)
    Confusion.of(("a", "b"), [("a", "a")], speakers=["x"]).save(tmp_path)
    monkeypatch.setattr(statistics_classifier, "WhisperRecognizer", lambda size: Ears())
    judge = ClassifierJudge.from_pretrained(tmp_path)
    assert judge.model.name.startswith("stepaudio/statistics-classifier/")
    assert judge.judge([Sample("s", voice(200))])[0].answer in ("a", "b")
    monkeypatch.setattr(statistics_classifier, "WhisperRecognizer", lambda size: Ears("sha256:bb"))
    with pytest.raises(CheckpointError, match="trained with Whisper fake sha256:aa, but sha256:bb"):
        ClassifierJudge.from_pretrained(tmp_path)


@pytest.fixture
def pairs(tmp_path: Path) -> ClassifierJudge:
    """A judge of pairs to which a higher pitch is the first label and a lower one the other."""
    model = StatisticsClassifier(StatisticsConfig.debug(("up", "down"), pairs=True))
    with torch.no_grad():
        for weights in (model.hidden, model.out):
            weights.weight.zero_()
            weights.bias.zero_()
        model.deviation[152] = 12.0  # an octave of the median pitch
        model.hidden.weight[0, 152], model.hidden.weight[1, 152] = 1.0, -1.0
        model.out.weight[0, 0], model.out.weight[1, 1] = 5.0, 5.0
    model.save_pretrained(tmp_path)
    Confusion.of(("up", "down"), [("up", "up")], speakers=["x"]).save(tmp_path)
    return ClassifierJudge.from_pretrained(tmp_path)


def test_a_judge_of_pairs_hears_the_change_and_not_the_voice(
    pairs: ClassifierJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pairs.model.name.startswith("stepaudio/statistics-classifier-of-pairs/")
    low, high = voice(120), voice(240)
    listened: list[int] = []

    def spy(audio: Audio, *given: object) -> object:
        listened.append(id(audio))
        return course_of(audio, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(statistics_classifier, "course_of", spy)
    verdicts = pairs.judge([
        Sample("raised", high, source=low),
        Sample("lowered", voice(60), source=low),
        Sample("back", low, source=high),
        Sample("left alone", low, source=low),
    ])  # fmt: skip
    assert [verdict.answer for verdict in verdicts[:3]] == ["up", "down", "down"]
    assert (verdicts[0].scores or {})["up"] > 0.9
    # What was not changed is told by nothing but the biases, whoever speaks.
    assert (verdicts[3].scores or {})["up"] == pytest.approx(0.5)
    assert len(listened) == len(set(listened)) == 3


def test_a_change_of_recordings_of_other_lengths(pairs: ClassifierJudge) -> None:
    classifier = pairs.classifier
    assert isinstance(classifier, StatisticsClassifier)
    before, after = classifier.stretches(voice(120, 11.0)), classifier.stretches(voice(240, 3.0))
    assert (len(before), len(after)) == (4, 1)
    told = classifier.classify_change(before, after)
    wanted = classifier.classify_vectors((after[0] - before.mean(0))[None])
    assert told.tolist() == wanted.tolist()
    assert int(told.argmax()) == 0


def test_nothing_is_said_of_a_recording_with_nothing_before_it(pairs: ClassifierJudge) -> None:
    alone = [Sample("with", voice(200), source=voice(150)), Sample("lonely", voice(200))]
    with pytest.raises(JudgeError, match=r"\['lonely'\] have no source"):
        pairs.judge(alone)
    with pytest.raises(ValueError, match="compares two recordings"):
        pairs.classifier.classify(voice(200))


def test_a_judge_from_before_there_were_pairs_is_what_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = StatisticsClassifier(StatisticsConfig.debug()).eval()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config.pop("pairs") is False
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    Confusion.of(("one", "other"), [("one", "one")], speakers=["x"]).save(tmp_path)
    judge = ClassifierJudge.from_pretrained(tmp_path)
    assert judge.model.name.startswith("stepaudio/statistics-classifier/")
    # Its source is nothing to it.
    for source in (None, voice(90)):
        (verdict,) = judge.judge([Sample("s", voice(200), source=source)])
        assert verdict.scores is not None
        assert list(verdict.scores.values()) == model.classify(voice(200)).tolist()
