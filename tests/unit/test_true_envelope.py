"""The curve over the tops of harmonics, where that curve is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stepaudio.true_envelope import true_envelope

RATE, LENGTH = 16000, 1024
DB = 20 / math.log(10)
#: How far below the tops there is something between harmonics.
VALLEY = 20 / DB


def curve(hertz: Tensor) -> Tensor:
    """A sum of slow cosines: 30 dB from top to bottom."""
    turn = hertz * (2 * math.pi / RATE)
    return 1.2 * (4 * turn).cos() + 0.8 * (9 * turn).cos() - 0.4 * (15 * turn).cos()


def bins() -> Tensor:
    return torch.arange(LENGTH // 2 + 1, dtype=torch.float64) * (RATE / LENGTH)


def spectrum(pitch: float) -> tuple[Tensor, Tensor]:
    """Level at every bin of a frame of harmonics under the curve; and which bins are their tops."""
    harmonics = torch.arange(pitch, RATE / 2 - pitch / 2, pitch, dtype=torch.float64)
    time = torch.arange(LENGTH, dtype=torch.float64) / RATE
    phases = 2 * math.pi * harmonics[:, None] * time + torch.arange(len(harmonics))[:, None] ** 2
    window = torch.hann_window(LENGTH, dtype=torch.float64)
    frame = (curve(harmonics).exp()[:, None] * phases.cos()).sum(0) * window
    # A cosine of height 1 is as high as half of the sum of the window.
    levels = (torch.fft.rfft(frame).abs() / (window.sum() / 2)).log()
    return torch.maximum(levels, curve(bins()) - VALLEY), (harmonics * LENGTH / RATE).round().long()


def order_of(pitch: float) -> int:
    return round(0.8 * RATE / pitch)


@pytest.mark.parametrize("pitch", [100.0, 150.0, 230.0])
def test_it_has_the_shape_of_the_tops_of_harmonics(pitch: float) -> None:
    levels, tops = spectrum(pitch)
    (found,) = true_envelope(levels[None], order_of(pitch))
    away = (found - curve(bins())) * DB
    assert float(away[tops].std()) < 0.6
    # Also between them, where there is 20 dB less.
    inside = away[tops[0] : tops[-1]]
    assert float((inside - away[tops].mean()).abs().max()) < 3.5
    # A plain cepstrum follows the mean of tops and valleys.
    cepstrum = torch.fft.irfft(levels)
    cepstrum[order_of(pitch) : 1 - order_of(pitch)] = 0
    plain = (torch.fft.rfft(cepstrum).real - curve(bins()))[tops].mean() * DB
    assert 0.55 * float(plain) < float(away[tops].mean()) < 0.1


@pytest.mark.parametrize("pitch", [100.0, 150.0, 230.0])
def test_in_many_rounds_it_comes_to_rest_on_the_tops(
    monkeypatch: pytest.MonkeyPatch, pitch: float
) -> None:
    monkeypatch.setattr("stepaudio.true_envelope._ROUNDS", 60)
    levels, tops = spectrum(pitch)
    (found,) = true_envelope(levels[None], order_of(pitch))
    assert float((found - levels)[tops].abs().max()) * DB < 1.0
    assert float((levels - found).max()) * DB < 1.0


def test_no_detail_finer_than_the_order_is_left() -> None:
    levels, _ = spectrum(150.0)
    cepstrum = torch.fft.irfft(true_envelope(levels[None], 20)[0])
    assert float(cepstrum[20:-19].abs().max()) < 1e-12
    assert float(cepstrum[19].abs()) > 1e-4


def test_what_is_smooth_stays() -> None:
    flat = torch.full((2, 257), -3.7, dtype=torch.float64)
    torch.testing.assert_close(true_envelope(flat, 12), flat)
    slow = curve(bins())[None]
    torch.testing.assert_close(true_envelope(slow, 16), slow)
    # The fastest of its cosines is the fifteenth coefficient.
    assert float((true_envelope(slow, 15) - slow).abs().max()) > 0.1


def test_each_spectrum_is_its_own() -> None:
    levels = torch.stack([spectrum(pitch)[0] for pitch in (100.0, 150.0)])
    kept = levels.clone()
    both = true_envelope(levels, 50)
    assert torch.equal(levels, kept)
    for one, found in zip(kept, both, strict=True):
        torch.testing.assert_close(true_envelope(one[None], 50)[0], found)
