"""Recordings made worse on purpose: noise at a known ratio, silence between the words.

What denoising and silence trimming have to undo, made so that it is known how much was done.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, loud_frames, signal

__all__ = ["as_audio", "loudness", "pauses", "with_noise", "with_silence"]

# A pause between words, and how much of a recording lies before and after it at least, seconds.
_PAUSE, _MARGIN = 0.06, 0.6
_PEAK = 0.98
# The hiss of a pause that was put in has the level of the recording's quietest frames.
_QUIET_PERCENTILE = 5


def loudness(samples: NDArray[np.float64]) -> float:
    """Mean power of the loud frames.

    Args:
        samples: ``[S]`` at 16 kHz, see :func:`~stepaudio.evaluation.frames.signal`.

    Returns:
        dB re a full-scale square wave.
    """
    levels = frame_levels(samples)
    loud = levels[loud_frames(levels)]
    return float(10 * np.log10(np.mean(10 ** (loud / 10)))) if len(loud) else float(levels.max())


def pauses(audio: Audio) -> list[float]:
    """Where words part.

    Args:
        audio: speech.

    Returns:
        Middles of its pauses in seconds, not too near to either end; without any the quietest spot.
    """
    levels = frame_levels(signal(audio))
    margin = min(round(_MARGIN * RATE / HOP), len(levels) // 3)
    quiet = ~loud_frames(levels)
    quiet[:margin], quiet[len(quiet) - margin :] = False, False
    edges = np.flatnonzero(np.diff(np.r_[False, quiet, False]))
    runs = [(a, b) for a, b in edges.reshape(-1, 2) if (b - a) * HOP / RATE >= _PAUSE]
    if not runs:
        inner = np.convolve(levels, np.ones(5) / 5, "same")[margin : len(levels) - margin]
        spot = margin + int(inner.argmin())
        runs = [(spot, spot)]
    return [float((a + b) / 2 * HOP / RATE) for a, b in runs]


def with_noise(speech: Audio, noise: Audio, snr_db: float, rng: np.random.Generator) -> Audio:
    """Speech before a background.

    Args:
        speech: of any rate.
        noise: of any rate and length; it is repeated from a random place.
        snr_db: power of the loud frames of the speech over the mean power of the noise.
        rng: chooses the place.

    Returns:
        Both at 16 kHz.
    """
    voice, background = signal(speech), signal(noise)
    background = np.resize(np.roll(background, int(rng.integers(len(background)))), len(voice))
    power = 10 * np.log10(np.mean(background**2) + 1e-12)
    return as_audio(voice + background * 10 ** ((loudness(voice) - snr_db - power) / 20))


def with_silence(
    speech: Audio, inside: Sequence[float], ends: tuple[float, float], rng: np.random.Generator
) -> Audio:
    """Speech with long pauses.

    Args:
        speech: of any rate.
        inside: lengths of the pauses put between words, seconds; fewer if words part less often.
        ends: lengths of the silence before and after, seconds.
        rng: chooses the pauses that grow, and draws the hiss in them.

    Returns:
        The recording at 16 kHz.
    """
    samples = signal(speech)
    level = float(np.percentile(frame_levels(samples), _QUIET_PERCENTILE))

    def quiet(seconds: float) -> NDArray[np.float64]:
        return rng.standard_normal(round(seconds * RATE)) * 10 ** (level / 20)

    places = pauses(speech)
    chosen = rng.permutation(len(places))[: len(inside)]
    parts, start = [quiet(ends[0])], 0
    for place, seconds in sorted((places[i], inside[n]) for n, i in enumerate(chosen)):
        end = round(place * RATE)
        parts += [samples[start:end], quiet(seconds)]
        start = end
    return as_audio(np.concatenate([*parts, samples[start:], quiet(ends[1])]))


def as_audio(samples: NDArray[np.float64]) -> Audio:
    """Samples at 16 kHz as a recording, made quieter if they would clip."""
    scale = min(1.0, _PEAK / max(1e-9, float(np.abs(samples).max())))
    return Audio(torch.from_numpy((samples * scale).astype(np.float32)), RATE)
