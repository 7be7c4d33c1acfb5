"""How is it said: melody, voicing, loudness, tempo and duration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, find_peaks, sosfilt

from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, loud_frames, signal
from stepaudio.evaluation.normalize import CHARACTER_LANGUAGES, characters, words
from stepaudio.evaluation.pitch import AutocorrelationPitch, PitchTracker

__all__ = ["Prosody", "VoiceCourse", "syllable_count"]

#: Fewest voiced frames (10 ms each) of which F0 statistics are taken.
_FEWEST_VOICED = 5
#: Shortest stretch of sound whose tempo is told, seconds.
_SHORTEST_TEMPO = 0.3
# Vowels are loud in this band; fricatives, which are not syllables, are loud above it.
_VOWEL_BAND_HZ = (300.0, 2500.0)
_SMOOTHING_FRAMES = 9
# A syllable rises this far above the valleys beside it, dB, ...
_PROMINENCE_DB = 2.0
# ... and is at most so far below the loudest ones.
_SYLLABLE_WITHIN_DB = 25.0


@dataclass(frozen=True)
class VoiceCourse:
    """What is known of one recording before any statistic.

    Attributes:
        f0: ``[T]`` Hz in loud voiced frames of 10 ms, NaN elsewhere.
        levels: ``[T]`` dB re full scale.
        loud: ``[T]`` bool, frames that carry the voice.
        syllables: peaks of loudness in the band of vowels.
        seconds: of the recording.
    """

    f0: NDArray[np.float64]
    levels: NDArray[np.float64]
    loud: NDArray[np.bool_]
    syllables: int
    seconds: float

    @classmethod
    def of(cls, audio: Audio, tracker: PitchTracker) -> VoiceCourse:
        """Follow one recording.

        Args:
            audio: of any rate.
            tracker: of the fundamental frequency.

        Returns:
            Its course.
        """
        samples = signal(audio)
        levels = frame_levels(samples)
        loud = loud_frames(levels)
        f0 = np.where(loud, tracker.track(audio), np.nan)
        return cls(f0, levels, loud, syllable_count(samples), audio.seconds)

    @property
    def median_hz(self) -> float | None:
        """Median F0; None with hardly any voice."""
        voiced = self.f0[np.isfinite(self.f0)]
        return float(np.median(voiced)) if len(voiced) >= _FEWEST_VOICED else None

    @property
    def speaking_seconds(self) -> float | None:
        """From the first loud frame to the last, pauses included; None if too short for a tempo."""
        where = np.flatnonzero(self.loud)
        seconds = float(where[-1] - where[0] + 1) * HOP / RATE if len(where) else 0.0
        return seconds if seconds >= _SHORTEST_TEMPO else None


def syllable_count(samples: NDArray[np.float64]) -> int:
    """Peaks of loudness in the band of vowels, about one per syllable.

    Args:
        samples: ``[S]`` at 16 kHz without mean.

    Returns:
        Number of peaks.
    """
    band = butter(2, _VOWEL_BAND_HZ, "bandpass", fs=RATE, output="sos")
    levels = frame_levels(sosfilt(band, samples))
    window = np.hanning(_SMOOTHING_FRAMES + 2)[1:-1]
    padded = np.pad(levels, _SMOOTHING_FRAMES // 2, mode="edge")
    smooth = np.convolve(padded, window / window.sum(), "valid")
    audible = loud_frames(smooth, within=_SYLLABLE_WITHIN_DB)
    # A valley before the first and after the last frame lets a syllable at the edge count.
    edged = np.concatenate([[smooth.min() - 60], smooth, [smooth.min() - 60]])
    peaks, _ = find_peaks(edged, prominence=_PROMINENCE_DB)
    return int(audible[peaks - 1].sum())


class Prosody:
    """Melody, voicing, loudness, tempo, duration.

    Numbers of a sample:

    - ``f0_median_hz``, ``f0_std_st``, ``f0_range_st``: median, standard deviation in semitones,
      5th to 95th percentile in semitones, over loud voiced frames;
    - ``f0_shift_st``: semitones from the source's median to this one's;
    - ``voiced_share``: of the loud frames;
    - ``level_db``, ``level_std_db``: mean and standard deviation of the loud frames' level;
    - ``syllables_per_s``, ``words_per_s``: from the first loud frame to the last, pauses
      included; characters instead of words in languages written without spaces;
    - ``tempo_ratio``: the source's time from first to last loud frame over this one's, above 1
      when it is spoken faster;
    - ``seconds``, ``duration_ratio``: duration, and over the source's.

    Args:
        tracker: of F0; None is the library's own, on every machine.
    """

    name = "prosody"

    def __init__(self, tracker: PitchTracker | None = None) -> None:
        self.tracker: PitchTracker = tracker or AutocorrelationPitch()

    @property
    def model(self) -> ModelId:
        """The F0 tracker; everything else is arithmetic."""
        return self.tracker.model

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Measure every recording and its source.

        Args:
            samples: recordings of any rate.

        Returns:
            Numbers per sample.
        """
        # One recording is the source of several edits: followed once.
        courses: dict[int, VoiceCourse] = {}
        rows: list[Mapping[str, float | None]] = []
        for sample in samples:
            source = None
            if sample.source is not None:
                source = courses.get(id(sample.source)) or VoiceCourse.of(
                    sample.source, self.tracker
                )
                courses[id(sample.source)] = source
            rows.append(_numbers(sample, VoiceCourse.of(sample.audio, self.tracker), source))
        return rows


def _numbers(
    sample: Sample, course: VoiceCourse, source: VoiceCourse | None
) -> dict[str, float | None]:
    median, speaking = course.median_hz, course.speaking_seconds
    numbers: dict[str, float | None] = dict.fromkeys(
        ("f0_median_hz", "f0_std_st", "f0_range_st", "f0_shift_st", "voiced_share", "level_db")
    )
    numbers |= dict.fromkeys(
        ("level_std_db", "syllables_per_s", "words_per_s", "tempo_ratio", "duration_ratio")
    )
    numbers["seconds"] = course.seconds
    if median is not None:
        melody = 12 * np.log2(course.f0[np.isfinite(course.f0)] / median)
        low, high = np.percentile(melody, [5, 95])
        numbers["f0_median_hz"] = median
        numbers["f0_std_st"], numbers["f0_range_st"] = float(melody.std()), float(high - low)
    if course.loud.any():
        levels = course.levels[course.loud]
        numbers["voiced_share"] = float(np.isfinite(course.f0[course.loud]).mean())
        numbers["level_db"], numbers["level_std_db"] = float(levels.mean()), float(levels.std())
    if speaking is not None:
        numbers["syllables_per_s"] = course.syllables / speaking
        spoken = _units(sample)
        numbers["words_per_s"] = spoken / speaking if spoken else None
    if source is not None:
        numbers["duration_ratio"] = course.seconds / source.seconds
        if speaking is not None and source.speaking_seconds is not None:
            numbers["tempo_ratio"] = source.speaking_seconds / speaking
        if median is not None and source.median_hz is not None:
            numbers["f0_shift_st"] = float(12 * np.log2(median / source.median_hz))
    return numbers


def _units(sample: Sample) -> int:
    split = characters if sample.lang in CHARACTER_LANGUAGES else words
    return len(split(sample.text, sample.lang))
