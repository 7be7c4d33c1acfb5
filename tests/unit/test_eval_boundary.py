from __future__ import annotations

import math

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.evaluation.boundary import Boundary, jumps_at
from stepaudio.evaluation.contracts import Metric, Sample
from stepaudio.evaluation.pitch import AutocorrelationPitch

RATE = 16000
TRACKER = AutocorrelationPitch()


def voice(low: float, high: float, tilt: float = 1.0, seconds: float = 1.0) -> torch.Tensor:
    """A glide whose upper harmonics are as loud as ``tilt`` lets them, swaying like speech."""
    count = round(seconds * RATE)
    phase = 2 * math.pi * torch.cumsum(torch.linspace(low, high, count).double() / RATE, 0)
    sway = 1 + 0.3 * (torch.arange(count) / RATE * 2 * math.pi * 4).sin()
    waves = sum((k * phase).sin() / k ** (tilt * sway) for k in range(1, 21))
    return (torch.as_tensor(waves) * 0.1).float()


def test_a_smooth_join_is_no_worse_than_the_rest() -> None:
    whole = Audio(voice(120, 160), RATE)
    jump = jumps_at(whole, [0.5], TRACKER)[0]
    assert jump.spectral is not None
    assert jump.spectral < 2
    assert jump.f0 is not None
    assert jump.f0 < 2


def test_a_change_of_timbre_is_seen_where_it_is() -> None:
    joined = Audio(torch.cat([voice(120, 140, 0.6), voice(140, 160, 2.2)]), RATE)
    there, before = jumps_at(joined, [1.0, 0.6], TRACKER)
    assert there.spectral is not None
    assert before.spectral is not None
    assert there.spectral > 3 * before.spectral
    assert there.spectral_rank is not None
    assert there.spectral_rank > 0.95


def test_a_click_is_seen() -> None:
    samples = voice(120, 140)
    samples[RATE // 2] += 0.9
    jump = jumps_at(Audio(samples, RATE), [0.5], TRACKER)[0]
    assert jump.spectral is not None
    assert jump.spectral > 2


def test_a_jump_of_pitch_in_semitones() -> None:
    joined = Audio(torch.cat([voice(120, 125), voice(180, 175)]), RATE)
    there, before = jumps_at(joined, [1.0, 0.5], TRACKER)
    assert there.f0_st == pytest.approx(12 * math.log2(180 / 125), abs=0.7)
    assert there.f0 is not None
    assert before.f0 is not None
    assert there.f0 > 10 > 2 > before.f0


def test_without_voice_or_sound_there_is_no_jump() -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    jump = jumps_at(Audio(noise, RATE), [0.5], TRACKER)[0]
    assert jump.f0 is None
    assert jump.f0_st is None
    assert jump.spectral is not None
    silent = jumps_at(Audio(torch.zeros(RATE), RATE), [0.0, 1.0], TRACKER)
    assert [(j.spectral, j.spectral_rank, j.f0) for j in silent] == [(None, None, None)] * 2


@pytest.mark.parametrize("join", [-0.1, 1.5, float("nan")])
def test_joins_outside_are_refused(join: float) -> None:
    with pytest.raises(AudioError, match="outside"):
        jumps_at(Audio(voice(120, 160), RATE), [join], TRACKER)


def test_the_metric_takes_joins_by_sample() -> None:
    joined = Audio(torch.cat([voice(120, 125, 0.6), voice(180, 175, 2.2)]), RATE)
    metric = Boundary({"cut": [0.5, 1.0]}, TRACKER)
    assert isinstance(metric, Metric)
    cut, whole = metric.measure([Sample("cut", joined), Sample("whole", joined)])
    smooth, rough = jumps_at(joined, [0.5, 1.0], TRACKER)
    assert cut["spectral_max"] == rough.spectral
    assert smooth.spectral is not None
    assert rough.spectral is not None
    assert cut["spectral_mean"] == pytest.approx((smooth.spectral + rough.spectral) / 2)
    assert cut["f0_max"] == rough.f0
    assert cut["joins"] == 2
    assert whole == {
        "spectral_mean": None, "spectral_max": None, "spectral_rank_max": None,
        "f0_mean": None, "f0_max": None, "joins": 0,
    }  # fmt: skip
