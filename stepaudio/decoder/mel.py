"""Waveform to log-mel: the front end of the flow decoder and of every vocoder.

Published system, section on the decoder: the frame grid is centred by reflect-padding
``(n_fft - hop) / 2`` samples on both sides, so ``S`` samples give exactly ``S // hop`` frames and
frame ``t`` speaks about samples ``[t * hop, (t + 1) * hop)``.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stepaudio.errors import AudioError
from stepaudio.mel_filters import slaney_filters
from stepaudio.types import MelSpec

__all__ = ["log_mel", "magnitude", "mel_filters"]

# Keeps the square root differentiable where a bin is empty; part of the published formula.
_POWER_FLOOR = 1e-9


@lru_cache(maxsize=32)
def mel_filters(spec: MelSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The filter bank of a front end, kept per spec, device and dtype.

    Args:
        spec: the front end.
        device: where the filters shall live.
        dtype: floating type of the filters.

    Returns:
        ``[C, n_fft // 2 + 1]``; shared, do not write into it.
    """
    filters = slaney_filters(spec.sample_rate, spec.n_fft, spec.n_mels, spec.fmin, spec.fmax)
    return filters.to(device=device, dtype=dtype)


@lru_cache(maxsize=32)
def _window(spec: MelSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(spec.win_length, device=device, dtype=dtype)


def magnitude(waveform: Tensor, spec: MelSpec) -> Tensor:
    """Magnitude spectrogram on the frame grid of ``spec``.

    Args:
        waveform: ``[.., S]`` samples in [-1, 1] at ``spec.sample_rate``.
        spec: the front end.

    Returns:
        ``[.., n_fft // 2 + 1, T]`` with ``T = S // hop_length`` (one more frame, centred on
        sample ``t * hop``, if the spec is centred).

    Raises:
        AudioError: the waveform is too short to be reflected at its ends.
    """
    pad = spec.n_fft // 2 if spec.center else (spec.n_fft - spec.hop_length) // 2
    samples = waveform.shape[-1]
    if samples <= pad:
        raise AudioError(
            f"a waveform of {samples} samples is too short for mel frames of {spec.n_fft} "
            f"samples; give at least {pad + 1}"
        )
    flat = waveform.reshape(-1, samples)
    padded = F.pad(flat[:, None], (pad, pad), mode="reflect")[:, 0]
    stft = torch.stft(
        padded,
        spec.n_fft,
        hop_length=spec.hop_length,
        win_length=spec.win_length,
        window=_window(spec, flat.device, flat.dtype),
        center=False,
        return_complex=True,
    )
    power = stft.real.square() + stft.imag.square()
    result = torch.sqrt(power + _POWER_FLOOR)
    return result.reshape(*waveform.shape[:-1], *result.shape[-2:])


def log_mel(waveform: Tensor, spec: MelSpec) -> Tensor:
    """Natural-log mel spectrogram; differentiable.

    Args:
        waveform: ``[.., S]`` samples in [-1, 1] at ``spec.sample_rate``.
        spec: the front end.

    Returns:
        ``[.., C, T]`` with ``T = S // hop_length``.

    Raises:
        AudioError: the waveform is too short to be reflected at its ends.
    """
    spectrum = magnitude(waveform, spec)
    filters = mel_filters(spec, spectrum.device, spectrum.dtype)
    return torch.log(torch.clamp(filters @ spectrum, min=spec.log_floor))
