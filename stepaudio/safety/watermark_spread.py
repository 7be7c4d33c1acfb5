"""The built-in watermark: a keyed spread-spectrum pattern that carries 32 bits.

Nothing is trained and nothing is downloaded. See :mod:`stepaudio.safety.watermark_pattern` for what
the mark is, :mod:`stepaudio.safety.watermark_embed` for how it is laid under the sound, and
``docs/watermark.md`` for what it survives and what it does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.errors import WatermarkError
from stepaudio.safety.watermark import Detection, Watermarker
from stepaudio.safety.watermark_code import CODE_BITS, check_payload, decode, encode
from stepaudio.safety.watermark_embed import SpreadStream
from stepaudio.safety.watermark_pattern import (
    BAND_HZ,
    BANDS,
    FIRST_BAND,
    SYNC,
    make_pattern,
    sine_window,
)
from stepaudio.safety.watermark_search import (
    HOP,
    PERIOD,
    RATE,
    Alignment,
    align,
    align_at_any_speed,
    played,
    whiten,
)

__all__ = ["DEFAULT_WATERMARKER", "PUBLIC_KEY", "SpreadSpectrum"]

#: Everybody's key: whoever has the library can find the marks that it makes by default.
PUBLIC_KEY = "stepaudio"

#: Score from which on a mark is said to be there; fewer than one in a thousand unmarked recordings
#: reach it (``benchmarks/watermark.py``).
THRESHOLD = 7.0

#: Score from which on the payload is given. What is decoded from noise stays below, and so does a
#: payload that came out as its neighbour (highest of those seen: 7.58).
PAYLOAD_THRESHOLD = 8.0

#: Magnitude of the mark over the level of the sound around it, were that perfectly flat. In all,
#: the mark lies 12 dB below noise and mostly 15 to 25 dB below speech.
STRENGTH = 0.56

_MIN_RATE = 8000

# A recording is also judged piece by piece, seconds: clocks drift, and parts may be unmarked.
_PIECE = 3.0

# Pieces whose offset is this close to the best one's belong to the same mark, seconds.
_SAME = 0.003

# Longer recordings are judged minute by minute; spans this close, seconds, are one.
_MINUTE = 60.0
_GAP = 0.5

# Localisation: frames that are judged together, and how much surer a change must make it all.
_TOGETHER = 20
_CHANGE = 8.0


class SpreadSpectrum(Watermarker):
    """Marks by a pattern laid under the sound, a few decibels below what can be heard.

    Args:
        key: of the pattern. With another key than the public one, only who has it can find the
            mark.
        strength: magnitude of the mark over the level of the sound around it where its spectrum is
            flat; where tones stand out it is less.
        threshold: score from which on a mark is said to be there.

    Raises:
        WatermarkError: a strength or threshold that is not above 0.
    """

    def __init__(
        self, key: str = PUBLIC_KEY, *, strength: float = STRENGTH, threshold: float = THRESHOLD
    ) -> None:
        for name, value in (("strength", strength), ("threshold", threshold)):
            if not (math.isfinite(value) and value > 0):
                raise WatermarkError(f"the {name} of a watermark must be above 0, not {value}")
        self.key = key
        self.strength = strength
        self.threshold = threshold

    @property
    def name(self) -> str:
        """See :attr:`Watermarker.name`."""
        return "spread-spectrum-1"

    def stream(
        self,
        payload: int,
        sample_rate: int,
        *,
        spans: Sequence[tuple[float, float]] | None = None,
    ) -> SpreadStream:
        """See :meth:`Watermarker.stream`."""
        check_payload(payload)
        if sample_rate < _MIN_RATE:
            raise WatermarkError(
                f"sound of {sample_rate} Hz is too narrow to be marked; "
                f"the watermark needs at least {_MIN_RATE} Hz"
            )
        return SpreadStream(self.key, payload, sample_rate, self.strength, spans)

    def detect(self, audio: Audio) -> Detection:
        """See :meth:`Watermarker.detect`; of a long recording, the surest minute speaks."""
        heard = [self._hear(part)[0] for _, part in _minutes(audio)]
        return max(heard, key=lambda one: (one.payload is not None, one.score))

    def localise(self, audio: Audio) -> tuple[tuple[float, float], ...]:
        """See :meth:`Watermarker.localise`; borders are good to about a fifth of a second."""
        found: list[tuple[float, float]] = []
        for begin, part in _minutes(audio):
            for start, end in self._localise(part):
                if found and begin + start - found[-1][1] < _GAP:
                    start = found.pop()[0] - begin
                found.append((begin + start, begin + end))
        return tuple(found)

    def _localise(self, audio: Audio) -> list[tuple[float, float]]:
        """Marked spans of at most a minute."""
        detection, white, places = self._hear(audio)
        if not detection.found:
            return []
        pattern = make_pattern(self.key)
        signs = (pattern.duty == SYNC).astype(np.float64)
        if detection.payload is not None:
            signs = np.append(encode(detection.payload), 1.0)[pattern.duty]
        best = max(places, key=lambda place: place.score)
        cells = _cells(white, best, self.key)
        evidence = (cells * np.resize(signs, cells.shape)).sum(axis=1)
        marked = _marked_frames(evidence)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
        # Frame j is centred j * HOP samples after the beginning of the pattern.
        times = ((edges - 0.5) * HOP - best.offset) / RATE / detection.speed
        times = np.clip(times, 0.0, audio.seconds)
        return [(float(a), float(b)) for a, b in times.reshape(-1, 2) if b > a]

    def _hear(self, audio: Audio) -> tuple[Detection, NDArray[np.float64], list[Alignment]]:
        """The detection, the whitened sound at its first speed, and the mark in its pieces."""
        white = whiten(audio)
        places = _places(white, self.key, 1.0)
        score = max(place.score for place in places)
        if score < self.threshold and white.any():
            other = align_at_any_speed(white, self.key)
            if other.score > score:
                white = played(white, other.speed)
                places = _places(white, self.key, other.speed)
                score = max(other.score, *(place.score for place in places))
        payload, payload_score = _read(white, places, self.key)
        found = score >= self.threshold
        sure = found and payload_score >= PAYLOAD_THRESHOLD
        detection = Detection(
            found=found,
            score=score,
            threshold=self.threshold,
            payload=payload if sure else None,
            payload_score=payload_score,
            speed=places[0].speed,
        )
        return detection, white, places


def _minutes(audio: Audio) -> Iterator[tuple[float, Audio]]:
    """Parts of about a minute or less, so that memory does not grow, and their beginnings."""
    count = math.ceil(audio.seconds / _MINUTE)
    borders = np.linspace(0, len(audio), count + 1).astype(int)
    for start, end in itertools.pairwise(borders.tolist()):
        yield start / audio.sample_rate, Audio(audio.samples[start:end], audio.sample_rate)


def _pieces(white: NDArray[np.float64]) -> NDArray[np.int64]:
    """Borders of the pieces a recording is judged in, samples."""
    count = max(1, round(len(white) / (_PIECE * RATE)))
    return np.linspace(0, len(white), count + 1).astype(np.int64)


def _places(white: NDArray[np.float64], key: str, speed: float) -> list[Alignment]:
    """The mark in the whole recording and in each piece; offsets count from the beginning."""
    found = [align(white, key, speed)]
    borders = _pieces(white)
    for start, end in itertools.pairwise(borders):
        place = align(white[start:end], key, speed)
        found.append(replace(place, offset=(place.offset - start) % PERIOD))
    return found


def _read(white: NDArray[np.float64], places: Sequence[Alignment], key: str) -> tuple[int, float]:
    """The payload and the evidence for it, in standard deviations."""
    best = max(places, key=lambda place: place.score)
    agreeing = [place for place in places[1:] if _apart(place, best) < _SAME * RATE]
    duty = make_pattern(key).duty
    total = np.zeros(CODE_BITS, dtype=np.complex128)
    for (start, end), place in zip(itertools.pairwise(_pieces(white)), places[1:], strict=True):
        # Pieces that disagree are not marked, unless the mark is too weak to show in any.
        if agreeing and place not in agreeing:
            continue
        near = place if agreeing else best
        here = replace(near, offset=(near.offset + start) % PERIOD)
        cells = _cells(white[start:end], here, key)
        bits = np.resize(duty, cells.shape)
        data = bits != SYNC
        total += np.bincount(bits[data], cells.real[data], CODE_BITS)
        total += 1j * np.bincount(bits[data], cells.imag[data], CODE_BITS)
    payload = decode(total.real)
    # The mark has no imaginary part, but all noise has as much of it as of the real one.
    noise = max(float(np.sqrt(np.mean(total.imag**2))), 1e-9)
    return payload, float(encode(payload) @ total.real) / (noise * math.sqrt(CODE_BITS))


def _apart(one: Alignment, other: Alignment) -> float:
    """Samples between two offsets, round the period."""
    gap = abs(one.offset - other.offset) % PERIOD
    return min(gap, PERIOD - gap)


def _cells(white: NDArray[np.float64], place: Alignment, key: str) -> NDArray[np.complex128]:
    """What lies in the cells, turned so that the pattern itself is real.

    Args:
        white: ``[S]`` whitened sound.
        place: of the pattern in it.
        key: of the pattern.

    Returns:
        ``[frames, 97]`` from the beginning of the pattern on.
    """
    lead = HOP + int(place.offset)
    frames = -(-(len(white) + lead) // HOP)
    padded = np.zeros((frames + 1) * HOP)
    padded[lead : lead + len(white)] = white
    cut = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP]
    spectrum = np.fft.rfft(cut * sine_window(2 * HOP), axis=1)
    tones = np.arange(FIRST_BAND, FIRST_BAND + BANDS)
    late = np.exp(-2j * np.pi * tones * BAND_HZ * (place.offset % 1) / RATE)
    phases = make_pattern(key).phases
    used = spectrum[:, tones] * late * place.turn
    return np.asarray(used * np.conj(np.resize(phases, used.shape)))


def _marked_frames(evidence: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """Frames that are marked: the most likely course of a state that seldom changes.

    Args:
        evidence: ``[frames]`` sum over the cells; its imaginary part is noise.

    Returns:
        ``[frames]``.
    """
    noise = max(float(np.mean(evidence.imag**2)), 1e-18)
    smooth = np.convolve(evidence.real, np.full(_TOGETHER, 1 / _TOGETHER), mode="same")
    # What a marked frame gives, judged by the half with more of it.
    strength = max(float(np.mean(np.sort(smooth)[len(smooth) // 2 :])), 1e-9)
    gains = (strength * evidence.real - strength**2 / 2) / noise
    plain, inside = 0.0, -_CHANGE
    begun = np.zeros((len(gains), 2), dtype=bool)  # whether each state was entered just here
    for frame, gain in enumerate(gains):
        begun[frame] = inside - _CHANGE > plain, plain - _CHANGE > inside
        plain, inside = max(plain, inside - _CHANGE), max(inside, plain - _CHANGE) + gain
    marked = np.zeros(len(gains), dtype=bool)
    state = inside > plain
    for frame in reversed(range(len(gains))):
        marked[frame] = state
        if begun[frame, int(state)]:
            state = not state
    return marked


#: What pipelines mark with unless they are told otherwise.
DEFAULT_WATERMARKER = SpreadSpectrum()
