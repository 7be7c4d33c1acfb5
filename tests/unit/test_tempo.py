"""Another tempo, with numbers that can be worked out by hand."""

from __future__ import annotations

import debug_parts as debug
import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.tempo import change_tempo

RATE = 16000


def tone(hertz: float, seconds: float, height: float = 0.5) -> Audio:
    time = torch.arange(round(seconds * RATE)) / RATE
    return Audio(height * torch.sin(2 * torch.pi * hertz * time), RATE)


def test_tempo_one_changes_nothing() -> None:
    sound = Audio(
        torch.cat([torch.zeros(4800), debug.speech(0.8).samples, torch.zeros(3200)]), RATE
    )
    same = change_tempo(sound, 1.0)
    assert torch.allclose(same.samples, sound.samples, atol=1e-6)


@pytest.mark.parametrize("tempo", [0.625, 1 / 1.3, 1.3, 1.6, 3.9])
def test_tempo_changes_the_length_and_not_the_pitch(tempo: float) -> None:
    changed = change_tempo(tone(220.0, 1.5), tempo)
    assert len(changed) == round(1.5 * RATE / tempo)
    # Away from the ends the tone is as loud as before and has no other frequency.
    inner = changed.samples[1600:-1600].double().numpy()
    assert np.sqrt(np.mean(inner**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner))))
    assert np.argmax(spectrum) * RATE / len(inner) == pytest.approx(220.0, abs=RATE / len(inner))


def test_a_senseless_tempo_is_refused() -> None:
    for tempo in (0.0, 5.0, float("nan")):
        with pytest.raises(AudioError, match="makes no speech"):
            change_tempo(tone(220.0, 0.5), tempo)
