"""Sizes of the published BigVGAN generators."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepaudio.errors import CheckpointError, SpecMismatchError
from stepaudio.types import MelSpec

__all__ = ["NVIDIA_CONFIGS", "BigVGANConfig"]


@dataclass(frozen=True)
class BigVGANConfig:
    """Sizes of a :class:`~stepaudio.decoder.bigvgan.BigVGANVocoder`.

    The defaults are the generator that comes with the published system, 24 kHz and 80 bands.

    Attributes:
        mel: front end it reads; its hop is the product of ``upsample_rates``.
        initial_channels: channels before the first upsampling, halved by each.
        upsample_rates: of the transposed convolutions.
        upsample_kernels: of the transposed convolutions, samples of their output.
        resblock: 1 has two convolutions per dilation, 2 has one.
        resblock_kernels: one residual block per kernel and scale, averaged.
        resblock_dilations: dilations of each of these blocks.
        activation: ``"snake"`` or ``"snakebeta"``.
        log_scale: the activation's parameters are stored as logarithms.
        tanh_at_final: bound the output by tanh instead of clipping.
        bias_at_final: the last convolution has a bias.
        reflect_input: the first convolution pads nothing, so the mel is reflected at its ends;
            otherwise the convolution pads zeros.
    """

    mel: MelSpec = field(default_factory=MelSpec)
    initial_channels: int = 512
    upsample_rates: tuple[int, ...] = (5, 4, 3, 2, 2, 2)
    upsample_kernels: tuple[int, ...] = (11, 8, 7, 4, 4, 4)
    resblock: int = 1
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    activation: str = "snakebeta"
    log_scale: bool = True
    tanh_at_final: bool = False
    bias_at_final: bool = False
    reflect_input: bool = True

    def __post_init__(self) -> None:
        if math.prod(self.upsample_rates) != self.mel.hop_length:
            raise SpecMismatchError(
                f"the product of upsample_rates {self.upsample_rates} must be the mel hop of "
                f"{self.mel.hop_length} samples"
            )
        if self.activation not in ("snake", "snakebeta") or self.resblock not in (1, 2):
            raise CheckpointError(
                f"activation {self.activation!r} must be 'snake' or 'snakebeta' and resblock "
                f"{self.resblock!r} must be 1 or 2"
            )

    @classmethod
    def release(cls) -> BigVGANConfig:
        """The generator that comes with the published system."""
        return cls()

    @classmethod
    def debug(cls) -> BigVGANConfig:
        """A few milliseconds to build."""
        mel = MelSpec(n_mels=8, n_fft=64, hop_length=12, win_length=64)
        return cls(
            mel=mel,
            initial_channels=8,
            upsample_rates=(3, 2, 2),
            upsample_kernels=(7, 4, 4),
            resblock_kernels=(3,),
            resblock_dilations=((1, 3),),
        )

    @classmethod
    def nvidia(cls, name: str) -> BigVGANConfig:
        """One of NVIDIA's published generators.

        Args:
            name: a key of :data:`NVIDIA_CONFIGS`, e.g. ``"v2_24khz_100band_256x"``.

        Returns:
            Its sizes.

        Raises:
            CheckpointError: no such generator.
        """
        if name not in NVIDIA_CONFIGS:
            raise CheckpointError(
                f"no BigVGAN called {name!r}; known are {', '.join(sorted(NVIDIA_CONFIGS))}"
            )
        return NVIDIA_CONFIGS[name]

    @classmethod
    def from_nvidia(cls, values: Mapping[str, Any]) -> BigVGANConfig:
        """Read the ``config.json`` that accompanies NVIDIA's checkpoints.

        Args:
            values: its content; settings of the training are ignored.

        Returns:
            The sizes.

        Raises:
            CheckpointError: a setting is missing.
        """
        try:
            mel = MelSpec(
                sample_rate=values["sampling_rate"],
                n_mels=values["num_mels"],
                n_fft=values["n_fft"],
                hop_length=values["hop_size"],
                win_length=values["win_size"],
                fmin=float(values["fmin"]),
                fmax=None if values["fmax"] is None else float(values["fmax"]),
            )
            return cls(
                mel=mel,
                initial_channels=values["upsample_initial_channel"],
                upsample_rates=tuple(values["upsample_rates"]),
                upsample_kernels=tuple(values["upsample_kernel_sizes"]),
                resblock=int(values["resblock"]),
                resblock_kernels=tuple(values["resblock_kernel_sizes"]),
                resblock_dilations=tuple(map(tuple, values["resblock_dilation_sizes"])),
                activation=values["activation"],
                log_scale=values["snake_logscale"],
                # The first generation had both and no setting for them.
                tanh_at_final=values.get("use_tanh_at_final", True),
                bias_at_final=values.get("use_bias_at_final", True),
                reflect_input=False,
            )
        except KeyError as error:
            raise CheckpointError(f"the BigVGAN config has no setting {error}") from None


def _nvidia(
    sample_rate: int, n_mels: int, fmax: float | None, kind: str, n_fft: int = 1024
) -> BigVGANConfig:
    """``kind``: ``"base"`` and ``"v1"`` are the first generation, ``"v2"`` the second."""
    hop = n_fft // 4
    first: tuple[int, ...] = (4, 4) if hop == 256 else (8, 4)
    rates = (8, 8, 2, 2) if kind == "base" else (*first, 2, 2, 2, 2)
    kernels = tuple(2 * rate for rate in rates)
    return BigVGANConfig(
        mel=MelSpec(sample_rate, n_mels, n_fft, hop, n_fft, 0.0, fmax),
        initial_channels=512 if kind == "base" else 1536,
        upsample_rates=rates,
        upsample_kernels=kernels,
        tanh_at_final=kind != "v2",
        bias_at_final=kind != "v2",
        reflect_input=False,
    )


#: NVIDIA's published generators by the last part of their names.
NVIDIA_CONFIGS: Mapping[str, BigVGANConfig] = {
    "v2_44khz_128band_512x": _nvidia(44100, 128, None, "v2", 2048),
    "v2_44khz_128band_256x": _nvidia(44100, 128, None, "v2"),
    "v2_24khz_100band_256x": _nvidia(24000, 100, None, "v2"),
    "v2_22khz_80band_256x": _nvidia(22050, 80, None, "v2"),
    "v2_22khz_80band_fmax8k_256x": _nvidia(22050, 80, 8000.0, "v2"),
    "24khz_100band": _nvidia(24000, 100, 12000.0, "v1"),
    "22khz_80band": _nvidia(22050, 80, 8000.0, "v1"),
    "base_24khz_100band": _nvidia(24000, 100, 12000.0, "base"),
    "base_22khz_80band": _nvidia(22050, 80, 8000.0, "base"),
}
