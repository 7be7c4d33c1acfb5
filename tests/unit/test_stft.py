from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import assert_close
from torch.nn import functional as F

from stepaudio.decoder.stft import istft, overlap_add, stft
from stepaudio.errors import SpecMismatchError
from stepaudio.types import MelSpec

SPEC = MelSpec(sample_rate=8000, n_fft=64, hop_length=16, win_length=64)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("size", "hop"), [(64, 16), (60, 16), (16, 16), (10, 3)])
def test_overlap_add_is_fold(size, hop):
    frames = noise(2, 7, size)
    length = 6 * hop + size
    expected = F.fold(frames.mT, (1, length), (1, size), stride=(1, hop))[:, 0, 0]
    assert_close(overlap_add(frames, hop), expected, 1e-5)


@pytest.mark.parametrize("win", [64, 48])
def test_istft_inverts_stft(win):
    spec = dataclasses.replace(SPEC, win_length=win)
    wave = noise(3, 320)
    assert_close(istft(stft(wave, spec), spec), wave, 1e-5)


def test_istft_is_differentiable():
    spectrum = torch.polar(noise(1, 33, 5).exp(), noise(1, 33, 5)).requires_grad_()
    istft(spectrum, SPEC).square().sum().backward()
    assert spectrum.grad is not None
    assert torch.isfinite(torch.view_as_real(spectrum.grad)).all()


def test_centred_grid_is_refused():
    with pytest.raises(SpecMismatchError, match="center"):
        stft(noise(320), dataclasses.replace(SPEC, center=True))
