"""A trained classifier as a judge, never without its own accuracy on people it had not heard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from stepaudio.audio import Audio
from stepaudio.errors import CheckpointError, JudgeError
from stepaudio.evaluation.clip_classifier import ClipClassifier
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier
from stepaudio.hub import CONFIG_FILE, WEIGHTS_FILE, read_json

__all__ = ["ClassifierJudge", "load_classifier"]


class ClassifierJudge:
    """Says which label sounds likeliest; satisfies :class:`~stepaudio.evaluation.contracts.Judge`.

    One whose classifier was trained on pairs says what was made of the recording before the edit.

    Args:
        classifier: the network.
        confusion: what it says of speakers it was not trained on.
        model: its name and version.
    """

    def __init__(
        self,
        classifier: ClipClassifier | StatisticsClassifier,
        confusion: Confusion,
        model: ModelId,
    ) -> None:
        if confusion.labels != classifier.config.labels:
            raise CheckpointError(
                f"{model.name} tells {classifier.config.labels} apart but was measured on "
                f"{confusion.labels}; measure it again"
            )
        self.classifier: ClipClassifier | StatisticsClassifier = classifier.eval()
        self.confusion = confusion
        self._model = model

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Load a folder written by the recipe.

        Args:
            folder: with config, weights and confusion matrix.
            device: where the network shall be.

        Returns:
            The judge.

        Raises:
            CheckpointError: a file is missing or damaged, the judge was never measured, or it
                was trained with another recogniser than the one installed.
            MissingExtraError: it listens through Whisper, and faster-whisper is not installed.
        """
        return cls(*load_classifier(folder, device=device))

    @property
    def model(self) -> ModelId:
        """Name, digest of the weights, and the accuracy to read every number with."""
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        labels: tuple[str, ...] = self.classifier.config.labels
        return labels

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Classify every recording by itself, or against its source.

        Args:
            samples: only their audio is heard, and a judge of pairs hears their source.

        Returns:
            A verdict per sample, with probabilities as scores.

        Raises:
            AudioError: a recording shorter than a tenth of a second.
            JudgeError: a sample without a source for a judge of pairs.
        """
        if isinstance(self.classifier, StatisticsClassifier) and self.classifier.config.pairs:
            heard = _changes(self.classifier, samples)
        else:
            heard = [self.classifier.classify(sample.audio) for sample in samples]
        verdicts = []
        for probabilities in heard:
            scores = dict(zip(self.labels, probabilities.tolist(), strict=True))
            verdicts.append(Verdict(max(scores, key=scores.__getitem__), scores))
        return verdicts


def _changes(classifier: StatisticsClassifier, samples: Sequence[Sample]) -> list[Tensor]:
    """Probabilities of what became of the source of each sample."""
    without = [sample.id for sample in samples if sample.source is None]
    if without:
        raise JudgeError(
            f"samples {without[:3]} have no source; this judge hears what changed, so give the "
            "recording before the edit"
        )
    # One recording is the source of several edits.
    known: dict[int, NDArray[np.float64]] = {}

    def stretches(audio: Audio) -> NDArray[np.float64]:
        if id(audio) not in known:
            known[id(audio)] = classifier.stretches(audio)
        return known[id(audio)]

    found = []
    for sample in samples:
        assert sample.source is not None
        found.append(classifier.classify_change(stretches(sample.source), stretches(sample.audio)))
    return found


def load_classifier(
    folder: str | Path, *, device: torch.device | str = "cpu"
) -> tuple[ClipClassifier | StatisticsClassifier, Confusion, ModelId]:
    """Read a classifier with its accuracy.

    Args:
        folder: with config, weights and confusion matrix.
        device: where the network shall be.

    Returns:
        Network, confusion matrix, and name with the digest of the weights and the accuracy.

    Raises:
        CheckpointError: a file is missing or damaged, the matrix is empty, or it was trained with
            another recogniser than the one installed.
        MissingExtraError: it listens through Whisper, and faster-whisper is not installed.
    """
    folder = Path(folder)
    classifier: ClipClassifier | StatisticsClassifier
    if "whisper" in read_json(folder / CONFIG_FILE):
        classifier = StatisticsClassifier.from_pretrained(folder, device=device)
        name = "statistics-classifier" + ("-of-pairs" if classifier.config.pairs else "")
    else:
        name = "clip-classifier"
        classifier = ClipClassifier.from_pretrained(folder, device=device)
    confusion = Confusion.load(folder)
    if not confusion.total:
        raise CheckpointError(f"{folder}: this judge was never measured; train it by the recipe")
    if isinstance(classifier, StatisticsClassifier):
        classifier.listener()  # What is missing is missing now, not after an hour of edits.
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()[:12]
    named = ModelId(f"stepaudio/{name}/{folder.name}", f"sha256:{digest}; {confusion.summary()}")
    return classifier, confusion, named
