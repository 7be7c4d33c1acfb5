"""A trained classifier as a judge, never without its own accuracy on people it had not heard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from typing_extensions import Self

from stepaudio.errors import CheckpointError
from stepaudio.evaluation.clip_classifier import ClipClassifier
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier
from stepaudio.hub import CONFIG_FILE, WEIGHTS_FILE, Pretrained, read_json

__all__ = ["ClassifierJudge", "load_classifier"]

Network = TypeVar("Network", ClipClassifier, StatisticsClassifier)
_NAMES: dict[type[Pretrained], str] = {
    ClipClassifier: "clip-classifier",
    StatisticsClassifier: "statistics-classifier",
}


class ClassifierJudge:
    """Says which label sounds likeliest; satisfies :class:`~stepaudio.evaluation.contracts.Judge`.

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
        if "whisper" not in read_json(Path(folder) / CONFIG_FILE):
            return cls(*load_classifier(folder, ClipClassifier, device=device))
        classifier, confusion, model = load_classifier(folder, StatisticsClassifier, device=device)
        classifier.listener()  # What is missing is missing now, not after an hour of edits.
        return cls(classifier, confusion, model)

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
        """Classify every recording by itself.

        Args:
            samples: only their audio is heard.

        Returns:
            A verdict per sample, with probabilities as scores.

        Raises:
            AudioError: a recording shorter than a tenth of a second.
        """
        verdicts = []
        for sample in samples:
            probabilities = self.classifier.classify(sample.audio).tolist()
            scores = dict(zip(self.labels, probabilities, strict=True))
            verdicts.append(Verdict(max(scores, key=scores.__getitem__), scores))
        return verdicts


def load_classifier(
    folder: str | Path, kind: type[Network], *, device: torch.device | str = "cpu"
) -> tuple[Network, Confusion, ModelId]:
    """Read a classifier with its accuracy.

    Args:
        folder: with config, weights and confusion matrix.
        kind: of network.
        device: where the network shall be.

    Returns:
        Network, confusion matrix, and name with the digest of the weights and the accuracy.

    Raises:
        CheckpointError: a file is missing or damaged, or the matrix is empty.
    """
    folder = Path(folder)
    classifier = kind.from_pretrained(folder, device=device)
    confusion = Confusion.load(folder)
    if not confusion.total:
        raise CheckpointError(f"{folder}: this judge was never measured; train it by the recipe")
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()[:12]
    name = f"stepaudio/{_NAMES[kind]}/{folder.name}"
    return classifier, confusion, ModelId(name, f"sha256:{digest}; {confusion.summary()}")
