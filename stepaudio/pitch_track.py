"""The melody of a voice, by normalised autocorrelation (Boersma 1993).

Good enough to see it in a picture, to bend it (:mod:`stepaudio.manner`) and to compare recordings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stepaudio.audio import Audio

__all__ = [
    "HIGHEST_HZ",
    "LOWEST_HZ",
    "TRACK_HOP",
    "TRACK_RATE",
    "TRACK_WINDOW",
    "centred_frames",
    "track_pitch",
]

#: Sampling rate, samples of a frame and distance of frames.
TRACK_RATE, TRACK_WINDOW, TRACK_HOP = 16000, 1024, 160
#: Where it looks; above the hum of either mains frequency.
LOWEST_HZ, HIGHEST_HZ = 65.0, 500.0
# Voiced: this periodic, and at most so much quieter than the loudest frame.
_PERIODICITY = 0.5
_QUIET_DB = 35.0
# How much a candidate must gain to be preferred over one an octave above it.
_OCTAVE_COST = 0.03
# Frames at a time: those of an hour, with their spectra, would take twenty gigabytes.
_BLOCK = 4096


def track_pitch(audio: Audio, *, hop: int = TRACK_HOP) -> Tensor:
    """Fundamental frequency.

    Args:
        audio: a recording of any rate.
        hop: distance of the frames in samples at 16 kHz.

    Returns:
        ``[T]`` Hz between 65 and 500, NaN where there is no voice; frame ``t`` is centred at
        ``t * hop / 16000`` s and ``T = S // hop + 1`` for ``S`` samples at 16 kHz.
    """
    frames = centred_frames(audio, hop)
    blocks = [_lags(frames[start : start + _BLOCK]) for start in range(0, len(frames), _BLOCK)]
    lag, strength, power = (torch.cat(values) for values in zip(*blocks, strict=True))
    loud = 10 * torch.log10(power / power.max().clamp(min=1e-12) + 1e-12) > -_QUIET_DB
    voiced = (strength > _PERIODICITY) & loud
    return torch.where(voiced, TRACK_RATE / lag, torch.full_like(lag, torch.nan)).float()


def _lags(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Period in samples ``[T]``, how periodic ``[T]``, and power ``[T]`` of frames ``[T, N]``."""
    frames = frames - frames.mean(-1, keepdim=True)
    window = torch.hann_window(TRACK_WINDOW, dtype=frames.dtype)
    shortest, longest = int(TRACK_RATE / HIGHEST_HZ), math.ceil(TRACK_RATE / LOWEST_HZ)
    # Dividing by the window's own autocorrelation undoes its taper.
    correlation = _autocorrelation(frames * window, longest + 2)
    taper = _autocorrelation(window[None], longest + 2)
    correlation = correlation / correlation[:, :1].clamp(min=1e-12) / (taper / taper[:, :1])

    lags = torch.arange(shortest, longest + 1)
    here = correlation[:, lags]
    left, right = correlation[:, lags - 1], correlation[:, lags + 1]
    is_peak = (here >= left) & (here > right)
    score = here - _OCTAVE_COST * (lags / shortest).log2()
    best = score.masked_fill(~is_peak, -math.inf).argmax(-1, keepdim=True)
    low, mid, high = (values.gather(1, best)[:, 0] for values in (left, here, right))
    # A parabola through the peak and its neighbours finds the lag between two samples.
    bend = (low - 2 * mid + high).clamp(max=-1e-9)
    lag = lags[best[:, 0]] + 0.5 * (low - high) / bend
    return lag, mid.masked_fill(~is_peak.any(-1), 0), frames.square().mean(-1)


def centred_frames(audio: Audio, hop: int) -> Tensor:
    """Cut a recording into frames, each around its place in time.

    Args:
        audio: of any rate.
        hop: distance of the frames in samples at 16 kHz.

    Returns:
        ``[S // hop + 1, 1024]`` at 16 kHz in double precision, zeros outside the recording.
    """
    samples = audio.resample(TRACK_RATE).samples.double()
    half = TRACK_WINDOW // 2
    return torch.nn.functional.pad(samples, (half, half)).unfold(0, TRACK_WINDOW, hop)


def _autocorrelation(frames: Tensor, lags: int) -> Tensor:
    """``[T, lags]``, by the power spectrum of zero-padded frames."""
    spectrum = torch.fft.rfft(frames, 2 * TRACK_WINDOW)
    power = spectrum.real.square() + spectrum.imag.square()
    correlation: Tensor = torch.fft.irfft(power, 2 * TRACK_WINDOW)
    return correlation[:, :lags]
