"""What happens to a recording before it is tokenized (published system, section 5, branch B).

Peak limit at the file's own rate, windowed-sinc resampling to 16 kHz, energy normalisation, then
silence trimming that leaves 50 ms before and about 220 ms after the speech.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stepaudio.errors import AudioError

__all__ = [
    "LEAD",
    "TOKEN_RATE",
    "limit_peak",
    "normalize_energy",
    "prepare_for_tokens",
    "require_channel",
    "resample",
    "sound_bounds",
    "trim_silence",
]

#: Rate at which both tokenizers read, Hz.
TOKEN_RATE = 16000
#: Silence kept before the sound, samples at that rate (50 ms).
LEAD = 800

# Loudness frames of 32 ms every 8 ms; sound is what lies within 20 dB of the loudest.
_FRAME, _HOP, _TOP_DB = 512, 128, 20.0
_POWER_FLOOR = 1e-10
# The trimmed length is counted in blocks of 15 ms, so it does not follow every sample of the
# bounds; 270 ms are added to it, 50 of them before the sound.
_BLOCK, _EXTRA = 240, 4320

# Resampling filter: a sinc cut at 99 % of the lower Nyquist rate after six zero crossings.
_ROLLOFF, _CROSSINGS = 0.99, 6
# Products computed at once, to bound memory.
_PRODUCTS = 1 << 23


def prepare_for_tokens(waveform: Tensor, sample_rate: int, *, trim: bool = True) -> Tensor:
    """Everything the published system does before tokenizing.

    Args:
        waveform: ``[S]`` float, mono.
        sample_rate: Hz. The published code fails below 16 kHz; any rate works here.
        trim: drop silence at both ends; without it sample 0 stays sample 0.

    Returns:
        ``[S']`` at 16 kHz.

    Raises:
        AudioError: not one-dimensional or empty.
    """
    out = normalize_energy(resample(limit_peak(waveform), sample_rate, TOKEN_RATE))
    return trim_silence(out) if trim else out


def limit_peak(waveform: Tensor, peak: float = 0.6) -> Tensor:
    """Scale down to a peak, never up.

    Args:
        waveform: ``[S]`` float.
        peak: largest magnitude allowed.

    Returns:
        ``[S]``; the input itself if it is within the limit.

    Raises:
        AudioError: not one-dimensional or empty.
    """
    found = _peak(waveform)
    return waveform / found * peak if float(found) > peak else waveform


def normalize_energy(waveform: Tensor) -> Tensor:
    """Scale to a peak of 0.999; recordings with a peak below 0.01 are amplified 99.9 times.

    Args:
        waveform: ``[S]`` float.

    Returns:
        ``[S]``.

    Raises:
        AudioError: not one-dimensional or empty.
    """
    return waveform / _peak(waveform).clamp(min=0.01) * 0.999


def sound_bounds(waveform: Tensor) -> tuple[int, int]:
    """Where the sound is: frames within 20 dB of the loudest one.

    The semantics of ``librosa.effects.trim`` with frames of 512 and hops of 128 samples, centred,
    zero-padded at the ends.

    Args:
        waveform: ``[S]`` float.

    Returns:
        First sample and one past the last, multiples of 128 except at the end of the recording.

    Raises:
        AudioError: not one-dimensional or empty.
    """
    _peak(waveform)
    padded = F.pad(waveform.double().square(), (_FRAME // 2, _FRAME // 2))
    power = padded.unfold(0, _FRAME, _HOP).mean(-1).clamp(min=_POWER_FLOOR)
    level = 10.0 * (power / power.max()).log10()
    loud = (level > -_TOP_DB).nonzero()
    return int(loud[0]) * _HOP, min(len(waveform), (int(loud[-1]) + 1) * _HOP)


def trim_silence(waveform: Tensor) -> Tensor:
    """Keep the sound, 50 ms before it and 205 to 220 ms after it.

    Zeros stand where the recording does not reach so far.

    Args:
        waveform: ``[S]`` float at 16 kHz.

    Returns:
        ``[240 n + 4320]``, ``n`` the sound's length in started blocks of 15 ms.

    Raises:
        AudioError: not one-dimensional or empty.
    """
    start, end = sound_bounds(waveform)
    length = math.ceil((end - start) / _BLOCK) * _BLOCK + _EXTRA
    # Negative padding crops, so one call does both at both ends.
    first = start - LEAD
    return F.pad(waveform, (-first, first + length - len(waveform)))


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Change the rate with a Hann-windowed sinc (torchaudio's default filter).

    Differentiable. Memory does not grow with the size of the rate pair's greatest common divisor,
    so odd rates such as 44,099 Hz are fine.

    Args:
        waveform: ``[S]`` float.
        from_rate: Hz.
        to_rate: Hz.

    Returns:
        ``[ceil(S * to_rate / from_rate)]``; the input itself if the rates are equal.

    Raises:
        AudioError: not one-dimensional or empty.
    """
    _peak(waveform)
    common = math.gcd(from_rate, to_rate)
    step, phases = from_rate // common, to_rate // common
    if step == phases:
        return waveform
    kernel = _sinc_kernel(step, phases).to(waveform)
    taps = kernel.shape[1]
    length = math.ceil(len(waveform) * phases / step)
    # Output n lies between inputs floor(n step / phases) and the next one.
    reach = taps // 2
    padded = F.pad(waveform, (reach - 1, reach))
    windows = padded.unfold(0, taps, 1)
    blocks = []
    for start in range(0, length, _PRODUCTS // taps):
        index = torch.arange(start, min(start + _PRODUCTS // taps, length), device=waveform.device)
        weights = kernel[index % phases]
        blocks.append((windows[index * step // phases] * weights).sum(-1))
    return torch.cat(blocks)


def require_channel(waveform: Tensor, reader: str) -> None:
    """Refuse what is no waveform.

    Args:
        waveform: should be ``[S]`` of a floating type; may be empty.
        reader: who reads it, for the error.

    Raises:
        AudioError: not one channel, or not floating-point samples.
    """
    if waveform.dim() != 1 or not waveform.is_floating_point():
        raise AudioError(
            f"{reader} reads one channel of floating-point samples [S], "
            f"got {waveform.dtype} with shape {tuple(waveform.shape)}"
        )


@lru_cache(maxsize=32)
def _sinc_kernel(step: int, phases: int) -> Tensor:
    """Weights ``[phases, taps]`` of the inputs around each output phase."""
    # Sinc zero crossings per input sample: the lower of the two rates sets the cutoff.
    cutoff = min(step, phases) * _ROLLOFF / step
    reach = math.ceil(_CROSSINGS / cutoff) + 1
    fraction = (torch.arange(phases) * step % phases).double() / phases
    offsets = torch.arange(1 - reach, reach + 1, dtype=torch.float64)
    t = ((offsets[None, :] - fraction[:, None]) * cutoff).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(t * (math.pi / (2 * _CROSSINGS))).square()
    return torch.sinc(t) * window * cutoff


def _peak(waveform: Tensor) -> Tensor:
    if waveform.dim() != 1 or not waveform.numel():
        raise AudioError(
            f"expected one channel of at least one sample, got shape {tuple(waveform.shape)}"
        )
    return waveform.abs().max()
