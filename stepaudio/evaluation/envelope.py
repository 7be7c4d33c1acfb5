"""By what factor the formants of a voice have moved: a smaller head sounds like a child's.

The long-term spectral envelopes of two recordings are compared on an axis of log frequency, where
another head size is a shift. What shifts tilt and level, such as effort or a microphone, is taken
out first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepaudio.evaluation.frames import RATE, framed

__all__ = ["formant_shift", "long_term_envelope"]

_N_FFT = 1024
# Spectral ripple finer than 1 / 2 ms = 500 Hz is the harmonics', not the head's.
_LIFTER_SECONDS = 0.002
# Formants live here; below is the melody, above is what telephones and codecs take away.
_LOWEST_HZ, _HIGHEST_HZ = 600.0, 6500.0
_STEPS_PER_OCTAVE = 96
_FARTHEST_OCTAVES = 0.5
_FEWEST_FRAMES = 20
# The shapes must resemble each other somewhere, or a shift says nothing.
_LEAST_CORRELATION = 0.5

Array = NDArray[np.float64]


def long_term_envelope(samples: Array, frames: NDArray[np.bool_]) -> Array | None:
    """Mean log envelope of chosen frames.

    Args:
        samples: ``[S]`` at 16 kHz.
        frames: ``[S // 160 + 1]`` which frames of 10 ms count.

    Returns:
        Envelope on an axis of log frequency, without its mean and tilt; None of under 0.2 s.
    """
    if frames.sum() < _FEWEST_FRAMES:
        return None
    chosen = framed(samples)[frames]
    power = np.square(np.abs(np.fft.rfft(chosen * np.hanning(chosen.shape[1] + 1)[:-1], _N_FFT)))
    cepstrum = np.fft.irfft(np.log(power + 1e-10 * power.max()).mean(0))
    keep = round(_LIFTER_SECONDS * RATE)
    # A raised cosine instead of an edge, which would ring.
    lifter = np.zeros(_N_FFT)
    lifter[:keep] = 0.5 + 0.5 * np.cos(np.pi * np.arange(keep) / keep)
    lifter[-keep + 1 :] = lifter[1:keep][::-1]
    smooth = np.fft.rfft(cepstrum * lifter).real
    octaves = np.arange(0, np.log2(_HIGHEST_HZ / _LOWEST_HZ), 1 / _STEPS_PER_OCTAVE)
    hertz = _LOWEST_HZ * 2**octaves
    shape = np.interp(hertz, np.arange(_N_FFT // 2 + 1) * RATE / _N_FFT, smooth)
    flat: Array = shape - np.polyval(np.polyfit(octaves, shape, 1), octaves)
    return flat


def formant_shift(before: Array | None, after: Array | None) -> float | None:
    """Factor on the formant frequencies.

    Args:
        before: long-term envelope.
        after: the same of the changed voice.

    Returns:
        Above 1 if the formants went up, between 0.71 and 1.41; None if there is an envelope
        missing, or the two have nothing in common.
    """
    if before is None or after is None:
        return None
    farthest = round(_FARTHEST_OCTAVES * _STEPS_PER_OCTAVE)
    lags = range(-farthest, farthest + 1)
    alike = np.array([_correlation(before, after, lag) for lag in lags])
    best = int(alike.argmax())
    if alike[best] < _LEAST_CORRELATION:
        return None
    lag = float(lags[best])
    if 0 < best < len(lags) - 1:
        left, here, right = alike[best - 1 : best + 2]
        lag += 0.5 * (left - right) / min(left - 2 * here + right, -1e-12)
    return float(2 ** (lag / _STEPS_PER_OCTAVE))


def _correlation(before: Array, after: Array, lag: int) -> float:
    """Of the parts that overlap when the second is moved down by ``lag`` steps."""
    a = before[: len(before) - lag] if lag >= 0 else before[-lag:]
    b = after[lag:] if lag >= 0 else after[:lag]
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / np.sqrt((a @ a) * (b @ b) + 1e-12))
