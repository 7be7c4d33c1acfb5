"""Periodic activations, and the filters that keep them from aliasing.

Snake: Ziyin et al. 2020. The anti-aliased use of it: Lee et al. 2023 (BigVGAN), after Karras et
al. 2021: double the rate, activate, halve the rate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AntiAliased", "Snake", "SnakeBeta", "kaiser_lowpass"]

# Keeps the division defined; part of the published formula.
_FLOOR = 1e-9


class Snake(nn.Module):
    """``x + sin(a x)^2 / a`` with one ``a`` per channel.

    Args:
        channels: ``C``.
        log_scale: store the logarithm of ``a``.
    """

    def __init__(self, channels: int, *, log_scale: bool = False) -> None:
        super().__init__()
        self.log_scale = log_scale
        self.alpha = nn.Parameter(torch.full((channels,), 0.0 if log_scale else 1.0))

    def scales(self) -> tuple[Tensor, Tensor]:
        """Factor in the sine and divisor, here the same, ``[C]`` each."""
        alpha = self.alpha.exp() if self.log_scale else self.alpha
        return alpha, alpha

    def forward(self, x: Tensor) -> Tensor:
        """Activate ``[B, C, T]``."""
        return _activate(x, *self.scales())


class SnakeBeta(nn.Module):
    """Snake with its own divisor: ``x + sin(a x)^2 / b``.

    Args:
        channels: ``C``.
        log_scale: store the logarithms of ``a`` and ``b``.
    """

    def __init__(self, channels: int, *, log_scale: bool = False) -> None:
        super().__init__()
        self.log_scale = log_scale
        start = 0.0 if log_scale else 1.0
        self.alpha = nn.Parameter(torch.full((channels,), start))
        self.beta = nn.Parameter(torch.full((channels,), start))

    def scales(self) -> tuple[Tensor, Tensor]:
        """Factor in the sine and divisor, ``[C]`` each."""
        if self.log_scale:
            return self.alpha.exp(), self.beta.exp()
        return self.alpha, self.beta

    def forward(self, x: Tensor) -> Tensor:
        """Activate ``[B, C, T]``."""
        return _activate(x, *self.scales())


def _activate(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return x + torch.sin(alpha[:, None] * x).square() / (beta[:, None] + _FLOOR)


def kaiser_lowpass() -> Tensor:
    """The published filter: a quarter-band low-pass of unit gain, Kaiser-windowed sinc.

    Returns:
        ``[1, 1, 12]`` float32.
    """
    taps, cutoff, transition = 12, 0.25, 0.3
    # Kaiser's design rules: the attenuation this length reaches (51 dB), and the window for it.
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * transition + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    t = torch.arange(taps, dtype=torch.float64) - taps // 2 + 0.5
    value = window * torch.sinc(2 * cutoff * t)
    return (value / value.sum()).float()[None, None]


class _LowPass(nn.Module):
    """Holds a filter under its published name."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", kaiser_lowpass())


class _Upsample(_LowPass):
    """Doubles the rate."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` to ``[B, C, 2 T]``."""
        channels = x.shape[1]
        taps = self.filter.expand(channels, -1, -1)
        x = F.pad(x, (5, 5), mode="replicate")
        # The padding of 5 on both sides comes out as 10 samples, the filter's tail as 5 more.
        return 2 * F.conv_transpose1d(x, taps, stride=2, groups=channels)[..., 15:-15]


class _Downsample(nn.Module):
    """Halves the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.lowpass = _LowPass()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, 2 T]`` to ``[B, C, T]``."""
        channels = x.shape[1]
        taps = self.lowpass.filter.expand(channels, -1, -1)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


class AntiAliased(nn.Module):
    """An activation applied at twice the rate, between two low-pass filters.

    On a GPU with Triton, and without gradients, Snake is computed in one pass over memory; see
    :mod:`stepaudio.decoder.snake_kernel`.

    Args:
        act: the activation, ``[B, C, T]`` to ``[B, C, T]``.
    """

    #: Samples on each side that an output sample depends on.
    reach = 6

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.upsample = _Upsample()
        self.downsample = _Downsample()

    def forward(self, x: Tensor) -> Tensor:
        """Activate ``[B, C, T]``."""
        act = self.act
        if not (x.is_cpu or torch.is_grad_enabled()) and isinstance(act, Snake | SnakeBeta):
            fused = _fused(x.device)
            if fused is not None:
                alpha, beta = act.scales()
                return fused(x, alpha, beta, self.upsample.filter[0, 0].float(), _FLOOR)
        return self.plain(x)

    def plain(self, x: Tensor) -> Tensor:
        """The same in steps of PyTorch, differentiable.

        Args:
            x: ``[B, C, T]``.

        Returns:
            ``[B, C, T]``.
        """
        y: Tensor = self.downsample(self.act(self.upsample(x)))
        return y


@functools.cache
def _fused(device: torch.device) -> Callable[..., Tensor] | None:
    """The kernel, where Triton has it for this device and it is right."""
    try:
        from stepaudio.decoder.snake_kernel import activate

        act = SnakeBeta(3)
        layer = AntiAliased(act).to(device)
        x = torch.linspace(-3, 3, 3 * 700, device=device).view(1, 3, 700).sin()
        with torch.no_grad():
            alpha, beta = act.scales()
            found = activate(x, alpha, beta, layer.upsample.filter[0, 0], _FLOOR)
            right = torch.allclose(found, layer.plain(x), atol=1e-4)
    except Exception:  # a compiler that fails has many ways to say so, and without it all works
        return None
    return activate if right else None
