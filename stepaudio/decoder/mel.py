"""Waveform to log-mel: the front end of the flow decoder and of every vocoder.

Published system: magnitude, slaney filter bank, natural logarithm with a floor, on the frame grid
of :mod:`stepaudio.decoder.stft`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from stepaudio.decoder.stft import stft
from stepaudio.errors import SpecMismatchError
from stepaudio.mel_filters import slaney_filters
from stepaudio.types import MelSpec

__all__ = ["log_mel", "mel_filters", "mel_pieces", "require_mel"]

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


def log_mel(waveform: Tensor, spec: MelSpec) -> Tensor:
    """Natural-log mel spectrogram; differentiable.

    Args:
        waveform: ``[.., S]`` samples in [-1, 1] at ``spec.sample_rate``.
        spec: the front end.

    Returns:
        ``[.., C, T]`` with ``T = S // hop_length``.

    Raises:
        AudioError: the waveform is too short to be reflected at its ends.
        SpecMismatchError: the spec describes a frame grid this library does not use.
    """
    spectrum = stft(waveform, spec)
    power = spectrum.real.square() + spectrum.imag.square()
    magnitude = torch.sqrt(power + _POWER_FLOOR)
    filters = mel_filters(spec, magnitude.device, magnitude.dtype)
    return torch.log(torch.clamp(filters @ magnitude, min=spec.log_floor))


def require_mel(mel: Tensor, spec: MelSpec) -> None:
    """Refuse a mel that a vocoder cannot read.

    Args:
        mel: should be ``[B, C, T]``.
        spec: front end of the vocoder.

    Raises:
        SpecMismatchError: not three dimensions, another number of bins, or no frames.
    """
    if mel.dim() != 3 or mel.shape[1] != spec.n_mels:
        raise SpecMismatchError(
            f"this vocoder reads mel of shape [B, {spec.n_mels}, T], got {tuple(mel.shape)}; "
            "use the front end that its spec describes"
        )
    if not mel.shape[2]:
        raise SpecMismatchError(
            f"mel of shape {tuple(mel.shape)} has no frames; give a vocoder at least one"
        )


def mel_pieces(mels: Iterator[Tensor], spec: MelSpec) -> Iterator[Tensor]:
    """The pieces of a stream that a vocoder can read.

    Args:
        mels: should be ``[C, t]`` each.
        spec: front end of the vocoder.

    Yields:
        The same, without those of no frames, which say nothing.

    Raises:
        SpecMismatchError: a piece has other dimensions or another number of bins.
    """
    for piece in mels:
        if piece.dim() != 2 or piece.shape[0] != spec.n_mels:
            raise SpecMismatchError(
                f"this vocoder reads pieces of mel of shape [{spec.n_mels}, t], got "
                f"{tuple(piece.shape)}; use the front end that its spec describes"
            )
        if piece.shape[1]:
            yield piece
