"""The velocity network of the flow decoder: a diffusion transformer with causal convolutions.

Published system, section "flow decoder"; the blocks follow DiT (Peebles & Xie 2023, section 3.2):
the time embedding sets shift, scale and gate of every residual branch (adaLN). Each block has
three branches, in this order: attention, causal convolution, feed-forward. There is no position
encoding: order enters through the convolutions and through the token encoder's features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DiT", "DiTConfig", "DiTState", "time_sinusoid"]

_TIME_CHANNELS = 256


@dataclass(frozen=True)
class DiTConfig:
    """Shape of the velocity network; the defaults are the published ones.

    Attributes:
        mel_channels: bins of the mel; the input stacks four such groups of channels.
        width: of the residual stream.
        depth: number of blocks.
        heads: attention heads.
        head_dim: channels per head; ``heads * head_dim`` need not equal ``width``.
        mlp_ratio: inner width of the feed-forward branch over ``width``.
    """

    mel_channels: int = 80
    width: int = 512
    depth: int = 16
    heads: int = 8
    head_dim: int = 64
    mlp_ratio: float = 4.0

    @classmethod
    def release(cls) -> DiTConfig:
        """The published shape."""
        return cls()

    @classmethod
    def debug(cls) -> DiTConfig:
        """A shape that builds in a millisecond."""
        return cls(width=16, depth=1, heads=2, head_dim=8, mlp_ratio=2.0)


@dataclass(frozen=True)
class BlockState:
    """What one block remembers between two chunks of a stream.

    Attributes:
        keys_values: ``[B, H, t, 2 * head_dim]``, the newest chunk first.
        conv1_tail: ``[B, 2, C]`` last inputs of the first convolution.
        conv2_tail: ``[B, 2, C]`` last inputs of the second convolution.
    """

    keys_values: Tensor
    conv1_tail: Tensor
    conv2_tail: Tensor


@dataclass(frozen=True)
class DiTState:
    """The state of every block, for one evaluation (one solver step) of the network."""

    blocks: tuple[BlockState, ...]

    @property
    def frames(self) -> int:
        """Number of cached frames."""
        return self.blocks[0].keys_values.shape[2]

    def truncate(self, recent: int, prompt: int) -> DiTState:
        """Keep the first ``recent`` cached frames and the prompt, which is at the end.

        Chunks are stored newest first, so this is the newest chunk (and, while it is shorter than
        ``recent``, the beginning of the one before), as in the published system.

        Args:
            recent: frames to keep besides the prompt.
            prompt: frames of the prompt.

        Returns:
            The shortened state, or itself if it is short enough.
        """
        if self.frames <= recent + prompt:
            return self
        return DiTState(
            tuple(
                BlockState(
                    torch.cat(
                        [
                            block.keys_values[:, :, :recent],
                            block.keys_values[:, :, self.frames - prompt :],
                        ],
                        dim=2,
                    ),
                    block.conv1_tail,
                    block.conv2_tail,
                )
                for block in self.blocks
            )
        )


def time_sinusoid(t: Tensor, channels: int = _TIME_CHANNELS) -> Tensor:
    """Sinusoids of the flow time: cosines first, then sines.

    Args:
        t: ``[B]`` in [0, 1]; multiplied by 1000 first.
        channels: even.

    Returns:
        ``[B, channels]``.
    """
    half = channels // 2
    rate = torch.exp(
        torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10000.0) / half)
    )
    angle = 1000.0 * t.float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1).to(t.dtype)


class TimeEmbedder(nn.Module):
    """Flow time to a conditioning vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(_TIME_CHANNELS, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """``[B]`` to ``[B, C]``."""
        y: Tensor = self.mlp(time_sinusoid(t).to(next(self.mlp.parameters()).dtype))
        return y


class Attention(nn.Module):
    """Full self-attention with a LayerNorm on every head's queries and keys."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_dim
        self.to_q = nn.Linear(config.width, inner)
        self.to_k = nn.Linear(config.width, inner)
        self.to_v = nn.Linear(config.width, inner)
        self.q_norm = nn.LayerNorm(config.head_dim, eps=1e-5)
        self.k_norm = nn.LayerNorm(config.head_dim, eps=1e-5)
        self.proj = nn.Linear(inner, config.width)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Attend to the new and the cached frames.

        Args:
            x: ``[B, T, C]``.
            mask: ``[B, 1, 1, T]`` True where a key exists; None if all do.
            cache: ``[B, H, t, 2 * head_dim]`` or None.

        Returns:
            ``[B, T, C]`` and the cache with the new frames at its start.
        """
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1))
            for linear in (self.to_q, self.to_k, self.to_v)
        )
        q = self.q_norm(q).transpose(1, 2)
        new = torch.cat([self.k_norm(k), v], dim=-1).transpose(1, 2)
        cache = new if cache is None else torch.cat([new, cache], dim=2)
        k, v = cache.chunk(2, dim=-1)
        y = functional.scaled_dot_product_attention(q, k, v, mask)
        return self.proj(y.transpose(1, 2).flatten(2)), cache


class CausalConvBlock(nn.Module):
    """Two causal convolutions with LayerNorm and Mish between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The names are the published positions in a longer chain.
        self.block = nn.ModuleDict(
            {
                "1": nn.Conv1d(width, width, 3),
                "3": nn.LayerNorm(width, eps=1e-5),
                "6": nn.Conv1d(width, width, 3),
            }
        )

    def forward(
        self, x: Tensor, tail1: Tensor | None, tail2: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, T, C]`` to ``[B, T, C]``; tails are ``[B, 2, C]``, None for silence before."""
        x = _extend(x, tail1)
        y = _convolve(self.block["1"], x)
        y = _extend(functional.mish(self.block["3"](y)), tail2)
        return _convolve(self.block["6"], y), x[:, -2:], y[:, -2:]


def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """``[B, T + 2, C]`` to ``[B, T, C]``."""
    assert isinstance(conv, nn.Conv1d)
    y: Tensor
    if x.dtype == torch.bfloat16:
        # A signal is copied before and after its products, in bfloat16 for as long as they take;
        # an image of one row is read where it lies. float32 gains little by it, and its sums
        # would be rounded in another order.
        image = x.transpose(1, 2)[:, :, None]
        y = functional.conv2d(image, conv.weight[:, :, None], conv.bias)[:, :, 0]
    else:
        y = conv(x.transpose(1, 2))
    return y.transpose(1, 2)


def _extend(x: Tensor, tail: Tensor | None) -> Tensor:
    return functional.pad(x, (0, 0, 2, 0)) if tail is None else torch.cat([tail, x], dim=1)


class FeedForward(nn.Module):
    """Two linear maps with a tanh-GELU between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        y: Tensor = self.fc1(x)
        # The exact form differs by 0.0005 at most, which rounding hides in bfloat16; there, on a
        # CPU, the tanh takes nearly as long as both products.
        form = "none" if y.dtype == torch.bfloat16 else "tanh"
        y = self.fc2(functional.gelu(y, approximate=form))
        return y


def _modulation(width: int, parts: int) -> nn.Sequential:
    """Time embedding to ``parts`` vectors, zero at first so that a new block is the identity."""
    linear = nn.Linear(width, parts * width)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.SiLU(), linear)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without affine, then shift and scale from the time embedding."""
    y = functional.layer_norm(x, x.shape[-1:], eps=1e-6)
    return torch.addcmul(shift, y, 1.0 + scale)


class DiTBlock(nn.Module):
    """Attention, causal convolution and feed-forward, each gated by the time embedding."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.conv = CausalConvBlock(config.width)
        self.mlp = FeedForward(config.width, round(config.width * config.mlp_ratio))
        self.adaLN_modulation = _modulation(config.width, 9)

    def forward(
        self, x: Tensor, time: Tensor, mask: Tensor | None, state: BlockState | None
    ) -> tuple[Tensor, BlockState]:
        """One block.

        Args:
            x: ``[B, T, C]``.
            time: ``[B, C]`` or ``[1, C]`` time embedding.
            mask: ``[B, 1, 1, T]`` key mask or None.
            state: of the chunks before, None at the start.

        Returns:
            ``[B, T, C]`` and the state after the chunk.
        """
        modulation = self.adaLN_modulation(time)[:, None].chunk(9, dim=-1)
        # Stored order: attention, feed-forward, convolution; executed order differs.
        attn, mlp, conv = modulation[0:3], modulation[3:6], modulation[6:9]
        y, keys_values = self.attn(
            _modulate(x, attn[0], attn[1]), mask, state.keys_values if state else None
        )
        x = x + attn[2] * y
        y, tail1, tail2 = self.conv(
            _modulate(x, conv[0], conv[1]),
            state.conv1_tail if state else None,
            state.conv2_tail if state else None,
        )
        x = x + conv[2] * y
        x = x + mlp[2] * self.mlp(_modulate(x, mlp[0], mlp[1]))
        return x, BlockState(keys_values, tail1, tail2)


class FinalLayer(nn.Module):
    """Modulated norm and projection to the mel bins, zero at first."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.mel_channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.adaLN_modulation = _modulation(config.width, 2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """``[B, T, C]`` and ``[B or 1, C]`` to ``[B, T, mel_channels]``."""
        shift, scale = self.adaLN_modulation(time)[:, None].chunk(2, dim=-1)
        y: Tensor = self.linear(_modulate(x, shift, scale))
        return y


class DiT(nn.Module):
    """Velocity of the flow at a noisy mel, given tokens, speaker and known frames."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.t_embedder = TimeEmbedder(config.width)
        self.in_proj = nn.Linear(4 * config.mel_channels, config.width)
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        mu: Tensor,
        speaker: Tensor,
        known: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Velocity for whole recordings, right-padded.

        Args:
            x: ``[B, T, C]`` noisy mel.
            t: ``[B]`` flow time, 0 is noise; ``[1]`` for all samples, whose modulation is then
                computed once.
            mu: ``[B, T, C]`` token features.
            speaker: ``[B, C]`` projected speaker embedding.
            known: ``[B, T, C]`` mel of the prompt frames, zeros elsewhere.
            mask: ``[B, T]`` True at real frames; None if all are.

        Returns:
            ``[B, T, C]``; meaningless at padded frames.
        """
        return self._run(x, t, mu, speaker, known, mask, None)[0]

    def stream(
        self,
        x: Tensor,
        t: Tensor,
        mu: Tensor,
        speaker: Tensor,
        known: Tensor,
        state: DiTState | None,
    ) -> tuple[Tensor, DiTState]:
        """Velocity for the next chunk; every frame sees the cached frames and its own chunk.

        Args:
            x: ``[B, T, C]``, further arguments as in :meth:`forward`.
            t: ``[B]`` or ``[1]``.
            mu: ``[B, T, C]``.
            speaker: ``[B, C]``.
            known: ``[B, T, C]``.
            state: of the previous chunk at the same solver step; None at the start.

        Returns:
            ``[B, T, C]`` and the state after the chunk.
        """
        return self._run(x, t, mu, speaker, known, None, state)

    def _run(
        self,
        x: Tensor,
        t: Tensor,
        mu: Tensor,
        speaker: Tensor,
        known: Tensor,
        mask: Tensor | None,
        state: DiTState | None,
    ) -> tuple[Tensor, DiTState]:
        time = self.t_embedder(t)
        spread = speaker[:, None].expand(-1, x.shape[1], -1)
        y = self.in_proj(torch.cat([x, mu, spread, known], dim=-1))
        key_mask = None if mask is None else mask[:, None, None]
        states = []
        for index, block in enumerate(self.blocks):
            y, block_state = block(y, time, key_mask, state.blocks[index] if state else None)
            states.append(block_state)
        return self.final_layer(y, time), DiTState(tuple(states))
