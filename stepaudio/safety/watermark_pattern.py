"""The keyed pattern of the built-in watermark: one second of cells of time and frequency.

A cell is one frame of 20 ms (a frame every 10 ms, sine window) and one band of 50 Hz. A key gives
every cell of a second a phase and a duty: to carry the fixed *sync* pattern, or one of the 128
signs of the coded payload (:mod:`stepaudio.safety.watermark_code`). The second repeats.

The numbers come from SHAKE-256, so that a key means the same with every version of every library.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepaudio.safety.watermark_code import CODE_BITS

__all__ = [
    "BANDS",
    "BAND_HZ",
    "FIRST_BAND",
    "FRAMES",
    "FRAME_RATE",
    "SYNC",
    "Pattern",
    "make_pattern",
    "sine_window",
]

#: Frames per second, and frames of the pattern before it repeats.
FRAME_RATE = 100
FRAMES = 100

#: Width of a band, Hz; band ``b`` lies around ``BAND_HZ * b``.
BAND_HZ = 50

#: The bands used: 200 Hz to 5 kHz. Less is lost with the low tones of small loudspeakers, more
#: with the high ones of telephones and codecs.
FIRST_BAND = 4
BANDS = 97

#: Duty of the cells that carry no payload.
SYNC = -1

# Of all cells. Presence must be certain before the payload is of any use.
_SYNC_SHARE = 0.5


@dataclass(frozen=True)
class Pattern:
    """What a key makes of one second.

    Attributes:
        phases: ``[100, 97]`` complex of magnitude 1, by frame and band.
        duty: ``[100, 97]`` :data:`SYNC`, or the index of the coded bit whose sign the cell takes.
    """

    phases: NDArray[np.complex128]
    duty: NDArray[np.int64]

    def signed(self, code: NDArray[np.float64]) -> NDArray[np.complex128]:
        """The whole pattern with a payload in it.

        Args:
            code: ``[128]`` signs.

        Returns:
            ``[100, 97]`` complex of magnitude 1.
        """
        # Index -1, the duty of sync cells, finds the appended 1.
        return np.asarray(self.phases * np.append(code, 1.0)[self.duty])

    def sync(self) -> NDArray[np.complex128]:
        """``[100, 97]`` only the cells that never change, zero elsewhere."""
        return np.asarray(self.phases * (self.duty == SYNC))


@functools.lru_cache(maxsize=8)
def make_pattern(key: str) -> Pattern:
    """Derive the pattern of a key.

    Args:
        key: any text.

    Returns:
        The pattern.
    """
    cells = FRAMES * BANDS
    digest = hashlib.shake_256(b"stepaudio watermark 1\0" + key.encode()).digest(12 * cells)
    turns, order = np.split(np.frombuffer(digest, dtype="<u4"), [cells])
    # Eight random bytes decide the order, so that two cells hardly ever draw the same.
    rank = np.argsort(order.view("<u8"), kind="stable")
    sync = round(cells * _SYNC_SHARE)
    duty = np.empty(cells, dtype=np.int64)
    duty[rank[:sync]] = SYNC
    duty[rank[sync:]] = np.arange(cells - sync) % CODE_BITS
    phases = np.exp(2j * np.pi * turns / 2.0**32)
    return Pattern(phases.reshape(FRAMES, BANDS), duty.reshape(FRAMES, BANDS))


@functools.lru_cache(maxsize=32)
def sine_window(length: int) -> NDArray[np.float64]:
    """The window of analysis and synthesis; with half overlap its squares add up to 1.

    Args:
        length: samples.

    Returns:
        ``[length]``.
    """
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length)
    window.setflags(write=False)
    return window
