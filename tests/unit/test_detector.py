"""The detector: what it hears, what it refuses to judge, and where it says something was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal

from stepaudio.audio import Audio
from stepaudio.errors import CheckpointError
from stepaudio.safety.detector import Heard, SyntheticSpeechDetector, bandwidth
from stepaudio.safety.detector_network import (
    FRAME_RATE,
    DetectorConfig,
    DetectorNetwork,
    band_powers,
)

DEMO = Path(__file__).parents[2] / "docs" / "audio" / "demo.flac"


def noise(seconds: float, top: float = 8000.0, seed: int = 0) -> Audio:
    """Noise that comes and goes four times a second, up to a frequency."""
    count = int(16000 * seconds)
    samples = np.random.default_rng(seed).standard_normal(count)
    if top < 8000:
        samples = signal.sosfiltfilt(signal.butter(12, top, fs=16000, output="sos"), samples)
    samples = samples * (1.2 + np.sin(8 * np.pi * np.arange(count) / 16000)) * 0.03
    return Audio(torch.from_numpy(samples.astype(np.float32)), 16000)


def network(**chosen: Any) -> DetectorNetwork:
    torch.manual_seed(0)
    config = replace(DetectorConfig.debug(), farthest=1e9, **chosen)
    return DetectorNetwork(config).eval()


def opinionated(score: float, **chosen: Any) -> SyntheticSpeechDetector:
    """A detector that thinks the same of everything."""
    made = network(**chosen)
    with torch.no_grad():
        made.out.weight.zero_()
        made.out.bias.fill_(score)
    return SyntheticSpeechDetector(made)


def test_a_tone_is_in_its_band() -> None:
    time = torch.arange(8000) / 16000
    bands = band_powers(torch.sin(2 * torch.pi * 2000 * time), 15)
    assert bands.shape == (8000 // 160 + 1, 15)
    # Bands of 15 lie 500 Hz apart, the first at 500 Hz.
    assert set(bands[5:-5].argmax(-1).tolist()) == {3}


@torch.no_grad()
def test_a_batch_is_its_singles_and_level_says_nothing() -> None:
    made = network()
    first, second = (band_powers(noise(s).samples, 12) for s in (1.5, 0.9))
    batch = torch.zeros(2, len(first), 12)
    batch[0], batch[1, : len(second)] = first, second
    both = made(batch, torch.tensor([len(first), len(second)]))
    for place, bands in enumerate((first, second)):
        alone = made(bands[None])
        size = alone.scores.shape[1]
        torch.testing.assert_close(both.scores[place, :size], alone.scores[0])
        assert torch.equal(both.voiced[place, :size], alone.voiced[0])
        assert not both.voiced[place, size:].any()
        torch.testing.assert_close(both.inner[place], alone.inner[0])
    louder = made(band_powers(noise(1.5).samples * 5, 12)[None])
    torch.testing.assert_close(louder.scores[0], both.scores[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_pauses_are_not_counted() -> None:
    samples = torch.cat([noise(1).samples, noise(1).samples * 1e-3])
    voiced = network()(band_powers(samples, 12)[None]).voiced[0]
    assert voiced[:48].all()
    assert not voiced[53:].any()


@torch.no_grad()
def test_distance_by_hand() -> None:
    made = network()
    made.centres.zero_()
    made.centres[1, 0] = 10.0
    made.whitening.copy_(torch.eye(8) * 2)
    inner = torch.zeros(2, 8)
    inner[0, 1], inner[1, 0] = 3.0, 9.0
    # Twice the distance from the nearer centre.
    assert made.distance(inner).tolist() == pytest.approx([6.0, 2.0])


def test_bandwidth() -> None:
    assert bandwidth(band_powers(noise(2).samples, 60)) > 7500
    assert 3000 < bandwidth(band_powers(noise(2, top=3400).samples, 60)) < 4500


@pytest.mark.parametrize(
    ("sound", "word"),
    [
        (Audio(torch.zeros(48000), 24000), "silent"),
        (noise(0.5), "at least 1 s"),
        (noise(3, top=3400), "telephone"),
    ],
)
def test_what_it_does_not_judge(sound: Audio, word: str) -> None:
    verdict = opinionated(50.0).detect(sound)
    assert (verdict.label, verdict.probability, verdict.spans) == ("unknown", None, ())
    assert not len(verdict.frames)
    assert word in verdict.reason


def test_what_is_far_from_speech_is_not_judged() -> None:
    detector = opinionated(50.0)
    assert detector.detect(noise(3)).label == "synthetic"
    detector.network.config = replace(detector.network.config, farthest=0.0)
    verdict = detector.detect(noise(3))
    assert verdict.label == "unknown"
    assert "unlike" in verdict.reason


@pytest.mark.parametrize(
    ("score", "label", "probability"), [(2.0, "synthetic", 0.9526), (1.0, "unknown", 0.7311)]
)
def test_calibration_and_thresholds(score: float, label: str, probability: float) -> None:
    # Log odds of 2 * score - 1.
    verdict = opinionated(score, slope=2.0, offset=-1.0, span_above=0.99).detect(noise(2))
    assert verdict.label == label
    assert verdict.probability == pytest.approx(probability, abs=1e-4)
    assert len(verdict.frames) == (32000 // 160 + 2) // 2
    assert verdict.frames.nan_to_num(probability).tolist() == pytest.approx(
        [probability] * len(verdict.frames), abs=1e-4
    )


def test_real_and_a_made_part() -> None:
    assert opinionated(-5.0).detect(noise(2)).label == "real"
    verdict = opinionated(0.0, real_below=0.51, span_above=0.4).detect(noise(2))
    assert verdict.label == "unknown"  # it would be real if no part of it were suspicious
    assert verdict.spans


def test_stretches_by_hand() -> None:
    detector = SyntheticSpeechDetector(network(span_above=0.9))
    scores = torch.full((300,), -20.0)
    scores[100:200] = 20.0
    voiced = torch.ones(300)
    voiced[150:155] = 0  # a pause within
    frames = detector.frame_probabilities(Heard(0.0, 0.0, scores, voiced))
    assert frames[150:155].isnan().all()
    # Half of the half second around must be made: the edges stay where they are.
    ((start, end),) = _spans_of(detector, frames)
    assert start == pytest.approx(100 / FRAME_RATE, abs=0.03)
    assert end == pytest.approx(200 / FRAME_RATE, abs=0.03)
    scores[110:] = -20.0
    assert not _spans_of(
        detector, detector.frame_probabilities(Heard(0.0, 0.0, scores, voiced))
    )  # too short


def _spans_of(detector: SyntheticSpeechDetector, frames: torch.Tensor) -> list[tuple[float, float]]:
    from stepaudio.safety.detector import _spans

    return list(_spans(frames, detector.network.config.span_above))


def test_a_long_recording_is_heard_in_pieces() -> None:
    detector = opinionated(3.0)
    sound = noise(9.1)
    samples = torch.cat([sound.samples, 1e-4 * noise(9.0, seed=1).samples])
    heard = detector.hear(band_powers(samples, 12))
    assert heard.scores.shape == heard.voiced.shape == ((len(samples) // 160 + 2) // 2,)
    assert heard.score == pytest.approx(3.0)
    # A piece that is one pause does not count, although it has louder and softer frames.
    assert not heard.voiced[10 * FRAME_RATE :].any()


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = network(slope=1.5, offset=0.25, real_below=0.2)
    made.save_pretrained(tmp_path)
    loaded = SyntheticSpeechDetector.from_pretrained(tmp_path)
    assert loaded.network.config == made.config
    bands = band_powers(noise(2).samples, 12)
    assert torch.equal(loaded.hear(bands).scores, SyntheticSpeechDetector(made).hear(bands).scores)
    with pytest.raises(CheckpointError, match="missing"):
        SyntheticSpeechDetector.from_pretrained(tmp_path / "none")


@pytest.mark.parametrize("values", [{"bands": 1}, {"real_below": 0.95}, {"synthetic_above": 1.0}])
def test_settings_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(DetectorConfig(), **values)


def test_the_detector_of_the_library() -> None:
    folder = Path(__file__).parents[2] / "stepaudio" / "assets" / "detector"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 1_000_000
    detector = SyntheticSpeechDetector.from_pretrained()
    assert detector.detect(DEMO).label != "synthetic"
