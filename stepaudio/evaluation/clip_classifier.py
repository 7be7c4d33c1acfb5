"""A small network that hears which of a few kinds a stretch of sound is.

One network serves emotions and non-verbal sounds: convolutions over a log-mel filter bank, pooled
by attention, beside the plain mean and deviation of each band (the classic descriptors of an acted
emotion). It is small because acted speech is scarce, and hears no absolute level, which says more
about the microphone than about the voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.hub import Pretrained
from stepaudio.tokenizers.features import SHIFT_SECONDS, kaldi_fbank

__all__ = ["SAMPLE_RATE", "ClipClassifier", "ClipClassifierConfig"]

SAMPLE_RATE = 16000

# About the deviation of a natural-log power mel spectrum of speech.
_SCALE = 4.0
_FEWEST_FRAMES = 8
_STRIDE = 2


@dataclass(frozen=True)
class ClipClassifierConfig:
    """What is told apart, and the sizes of the network.

    Attributes:
        labels: the kinds; at least two.
        seconds: longest stretch heard at once, as in training.
        n_mels: filter-bank bands.
        channels: of the convolutions.
        dilations: of the convolutions, one each, in frames of 20 ms.
        dropout: in training.
    """

    labels: tuple[str, ...]
    seconds: float = 6.0
    n_mels: int = 64
    channels: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"labels must be at least two and differ, got {self.labels}")
        if self.seconds < _FEWEST_FRAMES * SHIFT_SECONDS * 2:
            raise ValueError(f"seconds must not be shorter than a sound, got {self.seconds}")

    @classmethod
    def release(cls, labels: Sequence[str]) -> Self:
        """The sizes the recipe trains."""
        return cls(tuple(labels))

    @classmethod
    def debug(cls, labels: Sequence[str] = ("one", "other")) -> Self:
        """Smallest useful network, for tests."""
        return cls(tuple(labels), seconds=1.0, n_mels=16, channels=8, dilations=(1,), dropout=0.0)


class ClipClassifier(Pretrained):
    """The network."""

    config_class = ClipClassifierConfig

    def __init__(self, config: ClipClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.stem = nn.Conv1d(config.n_mels, width, 5, stride=_STRIDE, padding=2)
        self.blocks = nn.ModuleList(_Block(config, dilation) for dilation in config.dilations)
        self.attention = nn.Conv1d(width, width, 1)
        self.norm = nn.LayerNorm(2 * width + 2 * config.n_mels)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(2 * width + 2 * config.n_mels, len(config.labels))

    def forward(self, fbank: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores of every label; a batch gives exactly what its singles give.

        Args:
            fbank: ``[B, T, n_mels]``, see :meth:`features`.
            lengths: ``[B]`` frames that count; None counts all.

        Returns:
            ``[B, L]`` logits.
        """
        time = torch.arange(fbank.shape[1], device=fbank.device)
        if lengths is None:
            lengths = torch.full((len(fbank),), fbank.shape[1], device=fbank.device)
        mask = (time < lengths[:, None]).to(fbank.dtype)[:, None]
        bands = fbank.transpose(1, 2)
        level = (bands * mask).sum((1, 2), keepdim=True) / (
            mask.sum((1, 2), keepdim=True) * self.config.n_mels
        )
        bands = (bands - level) / _SCALE * mask
        x, mask = self.stem(bands), mask[..., ::_STRIDE]
        for block in self.blocks:
            x = block(x * mask, mask)
        weights = self.attention(x).masked_fill(mask == 0, -torch.inf).softmax(-1)
        whole_mask = (time < lengths[:, None]).to(fbank.dtype)[:, None]
        even = whole_mask / whole_mask.sum(-1, keepdim=True)
        pooled = torch.cat([*_moments(x, weights), *_moments(bands, even)], dim=1)
        logits: Tensor = self.out(self.dropout(self.norm(pooled)))
        return logits

    def features(self, samples: Tensor) -> Tensor:
        """The front end.

        Args:
            samples: ``[..., S]`` at 16 kHz.

        Returns:
            ``[..., T, n_mels]`` log filter bank at 100 Hz.
        """
        return kaldi_fbank(samples, sample_rate=SAMPLE_RATE, n_mels=self.config.n_mels)

    @torch.no_grad()
    def scan(self, audio: Audio, hop: float) -> tuple[Tensor, Tensor]:
        """Listen through a window; call in evaluation mode.

        Args:
            audio: of any rate.
            hop: seconds between the beginnings of windows of ``config.seconds``; the last window
                ends with the recording. A shorter recording is one window.

        Returns:
            Middle of each window in seconds ``[N]``, and probabilities ``[N, L]``.

        Raises:
            AudioError: shorter than a tenth of a second.
        """
        weight = self.out.weight
        samples = audio.resample(SAMPLE_RATE).samples.to(weight.device)
        fbank = self.features(samples).to(weight.dtype)
        if len(fbank) < _FEWEST_FRAMES:
            raise AudioError(
                f"a recording of {audio.seconds:.3f} s is too short to be classified; "
                "give at least 0.1 s"
            )
        size = min(len(fbank), round(self.config.seconds / SHIFT_SECONDS))
        step = max(1, round(hop / SHIFT_SECONDS))
        starts = list(range(0, len(fbank) - size + 1, step))
        if starts[-1] != len(fbank) - size:
            starts.append(len(fbank) - size)
        logits = torch.cat([self(fbank[None, start : start + size]) for start in starts])
        middles = (torch.tensor(starts, dtype=torch.float64) + size / 2) * SHIFT_SECONDS
        return middles, logits.float().softmax(-1).cpu()

    def classify(self, audio: Audio) -> Tensor:
        """Classify a whole recording; call in evaluation mode.

        Args:
            audio: of any rate and length; a long one is heard in overlapping windows whose log
                probabilities are averaged.

        Returns:
            ``[L]`` probabilities.

        Raises:
            AudioError: shorter than a tenth of a second.
        """
        _, probabilities = self.scan(audio, self.config.seconds / 2)
        return probabilities.clamp_min(1e-12).log().mean(0).softmax(-1)


class _Block(nn.Module):
    """Normalise each frame, look around, come back by a shortcut."""

    def __init__(self, config: ClipClassifierConfig, dilation: int) -> None:
        super().__init__()
        width = config.channels
        self.norm = nn.LayerNorm(width)
        self.around = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        inner = self.norm(x.transpose(1, 2)).transpose(1, 2) * mask
        y: Tensor = x + self.dropout(self.mix(F.gelu(self.around(inner))))
        return y


def _moments(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over time, ``[B, C]`` each, of ``[B, C, T]``."""
    mean = (x * weights).sum(-1)
    variance = ((x - mean[..., None]).square() * weights).sum(-1)
    return mean, (variance + 1e-5).sqrt()
