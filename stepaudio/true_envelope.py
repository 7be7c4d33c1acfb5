"""What the vocal tract adds to a spectrum: a smooth curve over the tops of its harmonics.

The true envelope (Imai and Abe 1979; Röbel and Rodet 2005, "Efficient spectral envelope estimation
and its application to pitch shifting and envelope preservation"): the cepstrum is cut off where
harmonics begin, and what lies below the curve is raised to it, until the curve rests on their tops.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["true_envelope"]

# With more of them the curve still rises by a decibel or two, but no longer changes its shape.
_ROUNDS = 12


def true_envelope(levels: Tensor, order: int) -> Tensor:
    """Smooth curves over spectra.

    Args:
        levels: ``[T, F]`` logarithms of magnitudes, from 0 Hz to half of the sampling rate.
        order: cepstral coefficients kept; below the period of the voice in samples.

    Returns:
        ``[T, F]``.
    """
    length = 2 * (levels.shape[1] - 1)
    raised, smooth = levels, levels
    for _ in range(_ROUNDS):
        cepstrum = torch.fft.irfft(raised, n=length)
        cepstrum[:, order : length - order + 1] = 0
        smooth = torch.fft.rfft(cepstrum, n=length).real
        raised = torch.maximum(levels, smooth)
    return smooth
