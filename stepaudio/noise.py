"""Less noise in a recording, by a gain for every band of every frame.

No sound is made anew: what is left is the recording itself, quieter where it is noise. The noise is
tracked by the probability of speech (Gerkmann and Hendriks 2012, "Unbiased MMSE-based noise power
estimation with low complexity and low tracking delay"), the gain minimises the error of the
logarithmic amplitude (Ephraim and Malah 1985, eq. 20) with the a priori ratio told from the frame
before (Ephraim and Malah 1984, eq. 51).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import exp1

from stepaudio.audio import Audio

__all__ = ["suppress_noise"]

_Array = NDArray[np.float64]

#: Frames of 32 ms, four to each length.
_FRAME_SECONDS, _OVERLAP = 0.032, 4
# Frames squared at once: all of them would be several times as large as the recording.
_BLOCK = 1024
#: The noise begins as the mean of the quietest frames.
_QUIETEST = 0.1
#: A priori ratio of speech that is there (15 dB), and how fast noise and probability follow.
_PRESENT, _FOLLOW, _REMEMBER = 10**1.5, 0.8, 0.9
#: A probability that stays near 1 would keep the noise from ever being followed.
_STUCK = 0.99
#: Weight of the frame before in the a priori ratio, which is at least this.
_DIRECTED, _LEAST_RATIO = 0.98, 10**-2.5
#: Nothing becomes quieter than this: what is left of the noise hides its own artefacts.
LEAST_GAIN_DB = -12.0


def suppress_noise(audio: Audio) -> Audio:
    """The recording with less noise.

    Args:
        audio: of any rate and length.

    Returns:
        As many samples at the same rate.
    """
    samples = audio.samples.double().numpy()
    hop = max(1, round(_FRAME_SECONDS * audio.sample_rate / _OVERLAP))
    length = hop * _OVERLAP
    # Used before and after; squares of sines a quarter of a turn apart add up to _OVERLAP / 2.
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length)
    count = -(-len(samples) // hop) + _OVERLAP - 1
    padded = np.zeros((count - 1) * hop + length)
    padded[length - hop : length - hop + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    if not samples.any():
        return audio
    gains = _Gains(_quietest(frames, window))
    clean = np.zeros_like(padded)
    for number, frame in enumerate(frames):
        spectrum = np.fft.rfft(frame * window)
        heard = np.fft.irfft(spectrum * gains.next(np.abs(spectrum) ** 2), length)
        clean[number * hop : number * hop + length] += heard * window
    clean *= 2 / _OVERLAP
    kept = clean[length - hop :][: len(samples)]
    return Audio(torch.from_numpy(kept.astype(np.float32)), audio.sample_rate)


class _Gains:
    """The gain of one frame after the other.

    Args:
        noise: ``[F]`` power to begin with.
    """

    def __init__(self, noise: _Array) -> None:
        self._noise = noise
        self._likely = np.full_like(noise, 0.5)
        self._speech = np.zeros_like(noise)

    def next(self, power: _Array) -> _Array:
        """``[F]`` gains for a frame of ``power`` ``[F]``."""
        self._follow(power)
        after = power / self._noise
        before = _DIRECTED * self._speech / self._noise
        before += (1 - _DIRECTED) * np.maximum(after - 1, 0)
        before = np.maximum(before, _LEAST_RATIO)
        shrink = before / (1 + before)
        gain = shrink * np.exp(0.5 * exp1(np.maximum(shrink * after, 1e-8)))
        gains: _Array = np.clip(gain, 10 ** (LEAST_GAIN_DB / 20), 1.0)
        self._speech = gains**2 * power
        return gains

    def _follow(self, power: _Array) -> None:
        ratio = np.minimum(power / self._noise * _PRESENT / (1 + _PRESENT), 200.0)
        likely = 1 / (1 + (1 + _PRESENT) * np.exp(-ratio))
        self._likely = _REMEMBER * self._likely + (1 - _REMEMBER) * likely
        likely = np.where(self._likely > _STUCK, np.minimum(likely, _STUCK), likely)
        expected = likely * self._noise + (1 - likely) * power
        self._noise = np.maximum(_FOLLOW * self._noise + (1 - _FOLLOW) * expected, 1e-12)


def _quietest(frames: _Array, window: _Array) -> _Array:
    """``[F]`` mean power of the quietest frames that lie within the recording."""
    whole = frames[_OVERLAP - 1 : 1 - _OVERLAP]
    whole = whole if len(whole) else frames
    blocks = [whole[first : first + _BLOCK] for first in range(0, len(whole), _BLOCK)]
    order = np.argsort(np.concatenate([np.square(block).mean(axis=1) for block in blocks]))
    power = np.zeros(len(window) // 2 + 1)
    chosen = order[: max(1, round(_QUIETEST * len(whole)))]
    for number in chosen:
        power += np.abs(np.fft.rfft(whole[number] * window)) ** 2
    quietest: _Array = np.maximum(power / len(chosen), 1e-12)
    return quietest
