"""Is an inserted sound there, and is it where it was asked for?

A classifier of non-verbal sounds listens through a sliding window, so each sound found has a time.
The place asked for is known as a share of the words, and the place found as a share of the spoken
time: no recogniser is needed, and a pause before the sound does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from stepaudio.audio import Audio
from stepaudio.errors import JudgeError
from stepaudio.evaluation.classifier_judge import load_classifier
from stepaudio.evaluation.clip_classifier import ClipClassifier
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, loud_frames, signal
from stepaudio.evaluation.judge_prompts import TagPlace, tag_places
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier

__all__ = ["HOP_SECONDS", "OTHER", "Event", "EventJudge", "Finding"]

#: Label of everything that is none of the sounds: words, noise, silence.
OTHER = "other"

#: Distance of the windows through which a recording is heard.
HOP_SECONDS = 0.1
# A window is taken for a sound that is at least as likely as everything else together.
_LIKELY = 0.5
# Stretches of one sound closer than this are one.
_LONGEST_GAP = 0.25
# Words differ in length: at the place means within so much of the text, or so many seconds.
_NEAR_SHARE, _NEAR_SECONDS = 0.15, 0.5


@dataclass(frozen=True)
class Event:
    """A sound heard.

    Attributes:
        label: which.
        start: seconds.
        end: seconds.
        score: highest probability in it.
    """

    label: str
    start: float
    end: float
    score: float

    @property
    def middle(self) -> float:
        """Seconds."""
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Finding:
    """What became of one sound asked for.

    Attributes:
        place: where it was asked for.
        event: the sound nearest to that place; None if there is none.
        distance: from the place, in units of what still counts as there; None without an event.
    """

    place: TagPlace
    event: Event | None = None
    distance: float | None = None

    @property
    def at_place(self) -> bool:
        """Heard at the place."""
        return self.distance is not None and self.distance <= 1

    @property
    def near(self) -> bool:
        """Heard, at most twice as far off as still counts as there."""
        return self.distance is not None and self.distance <= 2


class EventJudge:
    """Finds the sounds of a text with tags; a :class:`~stepaudio.evaluation.contracts.Judge`.

    ``"3"``: every sound is at its place. ``"1"``: none is, nor near it. ``"2"``: anything between.

    Args:
        classifier: tells the tags, by their names such as ``"[Laughter]"``, and ``"other"`` apart.
        confusion: what it says of speakers it was not trained on.
        model: its name and version.

    Raises:
        JudgeError: the classifier has no label ``"other"``.
    """

    labels = ("1", "2", "3")

    def __init__(
        self,
        classifier: ClipClassifier | StatisticsClassifier,
        confusion: Confusion,
        model: ModelId,
    ) -> None:
        if OTHER not in classifier.config.labels:
            raise JudgeError(
                f"{model.name} has no label {OTHER!r} among {classifier.config.labels}; "
                "a detector must know what is no event"
            )
        self.classifier: ClipClassifier | StatisticsClassifier = classifier.eval()
        self.confusion = confusion
        self._model = model

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Load a classifier of sounds with its accuracy.

        Args:
            folder: with config, weights and confusion matrix.
            device: where the network shall be.

        Returns:
            The judge.

        Raises:
            CheckpointError: a file is missing or damaged, the classifier was never measured, or it
                was trained with another recogniser than the one installed.
            JudgeError: it has no label ``"other"``.
            MissingExtraError: it listens through Whisper, and faster-whisper is not installed.
        """
        return cls(*load_classifier(folder, device=device))

    @property
    def model(self) -> ModelId:
        """Name, digest of the weights, and the accuracy to read every number with."""
        return self._model

    def events(self, audio: Audio) -> list[Event]:
        """All sounds in a recording, in order of time.

        Args:
            audio: of any rate.

        Returns:
            Stretches during which a sound is likelier than everything else.

        Raises:
            AudioError: fewer than 0.2 s of sound.
        """
        return self.gather(*self.classifier.scan(audio, HOP_SECONDS))

    def gather(self, middles: Tensor, probabilities: Tensor) -> list[Event]:
        """Sounds from windows that were heard before.

        Args:
            middles: ``[N]`` seconds, :data:`HOP_SECONDS` apart.
            probabilities: ``[N, L]`` of the classifier's labels.

        Returns:
            As :meth:`events`.
        """
        found: list[Event] = []
        for column, label in enumerate(self.classifier.config.labels):
            if label == OTHER:
                continue
            current: Event | None = None
            for middle, likely in zip(
                middles.tolist(), probabilities[:, column].tolist(), strict=True
            ):
                if likely < _LIKELY:
                    continue
                start, end = middle - HOP_SECONDS / 2, middle + HOP_SECONDS / 2
                if current is not None and start - current.end <= _LONGEST_GAP:
                    current = Event(label, current.start, end, max(current.score, likely))
                    found[-1] = current
                else:
                    current = Event(label, start, end, likely)
                    found.append(current)
        return sorted(found, key=lambda event: event.start)

    def find(self, sample: Sample) -> list[Finding]:
        """Look for every sound asked for.

        Args:
            sample: its text has tags where sounds shall be.

        Returns:
            One finding per tag, in order of the text.

        Raises:
            JudgeError: no tag, or one the classifier does not know.
            AudioError: fewer than 0.2 s of sound.
        """
        places = tag_places(sample.text)
        unknown = {place.tag for place in places} - set(self.classifier.config.labels)
        if not places or unknown:
            raise JudgeError(
                f"sample {sample.id!r}: this judge listens for {self.classifier.config.labels}, "
                f"the text asks for {sorted(unknown) or 'none of them'}: {sample.text!r}"
            )
        events = self.events(sample.audio)
        timeline = _Timeline(sample.audio, events)
        left, findings = list(events), []
        for place in places:
            candidates = [event for event in left if event.label == place.tag]
            if not candidates:
                findings.append(Finding(place))
                continue
            nearest = min(candidates, key=lambda event: timeline.distance(event, place))
            left.remove(nearest)
            findings.append(Finding(place, nearest, timeline.distance(nearest, place)))
        return findings

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Say how well the sounds are there.

        Args:
            samples: texts with tags.

        Returns:
            A verdict per sample; ``raw`` tells what was found where.

        Raises:
            JudgeError: a text without tags, or with a tag the classifier does not know.
            AudioError: a recording of fewer than 0.2 s of sound.
        """
        verdicts = []
        for sample in samples:
            findings = self.find(sample)
            if all(finding.at_place for finding in findings):
                answer = "3"
            else:
                answer = "2" if any(finding.near for finding in findings) else "1"
            verdicts.append(Verdict(answer, raw="; ".join(map(_describe, findings))))
        return verdicts


class _Timeline:
    """Spoken time of a recording: loud, and no event."""

    def __init__(self, audio: Audio, events: Sequence[Event]) -> None:
        spoken = loud_frames(frame_levels(signal(audio)))
        for event in events:
            spoken[_frame(event.start) : _frame(event.end) + 1] = False
        self._before = np.concatenate([[0], np.cumsum(spoken)]) * (HOP / RATE)

    def distance(self, event: Event, place: TagPlace) -> float:
        """Between where it is and where it should be, 1 being the most that is still there."""
        total = float(self._before[-1])
        if place.share is None or not total:
            return 0.0  # nothing but sounds: any place is right
        before = float(self._before[min(_frame(event.middle), len(self._before) - 1)])
        tolerance = max(_NEAR_SHARE, _NEAR_SECONDS / total)
        return abs(before / total - place.share) / tolerance


def _frame(seconds: float) -> int:
    return max(0, round(seconds * RATE / HOP))


def _describe(finding: Finding) -> str:
    if finding.event is None or finding.distance is None:
        return f"{finding.place.tag} not heard"
    event = finding.event
    return (
        f"{event.label} at {event.start:.2f} to {event.end:.2f} s (p {event.score:.2f}), "
        f"{finding.distance:.2f} of the tolerance from its place"
    )
