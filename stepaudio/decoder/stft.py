"""The short-time Fourier transform on the mel frame grid, and its exact inverse.

``T`` frames and ``T * hop`` samples belong together: frame ``t`` is centred on the middle of
samples ``[t * hop, (t + 1) * hop)``.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stepaudio.errors import AudioError, SpecMismatchError
from stepaudio.types import MelSpec

__all__ = ["istft", "overlap_add", "stft"]


@lru_cache(maxsize=32)
def _window(spec: MelSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(spec.win_length, device=device, dtype=dtype)


def _margin(spec: MelSpec) -> int:
    """Samples by which a frame reaches beyond its own hop, on each side."""
    if spec.center or spec.n_fft < spec.hop_length or (spec.n_fft - spec.hop_length) % 2:
        raise SpecMismatchError(
            f"cannot lay a frame grid for {spec}: center must be False and n_fft - hop_length "
            "even and not negative"
        )
    return (spec.n_fft - spec.hop_length) // 2


def stft(waveform: Tensor, spec: MelSpec) -> Tensor:
    """Complex spectrogram of a reflect-padded waveform; differentiable.

    Args:
        waveform: ``[.., S]`` samples at ``spec.sample_rate``.
        spec: transform sizes; a hann window of ``win_length``.

    Returns:
        ``[.., n_fft // 2 + 1, T]`` complex with ``T = S // hop_length``.

    Raises:
        AudioError: the waveform is too short to be reflected at its ends.
        SpecMismatchError: the spec is centred or has an odd margin.
    """
    margin = _margin(spec)
    samples = waveform.shape[-1]
    if samples <= margin:
        raise AudioError(
            f"a waveform of {samples} samples is too short for frames of {spec.n_fft} samples; "
            f"give at least {margin + 1}"
        )
    flat = waveform.reshape(-1, samples)
    padded = F.pad(flat[:, None], (margin, margin), mode="reflect")[:, 0]
    result = torch.stft(
        padded,
        spec.n_fft,
        hop_length=spec.hop_length,
        win_length=spec.win_length,
        window=_window(spec, flat.device, flat.dtype),
        center=False,
        return_complex=True,
    )
    return result.reshape(*waveform.shape[:-1], *result.shape[-2:])


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Sum frames laid ``hop_length`` samples apart.

    Frames are cut into hop-sized blocks and shifted copies are summed: on a CPU several times
    faster than ``torch.nn.functional.fold``, and deterministic on every device.

    Args:
        frames: ``[B, T, N]`` frames of ``N`` samples.
        hop_length: distance between frame starts, samples.

    Returns:
        ``[B, (T - 1) * hop_length + N]``.
    """
    batch, count, size = frames.shape
    blocks = -(-size // hop_length)
    cut = F.pad(frames, (0, blocks * hop_length - size)).view(batch, count, blocks, hop_length)
    total = F.pad(cut[:, :, 0], (0, 0, 0, blocks - 1))
    for i in range(1, blocks):
        total = total + F.pad(cut[:, :, i], (0, 0, i, blocks - 1 - i))
    return total.reshape(batch, -1)[:, : (count - 1) * hop_length + size]


def istft(spectrum: Tensor, spec: MelSpec) -> Tensor:
    """Least-squares inverse of :func:`stft`; differentiable.

    Args:
        spectrum: ``[B, n_fft // 2 + 1, T]`` complex.
        spec: transform sizes.

    Returns:
        ``[B, T * hop_length]`` samples.

    Raises:
        SpecMismatchError: the spec is centred or has an odd margin.
    """
    margin, count = _margin(spec), spectrum.shape[-1]
    inside = slice(margin, margin + count * spec.hop_length)
    window = _window(spec, spectrum.device, spectrum.real.dtype)
    side = spec.n_fft - spec.win_length
    window = F.pad(window, (side // 2, side - side // 2))
    frames = torch.fft.irfft(spectrum.mT, spec.n_fft) * window
    weight = overlap_add(window.square().expand(1, count, -1), spec.hop_length)
    total = overlap_add(frames, spec.hop_length)
    return total[:, inside] / weight[:, inside].clamp(min=1e-8)
