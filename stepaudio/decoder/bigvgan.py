"""BigVGAN: a convolutional vocoder with periodic, anti-aliased activations.

Lee et al. 2023. One module serves NVIDIA's generators of both generations and the generator that
comes with the published system.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.mel import mel_pieces, require_mel
from stepaudio.decoder.snake import AntiAliased, Snake, SnakeBeta
from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.decoder.windows import stream_windows
from stepaudio.errors import CheckpointError
from stepaudio.hub import Pretrained, load_strict, read_json
from stepaudio.interfaces import Vocoder
from stepaudio.types import MelSpec

__all__ = ["BigVGANVocoder"]

# Frames the first convolution sees on each side.
_EDGE = 3


def _activation(config: BigVGANConfig, channels: int) -> AntiAliased:
    kind = Snake if config.activation == "snake" else SnakeBeta
    return AntiAliased(kind(channels, log_scale=config.log_scale))


def _conv(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    pad = dilation * (kernel - 1) // 2
    return nn.Conv1d(channels, channels, kernel, padding=pad, dilation=dilation)


class PairedBlock(nn.Module):
    """Residual pairs of a dilated and a plain convolution (resblock 1).

    Args:
        config: activation.
        channels: ``C``.
        kernel: samples, odd.
        dilations: one per pair.
    """

    def __init__(
        self, config: BigVGANConfig, channels: int, kernel: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations)
        # Before the dilated convolution of pair k stands activation 2k, before the plain one 2k+1.
        self.activations = nn.ModuleList(
            _activation(config, channels) for _ in range(2 * len(dilations))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``[B, C, T]``."""
        firsts, seconds = self.activations[::2], self.activations[1::2]
        for act1, conv1, act2, conv2 in zip(firsts, self.convs1, seconds, self.convs2, strict=True):
            x = x + conv2(act2(conv1(act1(x))))
        return x


class SingleBlock(nn.Module):
    """Residual dilated convolutions (resblock 2).

    Args:
        config: activation.
        channels: ``C``.
        kernel: samples, odd.
        dilations: one per convolution.
    """

    def __init__(
        self, config: BigVGANConfig, channels: int, kernel: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, kernel, d) for d in dilations)
        self.activations = nn.ModuleList(_activation(config, channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``[B, C, T]``."""
        for act, conv in zip(self.activations, self.convs, strict=True):
            x = x + conv(act(x))
        return x


class BigVGANVocoder(Pretrained, Vocoder):
    """Mel frames to samples by upsampling convolutions.

    Args:
        config: sizes.
    """

    config_class = BigVGANConfig
    config: BigVGANConfig

    def __init__(self, config: BigVGANConfig) -> None:
        super().__init__()
        self.config = config
        rates = config.upsample_rates
        widths = [config.initial_channels >> i for i in range(len(rates) + 1)]
        edge = 0 if config.reflect_input else _EDGE
        self.conv_pre = nn.Conv1d(config.mel.n_mels, widths[0], 2 * _EDGE + 1, padding=edge)
        # Each transposed convolution is a sequence of one, as in the published names.
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose1d(a, b, kernel, rate, padding=(kernel - rate) // 2))
            for a, b, kernel, rate in zip(
                widths, widths[1:], config.upsample_kernels, rates, strict=False
            )
        )
        block = PairedBlock if config.resblock == 1 else SingleBlock
        self.resblocks = nn.ModuleList(
            block(config, width, kernel, dilations)
            for width in widths[1:]
            for kernel, dilations in zip(
                config.resblock_kernels, config.resblock_dilations, strict=True
            )
        )
        self.activation_post = _activation(config, widths[-1])
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3, bias=config.bias_at_final)

    @property
    def spec(self) -> MelSpec:
        """The front end it reads."""
        return self.config.mel

    @property
    def context(self) -> int:
        """Frames on each side that a frame's samples depend on."""
        config, filters = self.config, AntiAliased.reach
        widest = 0.0
        for kernel, dilations in zip(
            config.resblock_kernels, config.resblock_dilations, strict=True
        ):
            half = (kernel - 1) / 2
            dilated = sum(filters + half * d for d in dilations)
            plain = (filters + half) * len(dilations) if config.resblock == 1 else 0
            widest = max(widest, dilated + plain)
        reach, rate = float(_EDGE), 1
        for factor, kernel in zip(config.upsample_rates, config.upsample_kernels, strict=True):
            rate *= factor
            reach += (kernel + widest) / rate
        return math.ceil(reach + (filters + 3) / rate)

    @classmethod
    def from_nvidia(cls, folder: str | Path) -> Self:
        """Read one of NVIDIA's downloads.

        Args:
            folder: holds ``config.json`` and ``bigvgan_generator.pt``.

        Returns:
            The vocoder in evaluation mode.

        Raises:
            CheckpointError: a file is missing, is not what it should be, or does not fit.
        """
        folder = Path(folder)
        model = cls(BigVGANConfig.from_nvidia(read_json(folder / "config.json")))
        path = folder / "bigvgan_generator.pt"
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            tensors = content["generator"]
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing") from None
        except Exception as error:  # torch.load has no error type of its own
            raise CheckpointError(f"{path} is not a BigVGAN generator: {error}") from error
        model.load_published(tensors, str(path))
        return model.eval()

    def load_published(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Load a published state dict, folding its weight normalisation.

        Args:
            tensors: by published name.
            source: named in errors.

        Raises:
            CheckpointError: missing, surplus or wrongly shaped tensors.
        """
        load_strict(self, fold_weight_norm(tensors), source)

    def forward(self, mel: Tensor) -> Tensor:
        """Turn mel into samples, differentiably.

        Args:
            mel: ``[B, C, T]`` log-mel. With ``reflect_input`` the outer 3 frames on both sides
                are context only.

        Returns:
            ``[B, T * hop_length]`` samples in [-1, 1]; with ``reflect_input``
            ``[B, (T - 6) * hop_length]``.
        """
        x: Tensor = self.conv_pre(mel.to(self.conv_pre.weight.dtype))
        branches = len(self.config.resblock_kernels)
        for i, up in enumerate(self.ups):
            x = up(x)
            blocks = self.resblocks[i * branches : (i + 1) * branches]
            x = sum((block(x) for block in blocks), torch.zeros_like(x)) / branches
        wave: Tensor = self.conv_post(self.activation_post(x))[:, 0].float()
        return wave.tanh() if self.config.tanh_at_final else wave.clamp(-1, 1)

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
        if self.config.reflect_input:
            # Fewer frames than the reflection needs can only be repeated.
            mode = "reflect" if mel.shape[-1] > _EDGE else "replicate"
            mel = F.pad(mel, (_EDGE, _EDGE), mode=mode)
        return self.forward(mel)

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
