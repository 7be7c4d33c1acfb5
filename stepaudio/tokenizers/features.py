"""Kaldi-style filter-bank features, frame stacking and mean/variance normalisation.

The linguistic tokenizer reads them at a low frame rate (published system, section 3); the speaker
encoder reads plain filter banks (section 6.5).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stepaudio.errors import CheckpointError

__all__ = ["apply_cmvn", "fbank_frames", "kaldi_fbank", "low_frame_rate", "read_cmvn"]

FRAME_SECONDS = 0.025
SHIFT_SECONDS = 0.010
PREEMPHASIS = 0.97
ENERGY_FLOOR = 1.1920929e-07  # float32 epsilon

FloatArray = npt.NDArray[np.float64]
WindowName = Literal["hamming", "povey"]


def fbank_frames(num_samples: int, sample_rate: int = 16000) -> int:
    """Number of filter-bank frames: only whole 25 ms windows, every 10 ms.

    Args:
        num_samples: length of the waveform.
        sample_rate: Hz.

    Returns:
        Frames; 0 when there is not one whole window.
    """
    size, shift = _frame_sizes(sample_rate)
    return 0 if num_samples < size else 1 + (num_samples - size) // shift


def kaldi_fbank(
    waveform: Tensor,
    *,
    sample_rate: int = 16000,
    n_mels: int = 80,
    window: WindowName = "hamming",
    scale: float = 1.0,
    low_freq: float = 20.0,
    high_freq: float | None = None,
) -> Tensor:
    """Log-mel filter banks in the manner of Kaldi, without dither.

    Each 25 ms frame: remove the mean, pre-emphasise by 0.97, window, power spectrum over the next
    power of two (512 at 16 kHz), triangles on the scale ``1127 ln(1 + f / 700)``, natural
    logarithm floored at the float32 epsilon.

    Args:
        waveform: ``[..., S]`` samples.
        sample_rate: Hz.
        n_mels: number of triangles.
        window: ``"hamming"``, or ``"povey"`` (a Hann window to the power 0.85).
        scale: factor on the samples; the linguistic tokenizer uses 32768, the speaker encoder 1.
        low_freq: lower edge of the first triangle, Hz.
        high_freq: upper edge of the last triangle, Hz; None is half the sample rate.

    Returns:
        ``[..., T, n_mels]`` with ``T = fbank_frames(S)``.
    """
    size, shift = _frame_sizes(sample_rate)
    n_fft = 1 << (size - 1).bit_length()
    if waveform.shape[-1] < size:
        return waveform.new_zeros(*waveform.shape[:-1], 0, n_mels)
    frames = waveform.unfold(-1, size, shift)
    frames = frames - frames.mean(-1, keepdim=True)
    # The first sample has no predecessor and stands in for it.
    previous = F.pad(frames.flatten(0, -2), (1, -1), mode="replicate").view_as(frames)
    taper = torch.from_numpy(scale * _window(window, size)).to(frames)
    spectrum = torch.fft.rfft((frames - PREEMPHASIS * previous) * taper, n_fft)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = _mel_bank(sample_rate, n_fft, n_mels, low_freq, high_freq or sample_rate / 2)
    energy: Tensor = power @ torch.from_numpy(bank).to(power)
    return energy.clamp_min(ENERGY_FLOOR).log()


def low_frame_rate(frames: Tensor, stack: int = 7, skip: int = 6) -> Tensor:
    """Stack neighbouring frames and keep every ``skip``-th stack.

    Output frame ``i`` holds input frames ``i * skip - (stack - 1) // 2`` and the ``stack - 1``
    after it; before the beginning and after the end the first and the last frame are repeated.

    Args:
        frames: ``[..., T, C]``.
        stack: frames per output frame.
        skip: input frames per output frame.

    Returns:
        ``[..., ceil(T / skip), stack * C]``.
    """
    length = frames.shape[-2]
    starts = torch.arange(0, length, skip, device=frames.device)
    offsets = torch.arange(stack, device=frames.device) - (stack - 1) // 2
    index = (starts[:, None] + offsets).clamp(0, max(length - 1, 0))
    return frames[..., index, :].flatten(-2)


def apply_cmvn(frames: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise with fixed statistics: ``(frames + shift) * scale``.

    Args:
        frames: ``[..., C]``.
        shift: ``[C]``, minus the mean.
        scale: ``[C]``, one over the standard deviation.

    Returns:
        ``[..., C]``.
    """
    return (frames + shift) * scale


def read_cmvn(path: str | Path) -> tuple[Tensor, Tensor]:
    """Read the mean/variance file of the published linguistic tokenizer (``am.mvn``).

    It is the text of a small Kaldi network; the vectors stand in brackets after ``<AddShift>``
    and ``<Rescale>``.

    Args:
        path: the file.

    Returns:
        ``shift`` and ``scale``, ``[C]`` float32 each.

    Raises:
        CheckpointError: the file is missing or does not hold two vectors of one length.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as a mean/variance file: {error}") from error
    vectors = []
    for tag in ("<AddShift>", "<Rescale>"):
        found = re.search(re.escape(tag) + r"[^\[]*\[([^\]]*)\]", text)
        try:
            values = [float(x) for x in found.group(1).split()] if found else []
        except ValueError as error:
            raise CheckpointError(f"{path}: {tag} holds something not a number") from error
        if not values:
            raise CheckpointError(f"{path}: no vector after {tag}; is this an am.mvn file?")
        vectors.append(torch.tensor(values))
    shift, scale = vectors
    if len(shift) != len(scale):
        raise CheckpointError(f"{path}: shift has {len(shift)} values but scale {len(scale)}")
    return shift, scale


def _frame_sizes(sample_rate: int) -> tuple[int, int]:
    return int(sample_rate * FRAME_SECONDS), int(sample_rate * SHIFT_SECONDS)


# Constants are kept as numpy arrays: a tensor first made in inference mode could never be trained
# through afterwards.
@lru_cache(maxsize=8)
def _window(name: WindowName, size: int) -> FloatArray:
    cosine = np.cos(2 * np.pi * np.arange(size) / (size - 1))
    taper = 0.54 - 0.46 * cosine if name == "hamming" else (0.5 - 0.5 * cosine) ** 0.85
    return np.asarray(taper)


@lru_cache(maxsize=8)
def _mel_bank(sample_rate: int, n_fft: int, n_mels: int, low: float, high: float) -> FloatArray:
    """``[n_fft // 2 + 1, n_mels]`` triangles that are straight on the mel scale, not in Hz."""
    lowest, highest = 1127.0 * np.log1p(np.array([low, high]) / 700.0)
    step = (highest - lowest) / (n_mels + 1)
    peaks = lowest + step * np.arange(1, n_mels + 1)
    bins = 1127.0 * np.log1p(np.arange(n_fft // 2 + 1) * sample_rate / n_fft / 700.0)
    bank: FloatArray = np.maximum(1 - np.abs(bins[:, None] - peaks) / step, 0)
    bank[-1] = 0  # Kaldi leaves out the bin at half the sample rate
    return bank
