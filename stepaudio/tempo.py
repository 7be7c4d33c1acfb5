"""Another tempo at the same pitch, for speed pairs (EditX, section on extensions: SoX tempo).

WSOLA (Verhelst and Roelands 1993): pieces of the recording are laid over one another at another
distance, each taken from where it continues the piece before it best.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.errors import AudioError

__all__ = ["LARGEST_TEMPO", "change_tempo"]

#: Beyond this factor, and below its inverse, speech falls to pieces.
LARGEST_TEMPO = 4.0

# Two periods of a low voice fit into a piece, one into the search.
_PIECE_SECONDS, _SEARCH_SECONDS = 0.040, 0.010


def change_tempo(audio: Audio, tempo: float) -> Audio:
    """Speak faster or slower with the same voice.

    Args:
        audio: of any rate.
        tempo: above 1 is faster.

    Returns:
        ``round(S / tempo)`` samples.

    Raises:
        AudioError: a tempo beyond 1/4 to 4, or a recording that would vanish.
    """
    if not 1 / LARGEST_TEMPO <= tempo <= LARGEST_TEMPO:
        raise AudioError(
            f"a tempo of {tempo} makes no speech; choose {1 / LARGEST_TEMPO} to {LARGEST_TEMPO}"
        )
    length = round(len(audio) / tempo)
    if not length:
        raise AudioError(f"a recording of {len(audio)} samples is too short for a tempo of {tempo}")
    half = max(1, round(_PIECE_SECONDS * audio.sample_rate / 2))
    reach = round(_SEARCH_SECONDS * audio.sample_rate)
    out = _overlap(audio.samples.numpy().astype(np.float64), tempo, length, half, reach)
    return Audio(torch.from_numpy(out.astype(np.float32)), audio.sample_rate)


def _overlap(
    samples: NDArray[np.float64], tempo: float, length: int, half: int, reach: int
) -> NDArray[np.float64]:
    """Pieces of ``2 half`` samples every ``half`` samples."""
    size = 2 * half
    # Periodic, so that neighbours sum to one.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    lead = half + reach
    padded = np.pad(samples, (lead, 2 * size + 2 * reach + round(half * tempo)))
    count = -(-length // half) + 1
    out = np.zeros((count + 1) * half)
    chosen = reach
    for number in range(count):
        # The middle of a piece belongs half a piece later than its beginning.
        wanted = reach + round(number * half * tempo)
        if number:
            region = padded[wanted - reach : wanted + reach + size]
            continued = padded[chosen + half : chosen + half + size]
            chosen = wanted - reach + _best(region, continued)
        out[number * half : number * half + size] += window * padded[chosen : chosen + size]
    return out[half : half + length]


def _best(region: NDArray[np.float64], continued: NDArray[np.float64]) -> int:
    """Where in a region the piece begins that looks most like a natural continuation."""
    products = np.correlate(region, continued, "valid")
    energy = np.concatenate([[0.0], np.cumsum(region**2)])
    sizes = energy[len(continued) :] - energy[: -len(continued)]
    if not products.any():
        # Silence continues silence anywhere: stay where the tempo wants it.
        return len(products) // 2
    return int(np.argmax(products / np.sqrt(sizes + 1e-12)))
