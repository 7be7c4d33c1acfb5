"""The network of :mod:`stepaudio.safety.detector`: convolutions over linear bands, frame by frame.

Bands are linear, not mel: what generators get wrong lies high, where mel bands are wide (LFCC
against MFCC in Sahidullah, Kinnunen & Hanilçi 2015). The level and the mean spectrum of the
recording are taken away, and frames without voice are not counted, so that microphone, loudness and
the silence between the words, which differ between corpora, say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.hub import Pretrained

__all__ = [
    "FRAME_RATE",
    "HOP",
    "SAMPLE_RATE",
    "DetectorConfig",
    "DetectorNetwork",
    "Frames",
    "band_powers",
]

SAMPLE_RATE = 16000
#: Samples between band frames, which are 25 ms long.
HOP = 160
_WINDOW, _FFT = 400, 512
_STRIDE = 2
#: Scores per second: one for two band frames.
FRAME_RATE = SAMPLE_RATE // HOP // _STRIDE

# Natural logarithms of power, 10 / ln 10 dB each.
_DB = 0.2303
# A frame counts that is at most so far below the loud ones; bands are heard so far down.
_LOUD, _HEARD = 30 * _DB, 60 * _DB
_QUIET = 1e-10
# Frames louder than this share are the loud ones.
_LOUD_SHARE = 0.95
# About the deviation of a band.
_SCALE = 3.0


@dataclass(frozen=True)
class DetectorConfig:
    """Sizes of the network, and what was measured on recordings it was not trained on.

    Attributes:
        bands: from 0 to 8 kHz, of equal width.
        channels: of the convolutions.
        dilations: of the convolutions, one each, in frames of 20 ms.
        dropout: in training.
        slope: of the log odds over the score.
        offset: of the log odds; people and machines are taken for equally likely.
        real_below: probability up to which a recording is called real.
        synthetic_above: probability from which on it is called synthetic.
        span_above: probability from which on a stretch is called synthetic.
        farthest: distance from what the network knows up to which it is asked.
    """

    bands: int = 60
    channels: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    dropout: float = 0.2
    slope: float = 1.0
    offset: float = 0.0
    real_below: float = 0.1
    synthetic_above: float = 0.9
    span_above: float = 0.9
    farthest: float = 100.0

    def __post_init__(self) -> None:
        if not 2 <= self.bands <= _FFT // 4:
            raise ValueError(f"bands must be 2 to {_FFT // 4}, got {self.bands}")
        if not 0 < self.real_below < self.synthetic_above < 1:
            raise ValueError(
                "real_below must be less than synthetic_above, both between 0 and 1, got "
                f"{self.real_below} and {self.synthetic_above}"
            )

    @classmethod
    def release(cls) -> Self:
        """The sizes the recipe trains."""
        return cls()

    @classmethod
    def debug(cls) -> Self:
        """Smallest useful network, for tests."""
        return cls(bands=12, channels=8, dilations=(1,), dropout=0.0)


class Frames(NamedTuple):
    """What the network makes of a batch.

    Attributes:
        scores: ``[B, T]`` log odds of synthetic, not calibrated, :data:`FRAME_RATE` per second.
        voiced: ``[B, T]`` 1 where the frame counts, else 0.
        inner: ``[B, C]`` mean of the last layer over the frames that count; ``scores`` are a linear
            function of that layer.
    """

    scores: Tensor
    voiced: Tensor
    inner: Tensor

    @property
    def clip_scores(self) -> Tensor:
        """``[B]`` mean score of the frames that count; 0 where none does."""
        return (self.scores * self.voiced).sum(-1) / self.voiced.sum(-1).clamp(min=1)


class DetectorNetwork(Pretrained):
    """The network, with the centres and the spread of what it knows.

    Args:
        config: sizes.
    """

    config_class = DetectorConfig

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.stem = nn.Conv1d(config.bands, width, 5, stride=_STRIDE, padding=2)
        self.blocks = nn.ModuleList(_Block(config, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(2, width))
        self.whitening: Tensor
        self.register_buffer("whitening", torch.eye(width))

    def forward(self, bands: Tensor, lengths: Tensor | None = None) -> Frames:
        """Scores of every frame; a batch gives what its singles give.

        Args:
            bands: ``[B, T, bands]`` of :func:`band_powers`.
            lengths: ``[B]`` frames that count; None counts all.

        Returns:
            Scores and what they are made of, with ``T`` halved, rounded up.
        """
        time = torch.arange(bands.shape[1], device=bands.device)
        if lengths is None:
            lengths = torch.full((len(bands),), bands.shape[1], device=bands.device)
        inside = time < lengths[:, None]
        level = bands.logsumexp(-1).masked_fill(~inside, -torch.inf)
        loud = _high(level, lengths)[:, None]
        voiced = ((level > loud - _LOUD) & inside).to(bands.dtype)
        heard = torch.maximum(bands, (loud - _HEARD)[..., None])
        count = voiced.sum(-1).clamp(min=1)[:, None, None]
        mean = (heard * voiced[..., None]).sum(1, keepdim=True) / count
        x = ((heard - mean) / _SCALE * inside[..., None]).transpose(1, 2)
        mask = inside[:, None, ::_STRIDE].to(bands.dtype)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x * mask, mask)
        last = self.norm(x.transpose(1, 2))
        voiced = voiced[:, ::_STRIDE]
        weights = voiced / voiced.sum(-1, keepdim=True).clamp(min=1)
        inner = (last * weights[..., None]).sum(1)
        return Frames(self.out(last)[..., 0], voiced, inner)

    def distance(self, inner: Tensor) -> Tensor:
        """How far something is from what the network was trained on (Lee et al. 2018).

        Args:
            inner: ``[..., C]`` of :class:`Frames`.

        Returns:
            ``[...]`` Mahalanobis distance from the nearer of real and synthetic.
        """
        apart = (inner[..., None, :] - self.centres) @ self.whitening
        return apart.square().sum(-1).min(-1).values.sqrt()


class _Block(nn.Module):
    """Looks around in each channel, then mixes the channels; comes back by a shortcut."""

    def __init__(self, config: DetectorConfig, dilation: int) -> None:
        super().__init__()
        width = config.channels
        self.around = nn.Conv1d(
            width, width, 5, padding=2 * dilation, dilation=dilation, groups=width
        )
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.back = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        seen = self.norm(self.around(x).transpose(1, 2))
        mixed = self.back(self.dropout(F.gelu(self.wide(seen)))).transpose(1, 2)
        y: Tensor = x + mixed * mask
        return y


def band_powers(samples: Tensor, bands: int) -> Tensor:
    """Natural-log power in bands of equal width, with the highs raised.

    Args:
        samples: ``[S]`` at 16 kHz.
        bands: how many, from 0 to 8 kHz.

    Returns:
        ``[S // 160 + 1, bands]``.
    """
    raised = torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    window = torch.hann_window(_WINDOW, dtype=samples.dtype, device=samples.device)
    spectrum = torch.stft(
        raised, _FFT, HOP, _WINDOW, window, pad_mode="constant", return_complex=True
    )
    power = spectrum.abs().square() / _FFT
    triangles = _triangles(bands).to(samples)
    return (triangles @ power + _QUIET).log().T


def _triangles(bands: int) -> Tensor:
    """``[bands, 257]`` overlapping triangles of equal width and area."""
    bins = torch.arange(_FFT // 2 + 1)
    step = _FFT / 2 / (bands + 1)
    middles = step * torch.arange(1, bands + 1)
    shapes = (1 - (bins - middles[:, None]).abs() / step).clamp(min=0)
    return shapes / shapes.sum(-1, keepdim=True)


def _high(level: Tensor, lengths: Tensor) -> Tensor:
    """``[B]`` level that most frames do not reach, of ``[B, T]``, ``-inf`` where there are none."""
    ordered = level.sort(-1).values
    above = ((1 - _LOUD_SHARE) * lengths).long()
    place = (level.shape[1] - 1 - above)[:, None]
    return ordered.gather(1, place)[:, 0]
