"""Emotions or sounds from the statistics of a recording: two layers over one vector.

Trained by ``recipes/judges`` on acted speech or on sounds of the voice. It needs minutes to train
and generalises better to people it has not heard than a network over frames does (see
``recipes/judges/README.md``), because nearly everything about listening was learned elsewhere, by
Whisper's encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.audio import Audio
from stepaudio.errors import CheckpointError
from stepaudio.evaluation.frames import loud_frames
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.voice_statistics import MANNER, Course, course_of, statistics
from stepaudio.hub import Pretrained

__all__ = ["StatisticsClassifier", "StatisticsConfig", "windows"]

# Numbers this many deviations from the mean of the training recordings say no more than these.
_FARTHEST = 4.0


@dataclass(frozen=True)
class StatisticsConfig:
    """What is told apart, by which ears.

    Attributes:
        labels: the kinds; at least two.
        whisper: size of the recogniser whose encoder is asked; empty for none.
        whisper_version: as the recogniser tells it, with the digest of its weights.
        whisper_width: channels of its encoder; 0 for none.
        hidden: units of the layer between.
        dropout: in training.
        seconds: longest stretch summed up at once; acted sentences are about as long, and sounds
            are much shorter.
        pairs: what is classified is how the vector of a recording differs from that of the
            recording before the edit.
    """

    labels: tuple[str, ...]
    whisper: str = ""
    whisper_version: str = ""
    whisper_width: int = 0
    hidden: int = 128
    dropout: float = 0.5
    seconds: float = 5.0
    pairs: bool = False

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"labels must be at least two and differ, got {self.labels}")
        if bool(self.whisper) != bool(self.whisper_width):
            raise ValueError("whisper and its width must be given together")

    @property
    def size(self) -> int:
        """Length of a vector of statistics."""
        return MANNER + 3 * self.whisper_width

    @classmethod
    def release(
        cls,
        labels: Sequence[str],
        listener: WhisperRecognizer | None = None,
        *,
        pairs: bool = False,
    ) -> Self:
        """The sizes the recipe trains, with or without a recogniser."""
        if listener is None:
            return cls(tuple(labels), pairs=pairs)
        width = listener.frames(Audio(torch.zeros(3200), 16000)).shape[1]
        return cls(tuple(labels), listener.size, listener.model.version, width, pairs=pairs)

    @classmethod
    def debug(cls, labels: Sequence[str] = ("one", "other"), *, pairs: bool = False) -> Self:
        """Smallest useful network, for tests."""
        return cls(tuple(labels), hidden=8, dropout=0.0, pairs=pairs)


class StatisticsClassifier(Pretrained):
    """The network with its ears."""

    config_class = StatisticsConfig
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: StatisticsConfig) -> None:
        super().__init__()
        self.config = config
        # Of the training vectors, so that every number counts alike. The mean of differences stays
        # 0: where nothing differs, there is nothing to weigh.
        self.register_buffer("mean", torch.zeros(config.size))
        self.register_buffer("deviation", torch.ones(config.size))
        self.hidden = nn.Linear(config.size, config.hidden)
        self.out = nn.Linear(config.hidden, len(config.labels))
        #: The recogniser, once it was needed.
        self.ears: WhisperRecognizer | None = None

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores of every label.

        Args:
            vectors: ``[B, size]`` from :func:`~stepaudio.evaluation.voice_statistics.statistics`,
                or differences of two of them if ``config.pairs``.

        Returns:
            ``[B, L]`` logits.
        """
        x = ((vectors - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)
        x = F.dropout(x, self.config.dropout, self.training)
        x = F.dropout(F.gelu(self.hidden(x)), self.config.dropout, self.training)
        logits: Tensor = self.out(x)
        return logits

    def listener(self) -> WhisperRecognizer | None:
        """The recogniser the classifier was trained with, loaded when first asked for.

        Returns:
            None if it needs none.

        Raises:
            MissingExtraError: faster-whisper is not installed.
            CheckpointError: the recogniser found is another one than in training.
        """
        if self.config.whisper and self.ears is None:
            found = WhisperRecognizer(self.config.whisper)
            # Another version of the package computes the same; other weights do not.
            ours, theirs = (
                version.rpartition(" ")[2]
                for version in (found.model.version, self.config.whisper_version)
            )
            if ours != theirs:
                raise CheckpointError(
                    f"this judge was trained with Whisper {self.config.whisper} {theirs}, but "
                    f"{ours} is installed; install that one, or train the judge again"
                )
            self.ears = found
        return self.ears

    def stretches(self, audio: Audio) -> NDArray[np.float64]:
        """Sum a whole recording up.

        Args:
            audio: of any rate and length.

        Returns:
            ``[W, size]``, one per stretch of up to ``config.seconds``. Stretches overlap; those in
            which nothing is to be heard are left out.

        Raises:
            AudioError: fewer than 0.2 s of sound.
            MissingExtraError: faster-whisper is needed and not installed.
            CheckpointError: the recogniser found is another one than in training.
        """
        course = course_of(audio, self.listener())
        longest = round(self.config.seconds * 100)
        count = max(1, -(-2 * (len(course) - longest) // longest) + 1)
        starts = np.linspace(0, max(0, len(course) - longest), count).round().astype(int)
        # The first and the last frame of a course are loud, so something is left.
        parts = [course.part(start, start + longest) for start in starts]
        heard = [part for part in parts if loud_frames(part.levels).any()]
        return np.stack([statistics(part) for part in heard])

    def classify(self, audio: Audio) -> Tensor:
        """Classify a whole recording by itself; call in evaluation mode.

        Args:
            audio: of any rate and length; the log probabilities of its stretches are averaged.

        Returns:
            ``[L]`` probabilities.

        Raises:
            ValueError: ``config.pairs``, so that there is nothing to be said of one recording.
            AudioError: fewer than 0.2 s of sound.
            MissingExtraError: faster-whisper is needed and not installed.
            CheckpointError: the recogniser found is another one than in training.
        """
        if self.config.pairs:
            raise ValueError("this classifier compares two recordings; see classify_change")
        return self.classify_vectors(self.stretches(audio))

    def classify_change(
        self, before: NDArray[np.floating[Any]], after: NDArray[np.floating[Any]]
    ) -> Tensor:
        """Classify what an edit changed, if ``config.pairs``; call in evaluation mode.

        Args:
            before: :meth:`stretches` of the recording before the edit ``[W, size]``.
            after: those of the edit ``[V, size]``; it may be longer or shorter.

        Returns:
            ``[L]`` probabilities.
        """
        return self.classify_vectors((after.mean(0) - before.mean(0))[None])

    @torch.no_grad()
    def scan(self, audio: Audio, hop: float) -> tuple[Tensor, Tensor]:
        """Listen through a window; call in evaluation mode.

        Args:
            audio: of any rate.
            hop: seconds between the beginnings of windows of ``config.seconds``.

        Returns:
            Middle of each window in seconds ``[N]``, and probabilities ``[N, L]``. Windows in which
            nothing is to be heard are left out.

        Raises:
            AudioError: fewer than 0.2 s of sound.
            MissingExtraError: faster-whisper is needed and not installed.
            CheckpointError: the recogniser found is another one than in training.
        """
        course = course_of(audio, self.listener())
        middles, vectors = windows(course, self.config.seconds, hop)
        logits = self(torch.from_numpy(vectors).to(self.out.weight))
        return torch.from_numpy(middles), logits.float().softmax(-1).cpu()

    @torch.no_grad()
    def classify_vectors(self, vectors: NDArray[np.floating[Any]]) -> Tensor:
        """Classify a recording that was summed up before.

        Args:
            vectors: ``[W, size]``, one per stretch.

        Returns:
            ``[L]`` probabilities.
        """
        logits = self(torch.from_numpy(vectors).to(self.out.weight))
        log_probabilities: Tensor = logits.float().log_softmax(-1).cpu()
        return log_probabilities.mean(0).softmax(-1)


def windows(
    course: Course, seconds: float, hop: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum up a recording window by window.

    Args:
        course: of a recording.
        seconds: length of a window; a shorter recording is one window.
        hop: seconds between their beginnings; the last one ends with the recording.

    Returns:
        Middle of each window in seconds of the recording ``[N]``, and vectors ``[N, size]``.
        Windows in which nothing is to be heard are left out.
    """
    size = min(len(course), round(seconds * 100))
    starts = list(range(0, len(course) - size + 1, max(1, round(hop * 100))))
    if starts[-1] != len(course) - size:
        starts.append(len(course) - size)
    # The first and the last frame of a course are loud, so there is at least one window.
    parts = [course.part(start, start + size) for start in starts]
    parts = [part for part in parts if loud_frames(part.levels).any()]
    middles = np.array([(part.first + size / 2) / 100 for part in parts])
    return middles, np.stack([statistics(part) for part in parts])
