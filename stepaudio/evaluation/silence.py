"""How much silence is there, and how much of what could be removed is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

import stepaudio
from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.extras import need, package_version
from stepaudio.evaluation.frames import HOP, RATE, frame_levels, loud_frames, signal

__all__ = ["EnergySpeech", "Silence", "SileroSpeech", "SpeechDetector", "Spans", "best_detector"]

#: Start and end of every stretch of speech, seconds, in order.
Spans: TypeAlias = list[tuple[float, float]]

_Mask: TypeAlias = NDArray[np.bool_]

#: A source with less removable silence than this, in seconds, has none to speak of.
_LEAST_REMOVABLE = 0.1
# The fallback: speech is within so much of the loud frames, gaps are closed and islands dropped
# up to these lengths (frames of 10 ms), and every stretch is widened a little.
_ENERGY_WITHIN_DB = 30.0
_ENERGY_GAP, _ENERGY_ISLAND, _ENERGY_PAD = 10, 8, 3


@runtime_checkable
class SpeechDetector(Protocol):
    """Something that tells speech from silence."""

    @property
    def model(self) -> ModelId:
        """What detects."""

    def speech(self, audio: Audio) -> Spans:
        """Where there is speech."""


class SileroSpeech:
    """Silero VAD with the settings of its authors.

    Raises:
        MissingExtraError: silero-vad or onnxruntime is not installed.
    """

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        self._package = need("silero_vad", "silence by silero-vad")
        # Importing the package sets torch to one thread for the whole program.
        torch.set_num_threads(threads)
        need("onnxruntime", "silence by silero-vad")
        self._network: Any = self._package.load_silero_vad(onnx=True)

    @property
    def model(self) -> ModelId:
        """Package and version; the weights are part of the package."""
        return ModelId("silero-vad", package_version("silero-vad"))

    def speech(self, audio: Audio) -> Spans:
        """Where there is speech."""
        samples = audio.resample(RATE).samples
        found = self._package.get_speech_timestamps(samples, self._network, sampling_rate=RATE)
        return [(span["start"] / RATE, span["end"] / RATE) for span in found]


class EnergySpeech:
    """Whatever is loud is speech: for clean recordings where silero-vad is not installed."""

    @property
    def model(self) -> ModelId:
        """Named as what it is, so that nobody takes it for a voice detector."""
        return ModelId("stepaudio/energy (fallback)", stepaudio.__version__)

    def speech(self, audio: Audio) -> Spans:
        """Where there is sound."""
        loud = loud_frames(frame_levels(signal(audio)), within=_ENERGY_WITHIN_DB)
        loud = _without_runs(loud, value=False, shorter=_ENERGY_GAP)
        loud = _without_runs(loud, value=True, shorter=_ENERGY_ISLAND)
        spans: Spans = []
        for start, end in _runs(loud, value=True):
            first = max(0.0, (start - _ENERGY_PAD) * HOP / RATE)
            last = min(audio.seconds, (end + _ENERGY_PAD) * HOP / RATE)
            spans.append((first, last))
        return spans


def best_detector() -> SpeechDetector:
    """Silero's detector if it is installed, the one by energy if not."""
    try:
        return SileroSpeech()
    except MissingExtraError:
        return EnergySpeech()


class Silence:
    """Silence, and what trimming left of it.

    Numbers of a sample: ``silence_share`` of the duration; ``longest_pause_s`` between two
    stretches of speech; ``removable_s``, silence beyond ``edge`` at either end and beyond
    ``pause`` within; ``removable_left``, this over the source's, None without a source or if
    there was nothing to remove. A recording without speech is all silence, and only its share is
    told.

    Args:
        detector: None is silero-vad's where it is installed, else the one by energy.
        edge: silence that may stay at either end, seconds.
        pause: length of pause that may stay, seconds.
    """

    name = "silence"

    def __init__(
        self, detector: SpeechDetector | None = None, *, edge: float = 0.1, pause: float = 0.3
    ) -> None:
        self.detector: SpeechDetector = detector or best_detector()
        self.edge = edge
        self.pause = pause

    @property
    def model(self) -> ModelId:
        """The detector."""
        return self.detector.model

    def removable(self, spans: Spans, seconds: float) -> float:
        """Silence that trimming could remove.

        Args:
            spans: where there is speech; not empty.
            seconds: duration of the recording.

        Returns:
            Seconds.
        """
        ends = max(0.0, spans[0][0] - self.edge) + max(0.0, seconds - spans[-1][1] - self.edge)
        return ends + sum(max(0.0, pause - self.pause) for pause in _pauses(spans))

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Measure every recording and its source.

        Args:
            samples: recordings of any rate.

        Returns:
            Numbers per sample.
        """
        # One recording is the source of several edits: listened to once.
        sources = {id(s.source): s.source for s in samples if s.source is not None}
        before = {key: self._numbers(source)["removable_s"] for key, source in sources.items()}
        rows: list[Mapping[str, float | None]] = []
        for sample in samples:
            numbers = self._numbers(sample.audio)
            was, left = before.get(id(sample.source)), numbers["removable_s"]
            numbers["removable_left"] = (
                left / was
                if was is not None and left is not None and was >= _LEAST_REMOVABLE
                else None
            )
            rows.append(numbers)
        return rows

    def _numbers(self, audio: Audio) -> dict[str, float | None]:
        spans = self.detector.speech(audio)
        if not spans:
            return {"silence_share": 1.0, "longest_pause_s": None, "removable_s": None}
        speech = sum(end - start for start, end in spans)
        return {
            "silence_share": max(0.0, 1 - speech / audio.seconds),
            "longest_pause_s": max(_pauses(spans), default=0.0),
            "removable_s": self.removable(spans, audio.seconds),
        }


def _pauses(spans: Spans) -> list[float]:
    return [after[0] - before[1] for before, after in pairwise(spans)]


def _runs(mask: _Mask, *, value: bool) -> list[tuple[int, int]]:
    """First frame and the one after the last of every run of a value."""
    edges = np.diff(np.concatenate([[False], mask == value, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _without_runs(mask: _Mask, *, value: bool, shorter: int) -> _Mask:
    """Turn short runs into the other value; short silence at the ends stays silence."""
    out: _Mask = mask.copy()
    for start, end in _runs(mask, value=value):
        is_edge = start == 0 or end == len(mask)
        if end - start < shorter and (value or not is_edge):
            out[start:end] = not value
    return out
