from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stepaudio.errors import AudioError
from stepaudio.tokenizers import preprocess
from stepaudio.tokenizers.preprocess import (
    limit_peak,
    normalize_energy,
    prepare_for_tokens,
    resample,
    sound_bounds,
    trim_silence,
)


def tone(hertz: float, rate: int, samples: int, peak: float = 0.5) -> Tensor:
    return peak * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / rate)


@pytest.mark.parametrize(
    ("from_rate", "to_rate"),
    [(8000, 16000), (44100, 16000), (22050, 16000), (44099, 16000), (767999, 16000), (1000, 16000)],
)
def test_a_tone_stays_a_tone(from_rate: int, to_rate: int) -> None:
    samples = from_rate // 4
    found = resample(tone(300.0, from_rate, samples), from_rate, to_rate)
    assert len(found) == math.ceil(samples * to_rate / from_rate)
    middle = slice(len(found) // 4, -len(found) // 4)
    assert (found - tone(300.0, to_rate, len(found)))[middle].abs().max() < 0.02


def test_what_the_lower_rate_cannot_hold_is_removed() -> None:
    found = resample(tone(11000.0, 48000, 24000), 48000, 16000)
    assert found[100:-100].abs().max() < 0.01


def test_equal_rates_change_nothing() -> None:
    waveform = tone(100.0, 16000, 50)
    assert resample(waveform, 16000, 16000) is waveform


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_tiny_inputs_resample(samples: int) -> None:
    assert len(resample(torch.ones(samples), 48000, 16000)) == math.ceil(samples / 3)
    assert len(resample(torch.ones(samples), 16000, 24000)) == math.ceil(samples * 1.5)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    whole = resample(waveform, 24000, 16000)
    monkeypatch.setattr(preprocess, "_PRODUCTS", 1000)
    assert torch.equal(resample(waveform, 24000, 16000), whole)


def test_gradients_pass_through_the_resampler() -> None:
    waveform = torch.ones(100, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample(x, 3, 2), (waveform,))


def test_peaks() -> None:
    assert float(limit_peak(torch.tensor([0.1, -1.2])).abs().max()) == pytest.approx(0.6)
    quiet = torch.tensor([0.1, -0.2])
    assert limit_peak(quiet) is quiet
    assert float(normalize_energy(quiet).abs().max()) == pytest.approx(0.999)
    assert float(normalize_energy(quiet / 1000).abs().max()) == pytest.approx(0.0002 * 99.9)
    assert normalize_energy(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_trim_keeps_a_margin() -> None:
    waveform = torch.cat([torch.zeros(8000), tone(400.0, 16000, 8000), torch.zeros(8000)])
    start, end = sound_bounds(waveform)
    assert 8000 - 512 <= start <= 8000
    assert 16000 <= end <= 16000 + 512
    trimmed = trim_silence(waveform)
    assert len(trimmed) == math.ceil((end - start) / 240) * 240 + 4320
    assert torch.equal(trimmed, waveform[start - 800 : start - 800 + len(trimmed)])


def test_trim_pads_what_the_recording_does_not_have() -> None:
    waveform = tone(400.0, 16000, 8000)
    assert sound_bounds(waveform) == (0, 8000)
    trimmed = trim_silence(waveform)
    assert len(trimmed) == 34 * 240 + 4320
    assert torch.equal(trimmed[800:8800], waveform)
    assert trimmed[:800].abs().max() == trimmed[8800:].abs().max() == 0


def test_silence_is_not_trimmed_away() -> None:
    assert sound_bounds(torch.zeros(1000)) == (0, 1000)


def test_everything_together() -> None:
    waveform = torch.cat([torch.zeros(24000), tone(400.0, 24000, 24000, 0.9), torch.zeros(24000)])
    assert len(prepare_for_tokens(waveform, 24000, trim=False)) == 48000
    trimmed = prepare_for_tokens(waveform, 24000)
    assert 16000 + 4320 <= len(trimmed) <= 16000 + 4320 + 1024
    assert float(trimmed.abs().max()) == pytest.approx(0.999, abs=1e-4)


@pytest.mark.parametrize("shape", [(0,), (1, 5)])
def test_unusable_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for function in (limit_peak, normalize_energy, sound_bounds, trim_silence):
        with pytest.raises(AudioError, match="one channel"):
            function(torch.zeros(shape))
    with pytest.raises(AudioError, match="one channel"):
        prepare_for_tokens(torch.zeros(shape), 24000)
