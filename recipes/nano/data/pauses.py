"""Where a real recording pauses, by its level, and where a breath is heard in a pause.

The alignment gives the order and the rough time of the words, but readers breathe in their pauses
and the phone classifier has never heard a breath: it stretches the last phone over both. The level
tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["RATE", "breaths", "levels", "loudness", "pauses"]

Array = npt.NDArray[np.float32]

RATE, HOP = 16000, 160
#: dB below the speech that is no speech, and above the pause's background that is a breath.
QUIET, HEARD = -14.0, 6.0
#: Seconds a breath takes, and dB of its mean against the speech.
SECONDS, LEVEL = (0.15, 0.9), (-36.0, -14.0)
#: Largest shares of a breath below 500 Hz (hum, words) and above 4 kHz (hiss of a word), and
#: largest autocorrelation at a pitch.
LOW, HIGH, PITCH = 0.3, 0.5, 0.35

Span = tuple[float, float]


def loudness(samples: Array) -> float:
    """Root mean square of the louder half of the 20 ms frames."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    power = np.sort((frames.astype(np.float64) ** 2).mean(axis=1)) if len(frames) else np.zeros(1)
    return float(np.sqrt(power[len(power) // 2 :].mean()))


def levels(samples: Array) -> Array:
    """Level of every 10 ms against the loud part, dB, ``[S // 160]``."""
    frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    power = np.convolve((frames.astype(np.float64) ** 2).mean(axis=1), np.ones(3) / 3, "same")
    level: Array = (10 * np.log10(power + 1e-12) - 20 * np.log10(loudness(samples) + 1e-9)).astype(
        np.float32
    )
    return level


def pauses(level: Array, shortest: float) -> list[Span]:
    """Stretches without speech.

    Args:
        level: from :func:`levels`.
        shortest: seconds; the closure of a stop takes up to 0.12.

    Returns:
        ``(start, end)`` in seconds; breaths are part of them.
    """
    found = [(a / 100, b / 100) for a, b in _runs(level < QUIET)]
    return [(a, b) for a, b in found if b - a >= shortest - 1e-6]


def breaths(samples: Array) -> list[Span]:
    """Breaths: free in a pause, clearly above its background, without pitch. Nobody listened.

    Args:
        samples: at 16 kHz.

    Returns:
        ``(start, end)`` of each in seconds.
    """
    level, found = levels(samples), []
    for start, end in pauses(level, 2 * SECONDS[0]):
        first, last = round(start * 100), round(end * 100)
        background = np.percentile(level[first:last], 10)
        for a, b in _runs(level[first:last] > background + HEARD):
            begin, stop = first + a, first + b
            free = a > 0 and stop < last
            fits = SECONDS[0] <= (b - a) / 100 <= SECONDS[1]
            if free and fits and LEVEL[0] < level[begin:stop].mean() < LEVEL[1]:
                piece = samples[begin * HOP : stop * HOP]
                if _is_breath(piece):
                    found.append((begin / 100, stop / 100))
    return found


def _is_breath(piece: Array) -> bool:
    spectrum = np.abs(np.fft.rfft(piece, 2 * len(piece))) ** 2
    total, bins = spectrum.sum() + 1e-12, len(spectrum)
    alike = np.fft.irfft(spectrum)
    pitch = alike[RATE // 400 : RATE // 65].max() / (alike[0] + 1e-12)
    low, high = spectrum[: bins // 16].sum() / total, spectrum[bins // 2 :].sum() / total
    return bool(low < LOW and high < HIGH and pitch < PITCH)


def _runs(wanted: npt.NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wanted.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
