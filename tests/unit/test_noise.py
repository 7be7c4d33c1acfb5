"""Noise becomes quieter, speech stays, and nothing else changes."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.noise import LEAST_GAIN_DB, suppress_noise


def voice(seconds: float, rate: int) -> torch.Tensor:
    """Harmonics that come and go three times a second, with pauses."""
    time = torch.arange(round(seconds * rate)) / rate
    tones = sum(torch.sin(2 * torch.pi * 150 * k * time) / k for k in range(1, 20))
    assert isinstance(tones, torch.Tensor)
    return 0.1 * tones * (torch.sin(2 * torch.pi * 1.5 * time) > 0)


def db(power: torch.Tensor) -> float:
    return 10 * float(power.square().mean().log10())


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_noise_goes_and_the_voice_stays(rate: int) -> None:
    speech = voice(3.0, rate)
    noise = 0.02 * torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    clean = suppress_noise(Audio(speech + noise, rate)).samples
    silent = speech == 0
    assert db(clean[silent]) < db(noise[silent]) - 8
    assert db(clean - speech) < db(noise) - 3
    assert db(clean[~silent]) == pytest.approx(db(speech[~silent]), abs=1.0)


def test_nothing_falls_below_the_least_gain() -> None:
    """Steady noise alone is made quieter by no more than the limit."""
    noise = 0.1 * torch.randn(48000, generator=torch.Generator().manual_seed(1))
    quieter = db(suppress_noise(Audio(noise, 16000)).samples) - db(noise)
    assert LEAST_GAIN_DB - 0.5 < quieter < -10


def test_noise_that_grows_is_followed() -> None:
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(160000, generator=generator) * torch.linspace(0.002, 0.05, 160000)
    left = suppress_noise(Audio(noise, 16000)).samples
    assert db(left[-16000:]) < db(noise[-16000:]) - 8


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 5000),
    rate=st.sampled_from([8000, 16000, 192000]),
    level=st.sampled_from([0.0, 1e-6, 0.3]),
)
def test_any_recording_keeps_its_length(length: int, rate: int, level: float) -> None:
    audio = Audio(level * torch.randn(length, generator=torch.Generator().manual_seed(3)), rate)
    clean = suppress_noise(audio)
    assert len(clean) == length
    assert clean.sample_rate == rate
    assert clean.samples.isfinite().all()
    assert float(clean.samples.abs().max()) <= 2 * float(audio.samples.abs().max()) + 1e-12


def test_a_voice_without_noise_is_hardly_touched() -> None:
    speech = voice(2.0, 16000)
    clean = suppress_noise(Audio(speech, 16000)).samples
    assert db(clean - speech) < db(speech) - 20


def test_the_quietest_frames_are_found_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same result, and without a copy of all frames, which overlap four times."""
    noise = 0.02 * torch.randn(12 * 8000, generator=torch.Generator().manual_seed(4))
    audio = Audio(voice(12.0, 8000) + noise * torch.linspace(0.5, 2.0, len(noise)), 8000)
    clean = []
    tracemalloc.start()
    for block in (1 << 20, 1024, 7):
        monkeypatch.setattr("stepaudio.noise._BLOCK", block)
        tracemalloc.reset_peak()
        clean.append(suppress_noise(audio).samples)
        peak = tracemalloc.get_traced_memory()[1] / len(noise)
        # Bytes a sample: all frames at once would take 32 beside the signals, a block 20 here.
        assert peak < 35 or block == 1 << 20
    tracemalloc.stop()
    assert torch.equal(clean[0], clean[1])
    assert torch.equal(clean[0], clean[2])
