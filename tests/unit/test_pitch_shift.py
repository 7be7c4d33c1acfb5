"""Tones that are moved: where they go, what has no room there, and in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stepaudio.pitch_shift import shift_pitch

RATE = 16000
Array = NDArray[np.float64]


def tone(hertz: float, count: int = RATE) -> Array:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(count) / RATE)


def shifted(samples: Array, ratio: float) -> Array:
    count = len(samples)
    return shift_pitch(samples, np.full(count, ratio), np.arange(count, dtype=np.float64), RATE)


def loudest(samples: Array) -> float:
    """Frequency of the highest line of the spectrum, Hz, away from the edges."""
    inner = samples[2000:-2000]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner))))
    return float(spectrum.argmax() * RATE / len(inner))


def db(samples: Array) -> float:
    return 20 * float(np.log10(samples[2000:-2000].std() + 1e-12))


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.5, 2.5])
def test_tones_move_by_the_ratio(ratio: float) -> None:
    out = shifted(tone(1000.0), ratio)
    assert loudest(out) == pytest.approx(1000.0 * ratio, abs=2.0)
    assert db(out) == pytest.approx(db(tone(1000.0)), abs=0.5)


def test_what_would_be_too_high_is_left_out() -> None:
    """Instead of coming back from above half of the rate at a frequency that nobody asked for."""
    assert db(shifted(tone(4500.0), 1.5)) == pytest.approx(db(tone(4500.0)), abs=1.0)
    assert db(shifted(tone(6500.0), 1.5)) < db(tone(6500.0)) - 40


def test_nothing_moves_by_one() -> None:
    sound = np.random.default_rng(0).standard_normal(5000)
    assert np.abs(shifted(sound, 1.0) - sound).max() < 1e-9


def test_it_follows_the_places_and_the_ratios() -> None:
    """First half as fast and an octave up, then twice as fast as it was and as high as it was."""
    sound = np.concatenate([tone(400.0), tone(900.0)])
    places = np.concatenate([np.arange(2 * RATE) * 0.5, RATE + np.arange(RATE // 2) * 2.0])
    ratios = np.repeat([2.0, 1.0], [2 * RATE, RATE // 2])
    out = shift_pitch(sound, ratios, places, RATE)
    assert len(out) == len(places)
    assert loudest(out[: 2 * RATE]) == pytest.approx(800.0, abs=2.0)
    assert loudest(out[2 * RATE :]) == pytest.approx(900.0, abs=4.0)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).standard_normal(3000)
    ratios, places = np.linspace(0.7, 1.8, 3000), np.arange(3000, dtype=np.float64)
    whole = shift_pitch(sound, ratios, places, RATE)
    monkeypatch.setattr("stepaudio.pitch_shift._BLOCK", 7)
    assert np.abs(shift_pitch(sound, ratios, places, RATE) - whole).max() < 1e-12
