"""The pitch of voices whose pitch is known, and none where there is no voice."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_voices import buzz

from stepaudio.audio import Audio
from stepaudio.pitch_track import HIGHEST_HZ, LOWEST_HZ, TRACK_WINDOW, centred_frames, track_pitch


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("hz", [70.0, 111.3, 180.0, 260.0, 440.0])
def test_pitch_of_a_steady_voice(hz: float, rate: int) -> None:
    pitch = track_pitch(buzz(hz, 0.5, rate))
    assert len(pitch) == 51
    inside = pitch[5:-5]
    assert inside.isfinite().all()
    assert float((inside / hz - 1).abs().max()) < 0.01


def test_pitch_of_a_rising_voice() -> None:
    course = torch.linspace(100, 200, 16000)
    pitch = track_pitch(buzz(course, 1.0, 16000))
    expected = course[::160]
    assert float((pitch[5:95] / expected[5:95] - 1).abs().max()) < 0.03


def test_noise_and_silence_have_no_pitch() -> None:
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert track_pitch(Audio(noise, 16000)).isnan().float().mean() > 0.95
    assert track_pitch(Audio(torch.zeros(1600), 16000)).isnan().all()
    pause = torch.cat([buzz(150.0, 0.5, 16000).samples, torch.zeros(8000)])
    pitch = track_pitch(Audio(pause, 16000))
    assert pitch[5:45].isfinite().all()
    assert pitch[55:].isnan().all()


@pytest.mark.parametrize("hz", [35.0, 50.0, 60.0])
def test_hum_below_every_voice_has_no_pitch(hz: float) -> None:
    """Its only peaks lie where it is the opposite of itself; 750 Hz was once told of 50."""
    time = torch.arange(8000) / 16000
    hum = 0.4 * torch.sin(2 * math.pi * hz * time)
    assert (
        track_pitch(Audio(hum + 0.01 * torch.sin(2 * math.pi * 3000 * time), 16000)).isnan().all()
    )


@settings(max_examples=60, deadline=None)
@given(
    hz=st.floats(5.0, 3000.0),
    other=st.floats(5.0, 8000.0),
    share=st.floats(0.0, 1.0),
    first=st.integers(0, 3000),
    length=st.integers(1, 3000),
)
def test_a_pitch_is_one_of_a_voice(
    hz: float, other: float, share: float, first: int, length: int
) -> None:
    """Bursts of two tones and noise after silence."""
    time = torch.arange(length) / 16000
    burst = (1 - share) * torch.sin(2 * math.pi * hz * time)
    burst += share * torch.sin(2 * math.pi * other * time)
    burst += 0.01 * torch.randn(length, generator=torch.Generator().manual_seed(length))
    pitch = track_pitch(Audio(torch.cat([torch.zeros(first), 0.4 * burst]), 16000))
    assert len(pitch) == (first + length) // 160 + 1
    found = pitch[pitch.isfinite()]
    # A parabola may find the peak half a sample beyond the last lag.
    assert ((found > LOWEST_HZ - 0.5) & (found < HIGHEST_HZ + 8)).all()


def test_frames_are_centred() -> None:
    """Each around its place in time, with zeros outside of the recording."""
    click = torch.zeros(800)
    click[320] = 0.5
    frames = centred_frames(Audio(click, 16000), 160)
    assert frames.shape == (6, TRACK_WINDOW)
    assert frames[2].argmax() == TRACK_WINDOW // 2
    assert frames.count_nonzero() == 6
