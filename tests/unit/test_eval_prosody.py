from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import Metric, Sample
from stepaudio.evaluation.frames import frame_levels, loud_frames, signal
from stepaudio.evaluation.pitch import (
    AutocorrelationPitch,
    PitchTracker,
    WorldPitch,
)
from stepaudio.evaluation.prosody import Prosody

RATE = 16000


def buzz(hz: torch.Tensor | float, seconds: float, gain: float = 0.1) -> torch.Tensor:
    """Twenty harmonics of a (moving) fundamental."""
    count = round(seconds * RATE)
    phase = 2 * math.pi * torch.cumsum(torch.as_tensor(hz).double().expand(count) / RATE, 0)
    return (sum((k * phase).sin() / k for k in range(1, 21)) * gain).float()


def syllables(count: int, each: float, hz: float = 150.0) -> torch.Tensor:
    """Bursts of voice, each with a smooth rise and fall."""
    shape = torch.hann_window(round(each * RATE), periodic=False).sqrt() * 0.99 + 0.01
    return buzz(hz, len(shape) * count / RATE) * shape.repeat(count)


def measure(samples: torch.Tensor, **fields: object) -> dict[str, float | None]:
    sample = Sample("x", Audio(samples, RATE), **fields)  # type: ignore[arg-type]
    return dict(Prosody(AutocorrelationPitch()).measure([sample])[0])


def test_levels_of_a_square_wave() -> None:
    square = torch.ones(RATE)
    square[RATE // 2 :] = -1
    levels = frame_levels(signal(Audio(square * 0.1, RATE)))
    assert len(levels) == 101
    assert np.allclose(levels[3:-3], -20, atol=0.01)
    assert not loud_frames(frame_levels(np.zeros(1600))).any()


@pytest.mark.parametrize("hz", [90.0, 150.0, 300.0])
def test_a_steady_voice(hz: float) -> None:
    numbers = measure(buzz(hz, 1.0))
    assert numbers["f0_median_hz"] == pytest.approx(hz, rel=0.01)
    assert numbers["f0_std_st"] == pytest.approx(0, abs=0.2)
    assert numbers["f0_range_st"] == pytest.approx(0, abs=0.4)
    assert numbers["voiced_share"] is not None
    assert numbers["voiced_share"] > 0.95
    assert numbers["seconds"] == 1.0
    for of_source in ("f0_shift_st", "tempo_ratio", "duration_ratio", "words_per_s"):
        assert numbers[of_source] is None


def test_an_octave_of_range() -> None:
    # A glide of one octave that is linear in semitones: 5 % to 95 % are 10.8 of 12.
    numbers = measure(buzz(100 * 2 ** torch.linspace(0, 1, 2 * RATE), 2.0))
    assert numbers["f0_range_st"] == pytest.approx(10.8, abs=0.4)
    assert numbers["f0_std_st"] == pytest.approx(12 / math.sqrt(12), abs=0.2)
    assert numbers["f0_median_hz"] == pytest.approx(100 * math.sqrt(2), rel=0.03)


def test_noise_is_loud_but_not_voiced() -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    numbers = measure(torch.cat([buzz(150, 1.0), noise]))
    assert numbers["voiced_share"] == pytest.approx(0.5, abs=0.06)


def test_level_and_its_variation() -> None:
    loud = buzz(150, 1.0)
    rms = float(loud.square().mean().sqrt())
    assert measure(loud)["level_db"] == pytest.approx(20 * math.log10(rms), abs=0.3)
    assert measure(loud)["level_std_db"] == pytest.approx(0, abs=0.8)
    # Half of it 12 dB lower: a deviation of 6 dB around the middle; pauses do not count.
    steps = torch.cat([loud, loud * 10 ** (-12 / 20), torch.zeros(RATE)])
    assert measure(steps)["level_std_db"] == pytest.approx(6, abs=0.4)
    assert measure(steps)["level_db"] == pytest.approx(20 * math.log10(rms) - 6, abs=0.4)


@pytest.mark.parametrize("rate", [3, 5, 7])
def test_tempo_counts_syllables(rate: int) -> None:
    voice = syllables(3 * rate, 1 / rate)
    padded = torch.cat([torch.zeros(RATE), voice, torch.zeros(RATE // 2)])
    numbers = measure(padded, text=" ".join(["word"] * 6))
    # Silence at the ends does not make it slower.
    assert numbers["syllables_per_s"] == pytest.approx(rate, rel=0.08)
    assert numbers["words_per_s"] == pytest.approx(2, rel=0.08)


def test_characters_per_second_where_there_are_no_words() -> None:
    numbers = measure(buzz(150, 2.0), text="今天天气，很好。", lang="zh")
    assert numbers["words_per_s"] == pytest.approx(3, rel=0.05)


def test_against_the_source() -> None:
    source = Audio(torch.cat([buzz(100, 2.0), torch.zeros(RATE)]), RATE)
    numbers = measure(buzz(150, 1.0), source=source)
    assert numbers["duration_ratio"] == pytest.approx(1 / 3)
    assert numbers["tempo_ratio"] == pytest.approx(2, rel=0.03)
    assert numbers["f0_shift_st"] == pytest.approx(12 * math.log2(1.5), abs=0.1)


def test_silence_and_short_sounds_have_no_numbers() -> None:
    numbers = measure(torch.zeros(RATE), text="something", source=Audio(buzz(150, 1.0), RATE))
    assert {key for key, value in numbers.items() if value is not None} == {
        "seconds",
        "duration_ratio",
    }
    assert measure(buzz(150, 0.1))["syllables_per_s"] is None
    assert measure(torch.zeros(1))["f0_median_hz"] is None


def test_the_metric_names_its_tracker() -> None:
    metric = Prosody()
    assert isinstance(metric, Metric)
    assert isinstance(metric.tracker, PitchTracker)
    assert isinstance(metric.tracker, AutocorrelationPitch)
    assert metric.model.name == "stepaudio/autocorrelation"
    assert Prosody(metric.tracker).tracker is metric.tracker


def test_both_trackers_agree() -> None:
    pytest.importorskip("pyworld")
    steps = [110.0, 165.0, 220.0]
    audio = Audio(torch.cat([buzz(hz, 0.5) for hz in steps]), RATE)
    world, own = WorldPitch().track(audio), AutocorrelationPitch().track(audio)
    assert len(world) == len(own) == 151
    for (first, last), hz in zip(pairwise([0, 50, 100, 150]), steps, strict=True):
        for track in (world, own):
            middle = track[first + 15 : last - 15]
            assert np.allclose(middle[np.isfinite(middle)], hz, rtol=0.01)
            assert np.isfinite(middle).mean() > 0.8
