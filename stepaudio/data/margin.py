"""The margin scorer: how far apart are two recordings in the attribute that was wanted?

EditX keeps only pairs whose two halves differ a lot. There, a scorer trained on a small set rated
by people says so from 1 to 10 (paper, section on SFT data). Here it reads the difference of two
vectors of voice statistics: both halves are the same person saying the same words, so what is left
of it is the manner. The network says for each label how much more often listeners would hear it
in the second recording than in the first; a calibration turns that into the scale of 1 to 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.audio import Audio
from stepaudio.data.isotonic import Isotonic
from stepaudio.errors import DataError
from stepaudio.evaluation.voice_statistics import MANNER, course_of, statistics
from stepaudio.hub import Pretrained

__all__ = [
    "HIGHEST",
    "LOWEST",
    "MarginConfig",
    "MarginScorer",
    "pair_features",
    "to_margin",
    "voice_vector",
]

#: Ends of the scale: no difference, and as large as it gets.
LOWEST, HIGHEST = 1.0, 10.0

_EMBEDDED = Path(__file__).parents[1] / "assets" / "margin"
# Numbers this many deviations from the mean of the training pairs say no more than these.
_FARTHEST = 4.0
# Root mean square of a scaled difference at which there is hardly any. Of the training pairs the
# nearest two are 0.36 apart, half of those of the same words more than 0.92.
_NOTHING = 0.2


@dataclass(frozen=True)
class MarginConfig:
    """What is rated, and by how large a network.

    Attributes:
        labels: attributes that can be wanted, named as edits are, e.g. ``"emotion:happy"``.
        hidden: units of the layer between.
        dropout: in training.
        calibration: raw scores in 0..1 to the share of listeners who would hear the difference.
    """

    labels: tuple[str, ...]
    hidden: int = 64
    dropout: float = 0.3
    calibration: Isotonic = field(default_factory=Isotonic)

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be there and differ, got {self.labels}")

    @classmethod
    def debug(cls, labels: Sequence[str] = ("emotion:happy", "emotion:sad")) -> Self:
        """Smallest useful network, for tests."""
        return cls(tuple(labels), hidden=4, dropout=0.0)


def voice_vector(audio: Audio) -> NDArray[np.float64]:
    """What the scorer hears of one recording.

    Args:
        audio: of any rate.

    Returns:
        ``[MANNER + 1]``: statistics of melody, level, rhythm and spectrum, and the logarithm of
        the time from the first loud frame to the last, in seconds.

    Raises:
        AudioError: fewer than 0.2 s of sound.
    """
    course = course_of(audio, None)
    return np.append(statistics(course), math.log(len(course) / 100))


def pair_features(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float32]:
    """A pair as the network reads it.

    Args:
        before: ``[..., F]`` of the recording that was there.
        after: ``[..., F]`` of the recording that was wanted.

    Returns:
        ``[..., 2 F]``: their difference, and the second one.
    """
    return np.concatenate([after - before, after], axis=-1).astype(np.float32)


def to_margin(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of listeners on the scale of margins: none is 1, all is 10."""
    return LOWEST + (HIGHEST - LOWEST) * np.clip(share, 0.0, 1.0)


class MarginScorer(Pretrained):
    """Two layers over the difference of two recordings; trained by ``recipes/margin``.

    Args:
        config: labels and sizes.
    """

    config_class = MarginConfig
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: MarginConfig) -> None:
        super().__init__()
        self.config: MarginConfig = config
        size = 2 * (MANNER + 1)
        # Of the training pairs, so that every number counts alike.
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.hidden = nn.Linear(size, config.hidden)
        self.out = nn.Linear(config.hidden, len(config.labels))

    @classmethod
    def embedded(cls) -> Self:
        """The scorer that comes with the package: emotions, from rated German acted speech."""
        return cls.from_pretrained(_EMBEDDED)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of the share of listeners by which each label gains.

        Args:
            features: ``[B, 2 (MANNER + 1)]`` of :func:`pair_features`.

        Returns:
            ``[B, L]``.
        """
        x = F.dropout(self._scaled(features), self.config.dropout, self.training)
        x = F.dropout(F.gelu(self.hidden(x)), self.config.dropout, self.training)
        logits: Tensor = self.out(x)
        return logits

    def _scaled(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)

    def column(self, label: str) -> int:
        """Where a label stands in the scores.

        Args:
            label: e.g. ``"emotion:happy"``.

        Returns:
            Its column.

        Raises:
            DataError: the scorer was not trained for it.
        """
        if label not in self.config.labels:
            raise DataError(
                f"this margin scorer cannot rate {label!r}, people rated no such pairs; "
                f"it knows {', '.join(self.config.labels)}"
            )
        return self.config.labels.index(label)

    @torch.no_grad()
    def shares(
        self, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Shares of listeners before calibration; call in evaluation mode.

        What does not differ has no margin, whatever the second recording sounds like: shares fall
        to zero with a distance that no two recordings of the training had.

        Args:
            before: ``[B, F]`` of :func:`voice_vector`.
            after: ``[B, F]``.

        Returns:
            ``[B, L]`` in 0..1.
        """
        features = torch.from_numpy(pair_features(before, after)).to(self.out.weight)
        difference = self._scaled(features)[:, : MANNER + 1]
        differs = 1 - torch.exp(-difference.square().mean(1, keepdim=True) / _NOTHING**2)
        found: NDArray[np.float64] = (self(features).sigmoid() * differs).double().cpu().numpy()
        return found

    def score_vectors(
        self, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Rate pairs that were listened to before; call in evaluation mode.

        Args:
            before: ``[B, F]`` of :func:`voice_vector`.
            after: ``[B, F]``.

        Returns:
            ``[B, L]`` margins from 1 to 10, one per label.
        """
        return to_margin(self.config.calibration(self.shares(before, after)))

    def score(self, before: Audio, after: Audio, label: str) -> float:
        """Rate one pair; call in evaluation mode.

        Args:
            before: the recording that was there.
            after: the recording that was wanted: the same person and words.
            label: what was wanted, e.g. ``"emotion:happy"``.

        Returns:
            The margin, 1 (no difference in this attribute) to 10.

        Raises:
            DataError: the scorer was not trained for the label.
            AudioError: a recording has fewer than 0.2 s of sound.
        """
        column = self.column(label)
        scores = self.score_vectors(voice_vector(before)[None], voice_vector(after)[None])
        return float(scores[0, column])
