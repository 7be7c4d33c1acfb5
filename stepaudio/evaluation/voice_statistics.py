"""A recording as one vector: how it is spoken, and what a recogniser's encoder makes of it.

Acted speech is too scarce to learn to listen from it. So the listening is done by statistics that
have described emotions for decades (melody, level, rhythm, spectrum) and, where the words metric is
installed, by the encoder of Whisper, which has heard so many voices that mean and deviation of its
frames say much about the manner of speaking. Nothing depends on the absolute level or the duration,
which say more about the microphone and the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, loud_frames, signal
from stepaudio.evaluation.pitch import AutocorrelationPitch, PitchTracker
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.tokenizers.features import kaldi_fbank

__all__ = ["MANNER", "Course", "course_of", "statistics"]

_Array = NDArray[np.float64]

#: Length of the part of a vector that needs no recogniser.
MANNER = 186

_BANDS, _CEPSTRA, _BROAD = 64, 20, 16
_FEWEST_FRAMES = 20
_FEWEST_VOICED = 6
# Below the loudest spot by this much (60 dB) a codec or a vocoder leaves anything.
_DYNAMICS = 14.0
# Melody is told in semitones above this; it only centres the numbers.
_REFERENCE_HZ = 100.0
# A larger step from frame to frame is an octave error or two voices.
_LARGEST_STEP_ST = 3.0
# Frames of the encoder are compared 80 ms apart.
_REACH = 4
_SMOOTHING = np.hanning(11)[1:-1]


class Course:
    """A recording frame by frame, to be summed up as a whole or in parts.

    Args:
        fbank: ``[T, 64]`` log filter bank at 100 Hz.
        f0: ``[T]`` Hz, NaN without voice.
        levels: ``[T]`` dB.
        heard: ``[T // 2, C]`` frames of a recogniser's encoder at 50 Hz; C may be 0.
        first: frame of the recording with which the course begins.
    """

    def __init__(
        self, fbank: _Array, f0: _Array, levels: _Array, heard: _Array, first: int = 0
    ) -> None:
        self.fbank, self.f0, self.levels, self.heard = fbank, f0, levels, heard
        self.first = first

    def __len__(self) -> int:
        """Frames of 10 ms."""
        return len(self.fbank)

    def part(self, start: int, stop: int) -> Course:
        """Some of the frames.

        Args:
            start: first frame of 10 ms.
            stop: end.

        Returns:
            A course of them.
        """
        heard = self.heard[start // 2 : max(start // 2 + 2 * _REACH, stop // 2)]
        fbank, f0, levels = self.fbank[start:stop], self.f0[start:stop], self.levels[start:stop]
        return Course(fbank, f0, levels, heard, self.first + start)


def course_of(
    audio: Audio, listener: WhisperRecognizer | None, tracker: PitchTracker | None = None
) -> Course:
    """Follow a recording from its first loud frame to its last.

    Args:
        audio: of any rate and length.
        listener: whose encoder is asked; None leaves it out.
        tracker: of F0; None is the library's own.

    Returns:
        Its course.

    Raises:
        AudioError: fewer than 0.2 s of sound.
    """
    audio = audio.resample(RATE)
    samples = signal(audio)
    levels = frame_levels(samples)
    where = np.flatnonzero(loud_frames(levels))
    if not len(where) or where[-1] + 1 - where[0] < _FEWEST_FRAMES:
        raise AudioError(
            f"a recording of {audio.seconds:.3f} s with {len(where)} loud frames is too short to "
            "be classified; give at least 0.2 s of speech"
        )
    first, end = int(where[0]), int(where[-1]) + 1
    voice = Audio(audio.samples[first * HOP : end * HOP], RATE)
    # The filter bank starts no frame that it cannot fill; the last ones are repeated.
    # Its floor is absolute, so a quiet recording must not come nearer to it than a loud one.
    scale = 1 / float(voice.samples.std())
    bank = kaldi_fbank(voice.samples, sample_rate=RATE, n_mels=_BANDS, scale=scale)
    fbank = bank.double().numpy()
    fbank = np.pad(fbank, ((0, max(0, end - first - len(fbank))), (0, 0)), mode="edge")
    fbank = np.maximum(fbank, fbank.max() - _DYNAMICS)
    f0 = (tracker or AutocorrelationPitch()).track(audio)[first:end]
    f0 = np.where(loud_frames(levels)[first:end], f0, np.nan)
    heard = np.zeros((0, 0)) if listener is None else listener.frames(voice).astype(np.float64)
    return Course(fbank[: end - first], f0, levels[first:end], heard, first)


def statistics(course: Course) -> _Array:
    """Sum up.

    Args:
        course: at least 0.2 s.

    Returns:
        ``[MANNER + 3 * C]``: spectrum, melody, level and rhythm; then mean and deviation of the
        encoder's frames and how much they change within 80 ms.
    """
    loud = loud_frames(course.levels)
    parts = [_spectrum(course.fbank, loud), _melody(course, loud), _dynamics(course, loud)]
    heard = course.heard
    if heard.shape[1]:
        change = np.abs(heard[_REACH:] - heard[:-_REACH])
        parts += [heard.mean(0), heard.std(0), change.mean(0) if len(change) else heard.std(0)]
    vector: _Array = np.nan_to_num(np.concatenate(parts))
    return vector


def _spectrum(fbank: _Array, loud: NDArray[np.bool_]) -> _Array:
    """Shape of the spectrum and its changes, without the level of the recording."""
    bands = fbank - fbank.mean()
    cepstra = dct(bands, norm="ortho", axis=1)[:, :_CEPSTRA]
    spoken, steps = cepstra[loud], np.diff(cepstra, axis=0)
    broad = bands[loud].reshape(int(loud.sum()), _BROAD, -1).mean(2)
    low, high = np.percentile(spoken, [10, 90], axis=0)
    around = [spoken.mean(0), spoken.std(0), low, high, steps.std(0), np.abs(steps).mean(0)]
    return np.concatenate([*around, broad.mean(0), broad.std(0)])


def _melody(course: Course, loud: NDArray[np.bool_]) -> _Array:
    """Pitch, its spread, its movement and how much of the speech has any."""
    voiced = np.isfinite(course.f0)
    runs = np.diff(np.flatnonzero(np.diff(np.r_[False, voiced, False])))[::2] * 0.01
    share = float(voiced[loud].mean())
    rhythm = [share, len(runs) / (0.01 * len(course))]
    rhythm += [float(runs.mean()), float(runs.std())] if len(runs) else [0.0, 0.0]
    if voiced.sum() < _FEWEST_VOICED:
        return np.array([0.0] * 15 + rhythm)
    melody = 12 * np.log2(course.f0[voiced] / _REFERENCE_HZ)
    steps = np.diff(12 * np.log2(course.f0))
    steps = steps[np.isfinite(steps) & (np.abs(steps) < _LARGEST_STEP_ST)]
    steps = steps if len(steps) else np.zeros(1)
    middle, quarter = float(np.median(melody)), max(1, len(melody) // 4)
    slope = np.polyfit(np.flatnonzero(voiced) * 0.01, melody, 1)[0]
    low, high = np.percentile(melody, [5, 95])
    shape = [middle, melody.mean(), melody.std(), low, high, high - low]
    shape += [*np.percentile(melody, [25, 75]), melody.max() - middle]
    moves = [steps.std(), np.abs(steps).mean(), steps.mean(), slope]
    ends = [melody[:quarter].mean() - middle, melody[-quarter:].mean() - middle]
    return np.array([*shape, *moves, *ends, *rhythm])


def _dynamics(course: Course, loud: NDArray[np.bool_]) -> _Array:
    """Level below the loudest, its changes, and peaks per second."""
    levels = course.levels - np.percentile(course.levels, 95)
    steps, seconds = np.diff(levels), 0.01 * len(course)
    smooth = np.convolve(levels, _SMOOTHING / _SMOOTHING.sum(), "same")
    inner = smooth[1:-1]
    peaks = ((inner > smooth[2:]) & (inner >= smooth[:-2]) & loud[1:-1]).sum() / seconds
    voiced = np.isfinite(course.f0)
    together = 0.0
    if voiced.sum() >= _FEWEST_VOICED:
        pitch, level = np.log2(course.f0[voiced]), levels[voiced]
        together = float(
            np.mean((pitch - pitch.mean()) * (level - level.mean()))
            / (pitch.std() * level.std() + 1e-3)
        )
    quarter = max(1, len(levels) // 4)
    slope = np.polyfit(np.arange(len(levels)) * 0.01, levels, 1)[0]
    spoken = levels[loud]
    around = [spoken.mean(), spoken.std(), *np.percentile(spoken, [5, 25, 50, 75])]
    moves = [steps.std(), *np.percentile(steps, [5, 95]), peaks, together, slope]
    ends = [levels[:quarter].mean() - levels.mean(), levels[-quarter:].mean() - levels.mean()]
    return np.array([*around, *moves, *ends, loud.mean()])
