from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import Metric, ModelId, Sample
from stepaudio.evaluation.silence import (
    EnergySpeech,
    Silence,
    SileroSpeech,
    Spans,
    SpeechDetector,
    best_detector,
)

RATE = 16000


def recording(*parts: float) -> Audio:
    """Seconds of silence and sound in turn, beginning with silence."""
    generator = torch.Generator().manual_seed(0)
    pieces = [
        torch.randn(round(seconds * RATE), generator=generator) * (0.1 if i % 2 else 1e-4)
        for i, seconds in enumerate(parts)
    ]
    return Audio(torch.cat(pieces), RATE)


class Told:
    """A detector that was told where the speech is, by the length of the recording."""

    model = ModelId("told", "1")

    def __init__(self, spans: dict[float, Spans]) -> None:
        self.spans = spans

    def speech(self, audio: Audio) -> Spans:
        return self.spans[round(audio.seconds, 3)]


def audio(seconds: float) -> Audio:
    return Audio(torch.zeros(round(seconds * RATE)), RATE)


def test_shares_and_what_could_be_removed() -> None:
    told = Told({10.0: [(1.0, 3.0), (3.2, 5.0), (6.0, 9.0)], 4.0: [(0.05, 3.9)], 2.0: []})
    metric = Silence(told)
    assert isinstance(metric, Metric)
    assert isinstance(told, SpeechDetector)
    source = audio(10)
    long, trimmed, empty = metric.measure([
        Sample("1", source),
        Sample("2", audio(4), source=source),
        Sample("3", audio(2), source=source),
    ])  # fmt: skip
    assert long["silence_share"] == pytest.approx(0.32)
    assert long["longest_pause_s"] == pytest.approx(1.0)
    # 0.9 at either end beyond 0.1, 0.7 of the pause of 1 s; the pause of 0.2 s may stay.
    assert long["removable_s"] == pytest.approx(0.9 + 0.9 + 0.7)
    assert long["removable_left"] is None
    assert trimmed["removable_s"] == pytest.approx(0)
    assert trimmed["removable_left"] == pytest.approx(0)
    assert trimmed["longest_pause_s"] == 0.0
    assert empty == {
        "silence_share": 1.0, "longest_pause_s": None, "removable_s": None, "removable_left": None
    }  # fmt: skip


def test_share_left_and_a_source_with_nothing_to_remove() -> None:
    told = Told({10.0: [(2.1, 8.9)], 8.0: [(0.6, 7.9)], 5.0: [(0.1, 4.85)]})
    metric = Silence(told)
    half, beside = metric.measure([
        Sample("1", audio(8), source=audio(10)),
        Sample("2", audio(8), source=audio(5)),
    ])  # fmt: skip
    assert half["removable_left"] == pytest.approx(0.5 / 3.0)
    assert beside["removable_left"] is None


def test_edge_and_pause_can_be_chosen() -> None:
    spans = [(0.5, 1.0), (1.5, 2.0)]
    strict = Silence(Told({}), edge=0.0, pause=0.0)
    assert strict.removable(spans, 2.5) == pytest.approx(1.5)
    assert Silence(Told({})).removable(spans, 2.5) == pytest.approx(0.4 + 0.4 + 0.2)


def test_energy_finds_the_sound() -> None:
    spans = EnergySpeech().speech(recording(0.5, 1.0, 0.4, 0.7, 0.3))
    assert len(spans) == 2
    for found, expected in zip(spans, [(0.5, 1.5), (1.9, 2.6)], strict=True):
        assert found == pytest.approx(expected, abs=0.06)


def test_energy_closes_gaps_drops_clicks_and_stays_inside() -> None:
    # A gap of 50 ms is no pause, a click of 20 ms no speech.
    assert len(EnergySpeech().speech(recording(0.3, 0.5, 0.05, 0.5, 0.3))) == 1
    assert len(EnergySpeech().speech(recording(0.5, 0.02, 0.5, 0.6, 0.3))) == 1
    whole = recording(0.0, 1.0)
    assert EnergySpeech().speech(whole) == [(0.0, 1.0)]
    assert EnergySpeech().speech(audio(1.0)) == []


def test_short_silence_at_an_end_stays_silence() -> None:
    spans = EnergySpeech().speech(recording(0.09, 1.0, 0.09))
    assert spans[0][0] > 0.02
    assert spans[-1][1] < 1.16


def test_trimming_is_seen_end_to_end() -> None:
    source, trimmed = recording(1.0, 1.0, 1.2, 1.0, 0.8), recording(0.1, 1.0, 0.3, 1.0, 0.1)
    rows = Silence(EnergySpeech()).measure([
        Sample("1", trimmed, source=source), Sample("2", source, source=source)
    ])  # fmt: skip
    assert rows[0]["removable_left"] == pytest.approx(0, abs=0.02)
    assert rows[1]["removable_left"] == pytest.approx(1)


def test_the_fallback_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    assert isinstance(best_detector(), EnergySpeech)
    assert "fallback" in Silence().model.name


def test_silero_is_asked_at_16_khz_and_threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def stamps(samples: torch.Tensor, network: Any, sampling_rate: int) -> list[dict[str, int]]:
        assert (len(samples), network, sampling_rate) == (RATE, "network", RATE)
        return [{"start": 1600, "end": 8000}]

    fake = SimpleNamespace(load_silero_vad=lambda onnx: "network", get_speech_timestamps=stamps)
    monkeypatch.setitem(sys.modules, "silero_vad", fake)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    threads = torch.get_num_threads()
    detector = SileroSpeech()
    assert torch.get_num_threads() == threads
    assert detector.speech(Audio(torch.zeros(48000), 48000)) == [(0.1, 0.5)]


def test_real_silero_hears_the_demo() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("silero_vad")
    demo = Audio.load(Path(__file__).parents[2] / "docs" / "audio" / "demo.flac").resample(RATE)
    quiet = torch.zeros(RATE)
    padded = Audio(torch.cat([quiet, demo.samples, quiet]), RATE)
    rows = Silence(SileroSpeech()).measure([Sample("1", padded), Sample("2", demo, source=padded)])
    assert rows[0]["removable_s"] is not None
    assert rows[0]["removable_s"] > 1.5
    assert rows[1]["removable_left"] is not None
    assert rows[1]["removable_left"] < 0.3
