"""Find the beginning and the speed of the built-in watermark in sound that may have been changed.

The sound is whitened in cells of time and frequency, so that speech, which is strong where it is
strong, weighs no more than the mark under it. Then the sync pattern is correlated with it: at
unchanged speed over all its length at once, at other speeds first in blocks of a quarter second,
whose correlations are added as energies, and then exactly around the best of these.

A correlation is given in standard deviations of what it is where no mark is: the pattern is
random and speech does not know it, whatever else it does.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.safety.watermark_pattern import (
    BAND_HZ,
    BANDS,
    FIRST_BAND,
    FRAME_RATE,
    FRAMES,
    make_pattern,
    sine_window,
)

__all__ = ["HOP", "PERIOD", "RATE", "Alignment", "align", "align_at_any_speed", "played", "whiten"]

#: Rate at which the mark is looked for, Hz; its highest band lies at 5 kHz.
RATE = 12000

#: Samples between frames, and of the whole pattern, at that rate.
HOP = RATE // FRAME_RATE
PERIOD = HOP * FRAMES

_FRAME = RATE // BAND_HZ

# Whitening looks at 40 ms, so that the harmonics of a voice part and the mark shows between them.
_WHITE_FRAME = 2 * _FRAME
_WHITE_AROUND = 13

# Speeds looked at, and the step between them: over one block of the coarse search the highest of
# its tones slips by at most a quarter of a period to either side.
_SLOWEST, _FASTEST = 0.94, 1.06
_BLOCK_SECONDS = 0.25
_COARSE_TOP = 2500
_COARSE_RATE = 6000
_COARSE_STEP = 0.5 / (_BLOCK_SECONDS * _COARSE_TOP)
_COARSE_POINTS = 4000  # offsets looked at in a period: enough for the envelope of these tones

# Seconds of sound that the coarse and the fine search look at, and guesses handed on between them.
_COARSE_SECONDS = 6.0
_FINE_SECONDS = 3.0
_GUESSES = 8

# Samples are interpolated linearly between so many times as many; off by a hundredth at 5 kHz.
_DENSER = 4


@dataclass(frozen=True)
class Alignment:
    """Where the pattern lies in a whitened recording.

    Attributes:
        score: of the sync pattern, in standard deviations.
        offset: sample of the pattern, at :data:`RATE`, that falls on the first sample.
        turn: complex of magnitude 1 that undoes the mean phase shift of all tones; telephone
            filters and codecs shift it, and some turn it by half a circle.
        speed: at which the marked sound is played.
    """

    score: float
    offset: float
    turn: complex
    speed: float


def whiten(audio: Audio) -> NDArray[np.float64]:
    """Sound in which every cell of time and frequency is about as loud as any other.

    Args:
        audio: any recording.

    Returns:
        ``[S]`` at :data:`RATE`, of the bands of the pattern only; zero where there is silence.
    """
    # SciPy is imported where a mark is looked for: making sound does not wait for it.
    from scipy.ndimage import uniform_filter1d

    sound = soxr.resample(audio.samples.numpy().astype(np.float64), audio.sample_rate, RATE)
    hop = _WHITE_FRAME // 2
    frames = -(-len(sound) // hop) + 1
    padded = np.zeros((frames + 1) * hop)
    padded[hop : hop + len(sound)] = sound
    window = sine_window(_WHITE_FRAME)
    cut = np.lib.stride_tricks.sliding_window_view(padded, _WHITE_FRAME)[::hop]
    spectrum = np.fft.rfft(cut * window, axis=1)
    magnitude = np.abs(spectrum)
    around = uniform_filter1d(magnitude, _WHITE_AROUND, axis=1)
    # Bands and pauses with next to nothing in them, 40 dB down, shall not count as much as others.
    floor = 1e-2 * float(np.sqrt(np.mean(magnitude**2))) + 1e-12
    spectrum /= magnitude + 0.1 * around + floor
    low, high = FIRST_BAND * BAND_HZ, (FIRST_BAND + BANDS) * BAND_HZ
    tones = np.arange(spectrum.shape[1]) * RATE / _WHITE_FRAME
    spectrum[:, (tones < low * _SLOWEST) | (tones > high * _FASTEST)] = 0
    pieces = np.fft.irfft(spectrum, _WHITE_FRAME, axis=1) * window
    white = np.zeros_like(padded)
    white[: frames * hop] += pieces[:, :hop].ravel()
    white[hop:] += pieces[:, hop:].ravel()
    # Something to look at is needed even of a single sample.
    return white[hop : hop + max(len(sound), hop)]


def align(white: NDArray[np.float64], key: str, speed: float = 1.0) -> Alignment:
    """The best place of the pattern, given its speed.

    Args:
        white: ``[S]`` of :func:`whiten`, played back at the original speed.
        key: of the pattern.
        speed: to be noted.

    Returns:
        The alignment, whatever its score.
    """
    return _best(_matches(_folded(white), _sync_spectrum(key), dense=2), speed)


def align_at_any_speed(white: NDArray[np.float64], key: str) -> Alignment:
    """The best place and speed of the pattern, judged by the liveliest seconds.

    Args:
        white: ``[S]`` of :func:`whiten`.
        key: of the pattern.

    Returns:
        The alignment of these seconds, whatever its score.
    """
    guesses, reach = _coarse(_liveliest(white, _COARSE_SECONDS), key)
    part = _liveliest(white, _FINE_SECONDS)
    dense = _denser(part).astype(np.float32)
    # Fine enough that both ends of the part slip by an eighth of a period of the highest tone.
    step = 0.25 / (_FINE_SECONDS * (FIRST_BAND + BANDS) * BAND_HZ)
    fine = np.arange(-reach, reach + step, step)
    pattern = _sync_spectrum(key).astype(np.complex64)
    tried = (
        _best(_matches(_folded(_at_rate(dense, float(speed), RATE)), pattern), float(speed))
        for speed in (guesses[:, None] + fine).ravel()
    )
    return max(tried, key=lambda one: one.score)


def played(white: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    """Undo a change of speed.

    Args:
        white: ``[S]`` played too fast by this factor.
        speed: the factor.

    Returns:
        ``[S * speed]`` as it was before.
    """
    return white if speed == 1.0 else _at_rate(_denser(white), speed, RATE)


@functools.lru_cache(maxsize=4)
def _sync_spectrum(key: str) -> NDArray[np.complex128]:
    """Spectrum of one period of the sync pattern, at :data:`RATE`."""
    spectra = np.zeros((FRAMES, _FRAME // 2 + 1), dtype=np.complex128)
    spectra[:, FIRST_BAND : FIRST_BAND + BANDS] = make_pattern(key).sync()
    frames = np.fft.irfft(spectra, _FRAME, axis=1) * sine_window(_FRAME)
    # Frame i is centred on sample i * HOP of the period, which closes on itself.
    wave = np.roll(frames[:, :HOP], -1, axis=0).ravel() + frames[:, HOP:].ravel()
    return np.fft.rfft(wave)


def _coarse(white: NDArray[np.float64], key: str) -> tuple[NDArray[np.float64], float]:
    """The most likely speeds, from tones below 2.5 kHz, and how far off they may be."""
    period = _COARSE_RATE * FRAMES // FRAME_RATE
    from scipy import fft

    # From here on single precision is enough, and twice as fast.
    pattern = _sync_spectrum(key)[: _COARSE_TOP * FRAMES // FRAME_RATE].astype(np.complex64)
    dense = _denser(white, top=_COARSE_TOP * _FASTEST).astype(np.float32)
    block = round(_BLOCK_SECONDS * _COARSE_RATE)
    turns = period // block
    speeds = np.arange(_SLOWEST, _FASTEST + _COARSE_STEP / 2, _COARSE_STEP)
    # Between two of these speeds, blocks far apart drift: so many ways to drift are told apart.
    slip = _COARSE_STEP * len(white) / RATE * _COARSE_POINTS
    drifts = (np.arange(count := max(1, math.ceil(slip / 2))) + 0.5) / count - 0.5
    drifts *= _COARSE_STEP
    rows = max(1, math.ceil(len(white) / RATE * _FASTEST)) * turns
    slips = np.rint(drifts[:, None] * np.arange(rows) * _BLOCK_SECONDS * _COARSE_POINTS)
    offsets = np.arange(_COARSE_POINTS)
    at = (offsets + slips[..., None]).astype(np.intp) % _COARSE_POINTS
    at += np.arange(rows)[:, None] * _COARSE_POINTS
    heights = np.zeros((len(speeds), count))
    for number, speed in enumerate(speeds):
        sound = _at_rate(dense, float(speed), _COARSE_RATE)[: rows * block]
        sound = np.pad(sound, (0, rows * block - len(sound))).reshape(-1, turns, block)
        # Each block stays at its place in the period, so that all have the same offset.
        placed = np.zeros((len(sound), turns, turns, block), dtype=np.float32)
        placed[:, np.arange(turns), np.arange(turns)] = sound
        spectra = fft.rfft(placed.reshape(-1, period), axis=1)[:, : len(pattern)]
        matches = fft.ifft(np.conj(spectra) * pattern, _COARSE_POINTS, axis=1)
        energy = matches.real**2 + matches.imag**2
        energy /= np.maximum(energy.mean(axis=1, keepdims=True), 1e-30)
        heights[number] = [energy.ravel()[way].sum(axis=0).max() for way in at]
    best = np.argsort(heights, axis=None)[-_GUESSES:]
    return (speeds[:, None] * (1 + drifts)).ravel()[best], _COARSE_STEP / 2 / count


def _folded(white: NDArray[Any]) -> NDArray[Any]:
    """``[PERIOD]`` the periods of a recording, added up."""
    return np.asarray(np.pad(white, (0, -len(white) % PERIOD)).reshape(-1, PERIOD).sum(axis=0))


def _matches(folded: NDArray[Any], pattern: NDArray[Any], dense: int = 1) -> NDArray[Any]:
    """Analytic correlation with the pattern begun at each place, normalised.

    Args:
        folded: ``[PERIOD]``.
        pattern: its spectrum.
        dense: places per sample.

    Returns:
        ``[dense * PERIOD]`` complex; real and imaginary part of what no mark causes have a
        variance of 1.
    """
    from scipy import fft

    spectrum = np.conj(fft.rfft(folded)) * pattern
    # Of one sign only, frequencies give the correlation and its quadrature at once.
    matches = fft.ifft(spectrum, dense * PERIOD)
    spread = math.sqrt(float(np.mean(matches.real**2 + matches.imag**2)) / 2)
    return np.asarray(matches / max(spread, 1e-30))


def _best(matches: NDArray[Any], speed: float) -> Alignment:
    height = np.abs(matches)
    best = int(height.argmax())
    score = float(height[best])
    turn = complex(matches[best]) / score if score else 1.0 + 0.0j
    return Alignment(score, best * PERIOD / len(matches), turn, speed)


def _liveliest(white: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """The stretch of a recording with the most in it."""
    length = round(seconds * RATE)
    if len(white) <= length:
        return white
    energy = np.cumsum(white**2)
    start = int((energy[length:] - energy[:-length]).argmax())
    return white[start : start + length]


def _denser(white: NDArray[np.float64], top: float | None = None) -> NDArray[np.float64]:
    """More samples for the same sound, and one to lean on at the end."""
    spectrum = np.fft.rfft(white)
    if top is not None:
        spectrum[int(top * len(white) / RATE) :] = 0
    return np.append(_DENSER * np.fft.irfft(spectrum, _DENSER * len(white)), 0.0)


def _at_rate(dense: NDArray[Any], speed: float, rate: int) -> NDArray[Any]:
    """Sound of :func:`_denser`, slowed down by a factor, at a rate."""
    step = _DENSER * RATE / (rate * speed)
    at = np.arange(int((len(dense) - 1) / step)) * step
    whole = at.astype(np.intp)
    part = (at - whole).astype(dense.dtype)
    return np.asarray(dense[whole] * (1 - part) + dense[whole + 1] * part)
