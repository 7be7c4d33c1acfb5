"""A vocoder that works at the frame rate: ConvNeXt backbone, Fourier head, inverse STFT.

After Vocos (Siuzdak 2023): nothing is upsampled by convolutions. The network says for every mel
frame the log-magnitude and the phase of one Fourier spectrum and the inverse transform makes the
samples, which is what makes it fast on a CPU. Unlike Vocos, the log-magnitude is predicted as a
correction to the spectral envelope the mel itself implies, so an untrained network already has
the right colour and only lacks phases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stepaudio.decoder.mel import mel_filters, mel_pieces, require_mel
from stepaudio.decoder.stft import istft
from stepaudio.decoder.windows import stream_windows
from stepaudio.hub import Pretrained
from stepaudio.interfaces import Vocoder
from stepaudio.types import MelSpec

__all__ = ["ConvNeXtBlock", "ISTFTConfig", "ISTFTVocoder"]

# Largest magnitude a bin may take: an untrained head must not overflow the inverse transform.
_MAX_LOG_MAGNITUDE = 6.0


@dataclass(frozen=True)
class ISTFTConfig:
    """Sizes of an :class:`ISTFTVocoder`; the defaults are those of Vocos.

    Attributes:
        mel: front end it reads, and whose transform sizes it writes with.
        width: channels of the backbone.
        depth: number of blocks.
        hidden_multiple: width of a block's inner layer, in units of ``width``.
        kernel_size: frames seen by one convolution, odd.
    """

    mel: MelSpec = field(default_factory=MelSpec)
    width: int = 512
    depth: int = 8
    hidden_multiple: int = 3
    kernel_size: int = 7

    @classmethod
    def release(cls) -> ISTFTConfig:
        """Full size."""
        return cls()

    @classmethod
    def nano(cls) -> ISTFTConfig:
        """Sizes of the embedded model."""
        return cls(width=256, depth=8)

    @classmethod
    def debug(cls) -> ISTFTConfig:
        """A millisecond to build."""
        mel = MelSpec(n_mels=8, n_fft=64, hop_length=16, win_length=64)
        return cls(mel=mel, width=8, depth=2)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron per frame, as a residual.

    Args:
        width: channels.
        hidden: channels of the perceptron's inner layer.
        kernel_size: frames seen by the convolution, odd.
        scale: initial value of the learnt residual scale.
    """

    def __init__(self, width: int, hidden: int, kernel_size: int, scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, hidden)
        self.pwconv2 = nn.Linear(hidden, width)
        self.gamma = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Refine frames.

        Args:
            x: ``[B, D, T]``.

        Returns:
            ``[B, D, T]``.
        """
        y: Tensor = self.norm(self.dwconv(x).mT)
        y = self.pwconv2(nn.functional.gelu(self.pwconv1(y)))
        return x + (self.gamma * y).mT


class ISTFTVocoder(Pretrained, Vocoder):
    """Mel frames to samples through predicted Fourier spectra.

    Args:
        config: sizes.
    """

    config_class = ISTFTConfig
    config: ISTFTConfig
    envelope: Tensor
    level: Tensor
    sign: Tensor

    def __init__(self, config: ISTFTConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.width, config.kernel_size
        self.embed = nn.Conv1d(config.mel.n_mels, width, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        # ConvNeXt starts deep stacks near the identity; 1 / depth is enough at these depths.
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, width * config.hidden_multiple, kernel, 1 / config.depth)
            for _ in range(config.depth)
        )
        self.final_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, config.mel.n_fft + 2)
        envelope, level = _envelope(config.mel)
        self.register_buffer("envelope", envelope, persistent=False)
        self.register_buffer("level", level, persistent=False)
        # Phases are told relative to the middle of a frame, where the window is widest, instead
        # of its first sample: half a frame of delay flips the sign of every odd bin.
        self.register_buffer("sign", 1.0 - 2.0 * (torch.arange(len(level)) % 2), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def spec(self) -> MelSpec:
        """The front end it reads."""
        return self.config.mel

    @property
    def context(self) -> int:
        """Frames on each side that a frame's samples depend on."""
        reach = (self.config.depth + 1) * (self.config.kernel_size // 2)
        # A Fourier frame reaches (n_fft - hop) / 2 samples beyond its own hop.
        return reach + -(-(self.spec.n_fft - self.spec.hop_length) // (2 * self.spec.hop_length))

    def forward(self, mel: Tensor) -> Tensor:
        """Turn mel into samples, differentiably and without clipping.

        Args:
            mel: ``[B, C, T]`` log-mel.

        Returns:
            ``[B, T * hop_length]`` float32 samples (float64 for a float64 model).
        """
        x = self.norm(self.embed(mel.to(self.embed.weight.dtype)).mT).mT
        for block in self.blocks:
            x = block(x)
        # The transform and its exponential need full precision even in a half-precision model.
        raw = self.head(self.final_norm(x.mT)).mT
        raw = raw if raw.dtype == torch.float64 else raw.float()
        correction, phase = raw.chunk(2, dim=1)
        implied = self.envelope.to(raw.dtype) @ mel.to(raw.dtype) - self.level[:, None]
        magnitude = (implied + correction).clamp(max=_MAX_LOG_MAGNITUDE).exp()
        signed = torch.polar(magnitude, phase) * self.sign[:, None]
        return istft(signed, self.spec)

    @torch.no_grad()
    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Turn mel into sound; deterministic, ``generator`` is not used.

        Args:
            mel: ``[B, C, T]`` log-mel.
            generator: ignored.

        Returns:
            ``[B, T * hop_length]`` samples in [-1, 1].

        Raises:
            SpecMismatchError: the mel has other bins or dimensions, or no frames.
        """
        require_mel(mel, self.spec)
        return self.forward(mel).clamp(-1, 1)

    def stream(
        self, mels: Iterator[Tensor], *, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Turn consecutive pieces into sound, equal to :meth:`synthesize` of the whole.

        Args:
            mels: ``[C, t]`` pieces, without overlap.
            generator: ignored.

        Yields:
            ``[s]`` pieces, late by :attr:`context` frames.

        Raises:
            SpecMismatchError: a piece has other bins or dimensions.
        """
        yield from stream_windows(
            mel_pieces(mels, self.spec),
            self.synthesize,
            context=self.context,
            hop_length=self.spec.hop_length,
        )


def _envelope(spec: MelSpec) -> tuple[Tensor, Tensor]:
    """How log-mel bands imply the log-magnitude of Fourier bins.

    Each bin takes the weighted mean of the bands that cover it; a bin outside every band takes
    the nearest band's. A band's value exceeds its bins' by the logarithm of its weights' sum.

    Args:
        spec: the front end.

    Returns:
        ``[n_fft // 2 + 1, C]`` matrix and ``[n_fft // 2 + 1]`` level to subtract.
    """
    filters = mel_filters(spec, torch.device("cpu"), torch.float32)
    weight = filters.T.clone()
    nearest = (
        (torch.arange(len(weight), device=filters.device)[:, None] - filters.argmax(1))
        .abs()
        .argmin(1)
    )
    uncovered = weight.sum(1) == 0
    weight[uncovered, nearest[uncovered]] = 1.0
    matrix = weight / weight.sum(1, keepdim=True)
    # A band narrower than a bin may have no weight at all.
    return matrix, matrix @ filters.sum(1).clamp(min=1e-8).log()
