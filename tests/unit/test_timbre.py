"""A voice in another colour: formants and tilt of its mel change, everything else stays."""

from __future__ import annotations

import math

import pytest
import torch

from stepaudio.mel_filters import hz_to_mel
from stepaudio.types import MelSpec, SpeechTokens, TokenSpec, VoicePrompt
from stepaudio.voice import Timbre, with_timbre

SPEC = MelSpec()


def voice(mel: torch.Tensor) -> VoicePrompt:
    tokens = SpeechTokens(torch.arange(2), torch.arange(3), TokenSpec(12, 20))
    return VoicePrompt(tokens, mel, torch.ones(4), "said", SPEC)


def peak_at(hz: float) -> torch.Tensor:
    """``[80, 5]`` log-mel of one formant."""
    low, high = hz_to_mel(SPEC.fmin), hz_to_mel(SPEC.fmax or 12000.0)
    bands = low + (high - low) / 81 * torch.arange(1, 81)
    return -0.5 * ((bands - hz_to_mel(hz)) / 2)[:, None].square().expand(80, 5)


@pytest.mark.parametrize("hz", [500.0, 1500.0, 3000.0])
@pytest.mark.parametrize("ratio", [0.8, 0.94, 1.1, 1.25])
def test_formants_move_by_the_ratio(hz: float, ratio: float) -> None:
    moved = with_timbre(voice(peak_at(hz)), Timbre(ratio))
    assert torch.equal(moved.mel.argmax(0), peak_at(hz * ratio).argmax(0))
    assert moved.mel.dtype == torch.float32
    assert moved.mel.shape == (80, 5)


def test_tilt() -> None:
    """In decibels, per octave around 500 Hz."""
    flat = torch.full((80, 5), -3.0)
    tilted = (with_timbre(voice(flat), Timbre(tilt_db=9.0)).mel - flat)[:, 0] * 20 / math.log(10)
    low, high = hz_to_mel(SPEC.fmin), hz_to_mel(SPEC.fmax or 12000.0)
    for hz, decibels in ((250.0, -3.0), (500.0, 0.0), (1000.0, 3.0), (4000.0, 9.0)):
        nearest = round((hz_to_mel(hz) - low) / (high - low) * 81) - 1
        assert float(tilted[nearest]) == pytest.approx(decibels, abs=0.5)
    assert (tilted.diff() >= 0).all()


def test_the_rest_stays() -> None:
    before = voice(torch.randn(80, 5))
    after = with_timbre(before, Timbre(1.1, 3.0))
    assert after.tokens is before.tokens
    assert after.speaker is before.speaker
    assert (after.transcript, after.mel_spec) == ("said", SPEC)
    torch.testing.assert_close(with_timbre(before, Timbre()).mel, before.mel)


def test_there_and_back_is_nearly_the_same() -> None:
    smooth = peak_at(1500.0)
    back = with_timbre(with_timbre(voice(smooth), Timbre(1.1)), Timbre(1 / 1.1))
    assert (back.mel - smooth).abs()[:70].max() < 0.3


def test_a_level_spectrum_stays_level() -> None:
    """Beyond both ends the outermost band goes on, so nothing falls silent."""
    flat = torch.full((80, 5), -3.0)
    for ratio in (0.7, 1.4):
        torch.testing.assert_close(with_timbre(voice(flat), Timbre(ratio)).mel, flat)


@pytest.mark.parametrize("wrong", [{"formants": 0.0}, {"tilt_db": math.nan}, {"tilt_db": math.inf}])
def test_what_is_no_timbre(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="formants must be above 0 and all of it finite"):
        Timbre(**wrong)
