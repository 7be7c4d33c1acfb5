"""Another pitch at every moment: the recording is stretched, then played that much faster.

The stretching is that of :mod:`stepaudio.tempo` (WSOLA), which asks nobody where there is voice: no
mistake of a pitch tracker leaves a syllable behind at its old pitch. Formants move with the pitch;
who wants them where they were puts them back (:mod:`stepaudio.manner`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepaudio.tempo import overlap_pieces, piece_sizes

__all__ = ["shift_pitch"]

_Array = NDArray[np.float64]

# Neighbours on either side that a sample between samples is told from.
_TAPS = 16
# Samples told at once: each takes all of its neighbours.
_BLOCK = 1 << 16


def shift_pitch(samples: _Array, ratios: _Array, places: _Array, sample_rate: int) -> _Array:
    """Read a recording along another course of time, at another pitch.

    Args:
        samples: ``[S]``.
        ratios: ``[N]`` pitch of every sample of the result over that of the recording there.
        places: ``[N]`` where in the recording, in samples, each sample of the result lies; rising.
        sample_rate: Hz.

    Returns:
        ``[N]``.
    """
    half, reach = piece_sizes(sample_rate)
    # Where each sample of the result lies in the stretched recording, and the other way round.
    course = np.cumsum(ratios) - ratios[0]
    pieces = half * np.arange(int(course[-1]) // half + 2)
    stretched = overlap_pieces(samples, np.interp(pieces, course, places), half, reach)
    return _read(stretched, course, np.minimum(1.0, 1.0 / ratios))


def _read(samples: _Array, course: _Array, edges: _Array) -> _Array:
    """Samples between samples, by a windowed sinc.

    Args:
        samples: ``[S]``.
        course: ``[N]`` where to read.
        edges: ``[N]`` highest frequency left in, as a share of half of the rate: what is played
            faster has less room.

    Returns:
        ``[N]``.
    """
    padded = np.pad(samples, _TAPS)
    neighbours = np.arange(1 - _TAPS, _TAPS + 1)
    out = np.empty_like(course)
    for start in range(0, len(course), _BLOCK):
        block = slice(start, start + _BLOCK)
        whole = np.floor(course[block]).astype(np.int64)
        away = (course[block] - whole)[:, None] - neighbours
        edge = edges[block, None]
        window = np.cos(0.5 * np.pi * away / (_TAPS + 1)) ** 2
        index = np.clip(whole[:, None] + neighbours + _TAPS, 0, len(padded) - 1)
        out[block] = (edge * np.sinc(edge * away) * window * padded[index]).sum(1)
    return out
