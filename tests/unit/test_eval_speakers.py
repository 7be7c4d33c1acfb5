from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.errors import MissingExtraError
from stepaudio.evaluation.contracts import Metric, ModelId, Sample
from stepaudio.evaluation.speakers import (
    PipelineVoice,
    ResemblyzerVoice,
    SpeakerSimilarity,
    VoiceEmbedder,
)


class FirstSamples:
    """The first two samples are the voice."""

    model = ModelId("first", "1")

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, audio: Audio) -> Any:
        self.calls += 1
        return audio.samples[:2].double().numpy()


def voice(x: float, y: float) -> Audio:
    return Audio(torch.tensor([x, y, 0.5]), 16000)


def test_margins_against_the_other_speakers() -> None:
    embedder = FirstSamples()
    metric = SpeakerSimilarity(embedder)
    assert isinstance(metric, Metric)
    assert isinstance(embedder, VoiceEmbedder)
    a, b, c = voice(1, 0), voice(0, 1), voice(-1, 0)
    rows = metric.measure([
        Sample("1", voice(3, 4), source=a, speaker="a"),
        Sample("2", voice(0, 2), source=b, speaker="b"),
        Sample("3", voice(0, -2), source=c, speaker="c"),
        Sample("4", voice(1, 0), source=voice(1, 1), speaker="b"),
    ])  # fmt: skip
    assert rows[0]["similarity"] == pytest.approx(0.6)
    # b has two sources, of cosines 0.8 and 0.99, and counts once.
    other = (0.8 + 7 / 5 / 2**0.5) / 2
    assert rows[0]["others_mean"] == pytest.approx((other - 0.6) / 2)
    assert rows[0]["others_max"] == pytest.approx(7 / 5 / 2**0.5)
    assert rows[0]["margin_mean"] == pytest.approx(0.6 - (other - 0.6) / 2)
    assert rows[0]["margin_max"] == pytest.approx(0.6 - 7 / 5 / 2**0.5)
    assert rows[1]["similarity"] == pytest.approx(1.0)
    assert rows[1]["margin_max"] == pytest.approx(1.0)
    # Four recordings and four sources.
    assert embedder.calls == 8


def test_one_source_of_many_edits_is_embedded_once() -> None:
    embedder = FirstSamples()
    source = voice(1, 0)
    edits = [Sample(str(i), voice(1, i), source=voice(1, 0), speaker="a") for i in range(3)]
    edits.append(Sample("x", voice(1, 0), source=source, speaker="a"))
    rows = SpeakerSimilarity(embedder).measure(edits)
    assert embedder.calls == 4 + 1
    for row in rows:
        assert row["similarity"] is not None
        assert row["margin_mean"] is None
        assert row["others_max"] is None


def test_the_set_can_be_given_apart_from_the_batch() -> None:
    voices = {"a": [voice(1, 0)], "b": [voice(0, 1)]}
    metric = SpeakerSimilarity(FirstSamples(), voices=voices)
    assert metric.name == "speaker:first"
    row = metric.measure([Sample("1", voice(1, 0), source=voice(1, 0), speaker="a")])[0]
    assert row["margin_max"] == pytest.approx(1.0)


def test_what_cannot_be_had_is_none() -> None:
    metric = SpeakerSimilarity(FirstSamples())
    rows = metric.measure([
        Sample("1", voice(1, 0), speaker="a"),
        Sample("2", voice(0, 0), source=voice(1, 0), speaker="a"),
        Sample("3", voice(1, 0), source=voice(0, 0), speaker="b"),
        Sample("4", voice(1, 0), source=voice(1, 0)),
    ])  # fmt: skip
    for row in rows[:3]:
        assert set(row.values()) == {None}
    # Of an unnamed speaker only the cosine is known.
    assert rows[3]["similarity"] == pytest.approx(1.0)
    assert rows[3]["margin_max"] is None


def test_the_encoder_of_a_pipeline() -> None:
    encoder = CAMPPlus(CAMPPlusConfig.debug()).eval()
    embedder = PipelineVoice(encoder)
    assert embedder.model.name == "stepaudio/CAMPPlus"
    audio = Audio(0.1 * torch.sin(torch.arange(16000) * 0.1), 16000)
    vector = embedder.embed(audio)
    assert vector is not None
    assert vector.shape == (encoder.dim,)
    assert np.allclose(vector, encoder.embed(audio).numpy())
    assert embedder.embed(Audio(torch.zeros(100), 16000)) is None
    before = PipelineVoice(encoder).model
    assert before == embedder.model
    with torch.no_grad():
        next(encoder.parameters()).add_(1.0)
    assert PipelineVoice(encoder).model != before


def test_resemblyzer_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    with pytest.raises(MissingExtraError, match=r"resemblyzer.*stepaudio\[eval\]"):
        ResemblyzerVoice()


def test_resemblyzer_that_finds_no_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoder:
        def __init__(self, device: str, verbose: bool) -> None:
            assert (device, verbose) == ("cpu", False)

        def embed_utterance(self, speech: Any) -> Any:
            return np.full(256, len(speech), dtype=np.float32)

    def trimmed(samples: Any, source_sr: int) -> Any:
        assert source_sr == 16000
        return samples[samples > 0.5]

    fake = SimpleNamespace(VoiceEncoder=Encoder, preprocess_wav=trimmed)
    monkeypatch.setitem(sys.modules, "resemblyzer", fake)
    embedder = ResemblyzerVoice()
    assert embedder.embed(Audio(torch.zeros(1600), 16000)) is None
    assert embedder.embed(Audio(torch.full((1600,), 0.1), 16000)) is None
    vector = embedder.embed(Audio(torch.full((1600,), 0.7), 16000))
    assert vector is not None
    assert vector.dtype == np.float64
    assert vector[0] == 1600


def test_real_resemblyzer_knows_a_voice_again() -> None:
    pytest.importorskip("resemblyzer")
    from pathlib import Path

    audio = Audio.load(Path(__file__).parents[2] / "docs" / "audio" / "demo.flac")
    half = audio.seconds / 2
    sample = Sample("demo", audio.clip(0, half), source=audio.clip(half), speaker="a")
    row = SpeakerSimilarity(ResemblyzerVoice()).measure([sample])[0]
    assert row["similarity"] is not None
    assert row["similarity"] > 0.6
