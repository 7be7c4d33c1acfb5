"""The slaney mel filter bank, shared by every front end that speaks of mel."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["hz_to_mel", "mel_to_hz", "slaney_filters"]

# Slaney's scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above, where 27 mels
# make a factor of 6.4.
_LINEAR_STEP = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_STEP
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: float) -> float:
    """Frequency to slaney mel.

    Args:
        hz: frequency, Hz.

    Returns:
        Mel.
    """
    if hz < _BREAK_HZ:
        return hz / _LINEAR_STEP
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """Slaney mel to frequency.

    Args:
        mel: any shape.

    Returns:
        Hz, same shape.
    """
    linear = mel * _LINEAR_STEP
    curved = _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, linear, curved)


@lru_cache(maxsize=32)
def slaney_filters(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:
    """Triangular filters on the slaney scale, each of unit area (slaney normalisation).

    Computed in float64. The result is cached and shared: do not write into it.

    Args:
        sample_rate: Hz.
        n_fft: transform length, samples.
        n_mels: number of bands.
        fmin: lower edge of the first band, Hz.
        fmax: upper edge of the last band, Hz; None is half the sample rate.

    Returns:
        ``[n_mels, n_fft // 2 + 1]`` float32 weights.
    """
    top = sample_rate / 2 if fmax is None else fmax
    # The device is named so that a model being built on the meta device cannot poison the cache.
    cpu, exact = torch.device("cpu"), torch.float64
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=exact, device=cpu)
    low, high = hz_to_mel(fmin), hz_to_mel(top)
    edges = mel_to_hz(torch.linspace(low, high, n_mels + 2, dtype=exact, device=cpu))
    widths = edges.diff()
    offsets = edges[:, None] - bins[None, :]
    rising = -offsets[:-2] / widths[:-1, None]
    falling = offsets[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    unit_area = 2.0 / (edges[2:] - edges[:-2])
    return (triangles * unit_area[:, None]).float()
