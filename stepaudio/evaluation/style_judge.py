"""Styles that can be measured: whisper, child, older, exaggerated, faster, slower.

Each is a rule on how the recording differs from the one before the edit, in :data:`RULES`. The
thresholds lie outside most of what changes when a speaker merely says a sentence twice (measured on
pairs of neutral takes of acted speech), and ask for no more than that the change is plain. A rule
says that a change happened, not that it sounds well.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import stepaudio
from stepaudio.audio import Audio
from stepaudio.errors import JudgeError
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.evaluation.envelope import formant_shift, long_term_envelope
from stepaudio.evaluation.frames import frame_levels, loud_frames, signal
from stepaudio.evaluation.pitch import AutocorrelationPitch, PitchTracker
from stepaudio.evaluation.prosody import VoiceCourse

__all__ = ["MEASURES", "RULES", "UNCHANGED", "UNKNOWN", "Condition", "StyleJudge"]

#: What is compared, each as a ratio of after to before, 1 where nothing changed.
MEASURES: Mapping[str, str] = {
    "voicing": "share of the loud frames that are voiced",
    "pitch": "median F0",
    "peak": "90th percentile of F0",
    "melody": "spread of F0 in semitones, between its 10th and 90th percentile",
    "formants": "formant frequencies, by the shift of the long-term spectral envelope",
    "tempo": "speaking rate: the same words from the first to the last loud frame",
}


@dataclass(frozen=True)
class Condition:
    """One measure must change at least so much.

    Attributes:
        measure: a key of :data:`MEASURES`.
        ratio: after over before; above 1 a least, below 1 a most.
        why: the reason for the number.
    """

    measure: str
    ratio: float
    why: str


#: Label to the conditions that must all hold.
RULES: Mapping[str, tuple[Condition, ...]] = {
    "whisper": (
        Condition("voicing", 0.4, "a whisper has no voice; second takes keep over nine tenths"),
    ),
    "child": (
        Condition("pitch", 1.16, "2.6 semitones, twice what second takes differ by"),
        Condition("formants", 1.06, "a shorter vocal tract; second takes stay within 0.95 to 1.05"),
    ),
    "older": (
        Condition("pitch", 0.94, "a semitone, the least that is plainly another pitch"),
        Condition("formants", 0.975, "a lower larynx lengthens the vocal tract by some percent"),
    ),
    "exaggerated": (
        Condition("melody", 1.4, "more than most second takes; the short ones vary that much too"),
        Condition("peak", 1.08, "theatre widens the melody upwards; a monotone source does not"),
    ),
    "faster": (
        Condition("tempo", 1.15, "a listener notices 5 %; second takes differ by up to a tenth"),
    ),
    "slower": (Condition("tempo", 1 / 1.15, "the inverse of faster"),),
    "more faster": (Condition("tempo", 1.4, "beyond what faster asks for, which is about 1.3"),),
    "more slower": (Condition("tempo", 1 / 1.4, "the inverse of more faster"),),
}

#: Answer where no rule holds.
UNCHANGED = "unchanged"
#: Answer where what the label asked for needs cannot be measured, such as pitch without a voice.
UNKNOWN = "unknown"

# Voice is there in runs of 50 ms that do not leap; anything else is noise or an octave error.
_SHORTEST_RUN, _LARGEST_STEP = 5, 1.5
_FEWEST_VOICED = 20
# Below this the source has too little voice to lose any.
_LEAST_VOICING = 0.15
_SMALLEST = 1e-3


class StyleJudge:
    """Judges by rule against the source; a :class:`~stepaudio.evaluation.contracts.Judge`.

    The answer is the label asked for if its rule holds. Otherwise it is the label whose rule holds
    by the widest margin, ``"unchanged"`` if none does, or ``"unknown"`` if the rule asked about
    cannot be measured. ``scores`` has the strength of each change: 1 is the threshold, 0 no change,
    negative the wrong direction; a label that cannot be measured is not in it.

    Args:
        tracker: of F0; None is the library's own. It is one and the same on every machine.
    """

    labels = (*RULES, UNCHANGED)

    def __init__(self, tracker: PitchTracker | None = None) -> None:
        self.tracker: PitchTracker = tracker or AutocorrelationPitch()

    @property
    def model(self) -> ModelId:
        """The rules, with a digest of the table, and the tracker."""
        digest = hashlib.sha256(repr(sorted(RULES.items())).encode()).hexdigest()[:8]
        tracker = self.tracker.model
        version = f"{stepaudio.__version__}; rules {digest}; {tracker.name} {tracker.version}"
        return ModelId("stepaudio/style-rules", version)

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Compare every recording with its source.

        Args:
            samples: with a source of the same words; ``label`` is what was asked for.

        Returns:
            A verdict per sample; ``raw`` holds the measured ratios.

        Raises:
            JudgeError: a sample without a source.
        """
        without = [sample.id for sample in samples if sample.source is None]
        if without:
            raise JudgeError(
                f"samples {without[:3]} have no source; these styles are judged by what changed, "
                "so give the recording before the edit"
            )
        # One recording is the source of several edits, and each edit the source of the next.
        voices: dict[int, _Voice] = {}

        def follow(audio: Audio) -> _Voice:
            if id(audio) not in voices:
                voices[id(audio)] = _Voice.of(audio, self.tracker)
            return voices[id(audio)]

        verdicts = []
        for sample in samples:
            assert sample.source is not None
            ratios = _ratios(follow(sample.source), follow(sample.audio))
            verdicts.append(_verdict(ratios, sample.label))
        return verdicts


@dataclass(frozen=True)
class _Voice:
    """What is compared of one recording; None where it cannot be told."""

    voicing: float | None
    pitch: float | None
    peak: float | None
    melody: float | None
    seconds: float | None
    envelope: NDArray[np.float64] | None

    @classmethod
    def of(cls, audio: Audio, tracker: PitchTracker) -> _Voice:
        course = VoiceCourse.of(audio, tracker)
        samples = signal(audio)
        loud = loud_frames(frame_levels(samples))
        voiced = _steady(course.f0)
        pitch = peak = melody = None
        if voiced.sum() >= _FEWEST_VOICED:
            low, pitch, peak = (float(q) for q in np.percentile(course.f0[voiced], [10, 50, 90]))
            melody = 12 * math.log2(peak / low)
        voicing = float(voiced[loud].mean()) if loud.any() else None
        envelope = long_term_envelope(samples, voiced)
        return cls(voicing, pitch, peak, melody, course.speaking_seconds, envelope)


def _steady(f0: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Frames in runs of voice long and smooth enough to be a voice."""
    melody = 12 * np.log2(f0)  # NaN where there is no voice, which no comparison passes
    joined = np.abs(np.diff(melody)) < _LARGEST_STEP
    runs = np.cumsum(np.concatenate([[True], ~joined]))
    lengths = np.bincount(runs)[runs]
    steady: NDArray[np.bool_] = (lengths >= _SHORTEST_RUN) & np.isfinite(f0)
    return steady


def _ratios(before: _Voice, after: _Voice) -> dict[str, float | None]:
    voicing = None
    if before.voicing is not None and before.voicing >= _LEAST_VOICING:
        voicing = _ratio(after.voicing, before.voicing)
    return {
        "voicing": voicing,
        "pitch": _ratio(after.pitch, before.pitch),
        "peak": _ratio(after.peak, before.peak),
        "melody": _ratio(after.melody, before.melody),
        "formants": formant_shift(before.envelope, after.envelope),
        "tempo": _ratio(before.seconds, after.seconds),
    }


def _ratio(one: float | None, other: float | None) -> float | None:
    if one is None or not other:
        return None
    return max(one / other, _SMALLEST)


def _verdict(ratios: Mapping[str, float | None], asked: str) -> Verdict:
    scores = {}
    for label, conditions in RULES.items():
        strengths = []
        for condition in conditions:
            ratio = ratios[condition.measure]
            if ratio is not None:
                strengths.append(math.log(ratio) / math.log(condition.ratio))
        if len(strengths) == len(conditions):
            scores[label] = min(strengths)
    raw = ", ".join(
        f"{name} {'unknown' if ratio is None else f'x{ratio:.3f}'}"
        for name, ratio in ratios.items()
    )
    held = {label: score for label, score in scores.items() if score >= 1}
    if asked in held:
        return Verdict(asked, scores, raw)
    if held:
        return Verdict(max(held, key=held.__getitem__), scores, raw)
    unknown = asked in RULES and asked not in scores
    return Verdict(UNKNOWN if unknown else UNCHANGED, scores, raw)
