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

__all__ = ["LARGEST_TEMPO", "change_tempo", "overlap_pieces", "piece_sizes"]

#: Beyond this factor, and below its inverse, speech falls to pieces.
LARGEST_TEMPO = 4.0

# Two periods of a low voice fit into a piece, one into the search.
_PIECE_SECONDS, _REACH_SECONDS = 0.040, 0.010


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
    half, reach = piece_sizes(audio.sample_rate)
    positions = half * tempo * np.arange(-(-length // half) + 1, dtype=np.float64)
    out = overlap_pieces(audio.samples.numpy().astype(np.float64), positions, half, reach)
    return Audio(torch.from_numpy(out[:length].astype(np.float32)), audio.sample_rate)


def piece_sizes(sample_rate: int) -> tuple[int, int]:
    """Half a piece, and how far around its place the best one is searched, in samples."""
    return max(1, round(_PIECE_SECONDS * sample_rate / 2)), round(_REACH_SECONDS * sample_rate)


def overlap_pieces(
    samples: NDArray[np.float64], positions: NDArray[np.float64], half: int, reach: int
) -> NDArray[np.float64]:
    """Lay pieces of a recording over one another, every ``half`` samples.

    Args:
        samples: ``[S]``.
        positions: ``[P]`` where in the recording the middle of each piece is, in samples; rising,
            the last ones may lie beyond the end.
        half: half of a piece, in samples.
        reach: how far a piece may be away from its position.

    Returns:
        ``[P half]``; the first sample lies in the middle of the first piece.
    """
    size = 2 * half
    # Periodic, so that neighbours sum to one.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    lead = half + reach
    beyond = max(0, round(positions[-1]) - len(samples))
    padded = np.pad(samples, (lead, 2 * size + 2 * reach + beyond))
    out = np.zeros((len(positions) + 1) * half)
    chosen = reach
    for number, position in enumerate(positions):
        # The middle of a piece belongs half a piece later than its beginning.
        wanted = reach + round(position)
        if number:
            region = padded[wanted - reach : wanted + reach + size]
            continued = padded[chosen + half : chosen + half + size]
            chosen = wanted - reach + _best(region, continued)
        out[number * half : number * half + size] += window * padded[chosen : chosen + size]
    return out[half:]


def _best(region: NDArray[np.float64], continued: NDArray[np.float64]) -> int:
    """Where in a region the piece begins that looks most like a natural continuation."""
    products = np.correlate(region, continued, "valid")
    energy = np.concatenate([[0.0], np.cumsum(region**2)])
    sizes = energy[len(continued) :] - energy[: -len(continued)]
    if not products.any():
        # Silence continues silence anywhere: stay where the tempo wants it.
        return len(products) // 2
    return int(np.argmax(products / np.sqrt(sizes + 1e-12)))
