"""Can a cut be heard: how far spectrum and pitch jump where two pieces were joined.

Speech jumps by itself, at every plosive. So a jump is told as a multiple of what this recording
does between any two of its own frames, and as the share of its own moments that jump less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, framed, loud_frames, signal
from stepaudio.evaluation.pitch import AutocorrelationPitch, PitchTracker
from stepaudio.mel_filters import slaney_filters

__all__ = ["Boundary", "Jump", "jumps_at"]

_FFT = 512
_BANDS = 32
#: Frames of the spectrum are 5 ms apart and compared across 25 ms, the length of one.
_STEP, _REACH = 80, 5
# The time of a join is known to about a frame: the largest jump within 15 ms is taken.
_AROUND = 3
# Spectra this far below the loudest band of the recording are noise, dB.
_DYNAMICS_DB = 60.0
# Pitch is compared across 40 ms, two frames to either side.
_PITCH_REACH = 2
# A recording that hardly changes must not make a mountain of every join.
_LEAST_CHANGE_DB, _LEAST_CHANGE_ST = 0.1, 0.1


@dataclass(frozen=True)
class Jump:
    """What happens at one join.

    Attributes:
        spectral: jump of the mel spectrum over the recording's median.
        spectral_rank: share of the loud frames that jump less, 0 to 1.
        f0_st: jump of the pitch, semitones; None if one side is unvoiced.
        f0: the same over the recording's median; None as well.
    """

    spectral: float | None
    spectral_rank: float | None
    f0_st: float | None
    f0: float | None


def jumps_at(audio: Audio, joins: Sequence[float], tracker: PitchTracker) -> list[Jump]:
    """Measure the joins of one recording.

    Args:
        audio: of any rate.
        joins: seconds from the beginning.
        tracker: of the fundamental frequency.

    Returns:
        A jump per join; without any sound in the recording all of it is None.

    Raises:
        AudioError: a join outside the recording.
    """
    for join in joins:
        if not 0 <= join <= audio.seconds:
            raise AudioError(
                f"a join at {join} s lies outside the recording of {audio.seconds:.3f} s; "
                "give seconds from its beginning"
            )
    samples = signal(audio)
    loud = loud_frames(frame_levels(samples))
    spectral = _spectral_changes(samples)
    # The grid of the spectrum is finer than that of the levels.
    nearest = np.minimum(np.arange(len(spectral)) * _STEP // HOP, len(loud) - 1)
    usual = spectral[loud[nearest]]
    typical = max(float(np.median(usual)), _LEAST_CHANGE_DB) if len(usual) else None
    melody = _pitch_changes(np.where(loud, tracker.track(audio), np.nan))
    known = melody[np.isfinite(melody)]
    drift = max(float(np.median(known)), _LEAST_CHANGE_ST) if len(known) else None
    found = []
    for join in joins:
        here = float(spectral[min(round(join * RATE / _STEP), len(spectral) - 1)])
        step = float(melody[min(round(join * RATE / HOP), len(melody) - 1)])
        found.append(
            Jump(
                spectral=here / typical if typical else None,
                spectral_rank=float((usual < here).mean()) if typical else None,
                f0_st=step if np.isfinite(step) else None,
                f0=step / drift if drift and np.isfinite(step) else None,
            )
        )
    return found


def _spectral_changes(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[T]`` largest change of the mel spectrum around every 5 ms, dB."""
    frames = framed(samples, hop=_STEP)
    window = np.hanning(frames.shape[1])
    power = np.square(np.abs(np.fft.rfft(frames * window, _FFT)))
    filters = slaney_filters(RATE, _FFT, _BANDS).double().numpy()
    bands = power @ filters.T
    floor = max(float(bands.max()), 1e-12) * 10 ** (-_DYNAMICS_DB / 10)
    mel = 10 * np.log10(bands + floor)
    padded = np.pad(mel, ((_REACH // 2, _REACH - _REACH // 2), (0, 0)), mode="edge")
    change = np.sqrt(np.square(padded[_REACH:] - padded[:-_REACH]).mean(-1))
    around: NDArray[np.float64] = maximum_filter1d(change, 2 * _AROUND + 1)
    return around


def _pitch_changes(f0: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[T]`` semitones across every 10 ms frame, NaN where one side is unvoiced."""
    padded = np.pad(12 * np.log2(f0), _PITCH_REACH, constant_values=np.nan)
    change: NDArray[np.float64] = np.abs(padded[2 * _PITCH_REACH :] - padded[: -2 * _PITCH_REACH])
    return change


class Boundary:
    """Jumps at the joins of edited recordings.

    Numbers of a sample: ``spectral_mean`` and ``spectral_max`` over its joins, multiples of the
    recording's median; ``spectral_rank_max``; ``f0_mean`` and ``f0_max``, multiples likewise,
    over the joins with voice on both sides; ``joins``, their number.

    Args:
        joins: seconds of the joins by id of the sample.
        tracker: of F0; None is the library's own, on every machine.
    """

    name = "boundary"

    def __init__(
        self, joins: Mapping[str, Sequence[float]], tracker: PitchTracker | None = None
    ) -> None:
        self.joins = joins
        self.tracker: PitchTracker = tracker or AutocorrelationPitch()

    @property
    def model(self) -> ModelId:
        """The F0 tracker, with a digest of the joins; everything else is arithmetic."""
        joins = hashlib.sha256(repr(sorted(self.joins.items())).encode()).hexdigest()[:8]
        tracker = self.tracker.model
        return ModelId(tracker.name, f"{tracker.version}; joins {joins}")

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Measure every recording that has joins.

        Args:
            samples: recordings; those without joins have None for everything but their number.

        Returns:
            Numbers per sample.
        """
        return [self._numbers(sample) for sample in samples]

    def _numbers(self, sample: Sample) -> dict[str, float | None]:
        joins = self.joins.get(sample.id, ())
        found = jumps_at(sample.audio, joins, self.tracker) if joins else []
        spectral = [jump.spectral for jump in found if jump.spectral is not None]
        ranks = [jump.spectral_rank for jump in found if jump.spectral_rank is not None]
        pitch = [jump.f0 for jump in found if jump.f0 is not None]
        return {
            "spectral_mean": float(np.mean(spectral)) if spectral else None,
            "spectral_max": max(spectral, default=None),
            "spectral_rank_max": max(ranks, default=None),
            "f0_mean": float(np.mean(pitch)) if pitch else None,
            "f0_max": max(pitch, default=None),
            "joins": len(joins),
        }
