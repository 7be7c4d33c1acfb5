"""The token encoder of the flow decoder: 25 Hz token embeddings to 50 Hz features.

Published system, section "flow decoder": a small look-ahead convolution, a stack of
pre-norm attention layers with relative positions (Transformer-XL, Dai et al. 2019, section 3.3),
a causal x2 up-sampling and a second, shorter stack. "Conformer" is the published name; the layers
have neither the macaron feed-forward nor the convolution module of a conformer.

The same code runs a whole recording and a chunk of a stream: a whole recording is one last chunk
that starts from an empty :class:`EncoderState`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepaudio.types import TokenSpec

__all__ = ["ConformerConfig", "ConformerEncoder", "EncoderState", "relative_positions"]


@dataclass(frozen=True)
class ConformerConfig:
    """Shape of the token encoder; the defaults are the published ones.

    Attributes:
        width: of every layer, input and output.
        heads: attention heads; divides ``width``.
        ffn: width inside the feed-forward parts.
        blocks: layers at 25 Hz.
        up_blocks: layers at 50 Hz.
        lookahead: positions of right context, all in the first convolution; whole units, which a
            stream waits for.
        up_factor: output frames per token position.

    Raises:
        ValueError: sizes that do not divide, or a look-ahead that is not whole units.
    """

    width: int = 512
    heads: int = 8
    ffn: int = 2048
    blocks: int = 6
    up_blocks: int = 4
    lookahead: int = 3
    up_factor: int = 2

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and divisible by {self.heads} heads")
        steps = TokenSpec().semantic.per_unit
        if self.lookahead < 1 or self.lookahead % steps:
            raise ValueError(f"lookahead {self.lookahead} must be a positive multiple of {steps}")

    @classmethod
    def release(cls) -> ConformerConfig:
        """The published shape."""
        return cls()

    @classmethod
    def debug(cls) -> ConformerConfig:
        """A shape that builds in a millisecond."""
        return cls(width=16, heads=2, ffn=32, blocks=1, up_blocks=1)


@dataclass(frozen=True)
class EncoderState:
    """What the encoder remembers between two chunks of a stream. Immutable.

    Attributes:
        lookahead_tail: ``[B, 2, C]`` last outputs of the first look-ahead convolution.
        up_tail: ``[B, 2 * up_factor, C]`` last inputs of the up-sampling convolution.
        keys_values: per layer, ``[B, H, t, 2 * C / H]`` keys and values of all earlier positions.
    """

    lookahead_tail: Tensor
    up_tail: Tensor
    keys_values: tuple[Tensor, ...]


def relative_positions(length: int, width: int, *, like: Tensor) -> Tensor:
    """Sinusoids of the relative positions ``length - 1 ... -(length - 1)``, in this order.

    Args:
        length: number of keys.
        width: channels; even ones hold sines, odd ones cosines.
        like: gives device and dtype.

    Returns:
        ``[2 * length - 1, width]``.
    """
    distance = torch.arange(length - 1, -length, -1, device=like.device, dtype=torch.float32)
    step = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    angle = distance[:, None] * torch.exp(step * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)


class RelativeAttention(nn.Module):
    """Self-attention whose scores depend on content and on ``query - key`` distance."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend to the cached and the new positions.

        Args:
            x: ``[B, T, C]``.
            positions: ``[2 * (t + T) - 1, C]`` from :func:`relative_positions`.
            mask: ``[B, 1, 1, t + T]`` True where a key exists, None if all do.
            cache: ``[B, H, t, 2 * C / H]`` earlier keys and values, ``t`` may be 0.

        Returns:
            ``[B, T, C]`` and the cache with the new positions at its end.
        """
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        cache = torch.cat([cache, torch.cat([k, v], dim=-1)], dim=2)
        k, v = cache.chunk(2, dim=-1)
        p = self.linear_pos(positions).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        by_position = (q + self.pos_bias_v[:, None]) @ p.transpose(-1, -2)
        # Column m of by_position belongs to distance keys - 1 - m; slide row i of the new
        # positions so that column j belongs to (keys - T + i) - j.
        bias = _slide(by_position, k.shape[2]) / math.sqrt(q.shape[-1])
        if mask is not None:
            bias = bias.masked_fill(~mask, -torch.inf)
        y = functional.scaled_dot_product_attention(q + self.pos_bias_u[:, None], k, v, bias)
        return self.linear_out(y.transpose(1, 2).flatten(2)), cache


def _slide(scores: Tensor, keys: int) -> Tensor:
    """Row ``i`` of ``[..., T, M]`` becomes its columns ``T - 1 - i ... T - 2 - i + keys``."""
    rows = scores.shape[-2]
    padded = functional.pad(scores, (1, 0)).flatten(-2)
    return padded[..., rows:].reshape(scores.shape)[..., :keys]


class FeedForward(nn.Module):
    """Two linear maps with SiLU between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        y: Tensor = self.w_2(functional.silu(self.w_1(x)))
        return y


class EncoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, both residual."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.ffn)
        self.norm_ff = nn.LayerNorm(config.width, eps=1e-12)
        self.norm_mha = nn.LayerNorm(config.width, eps=1e-12)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``[B, T, C]`` to ``[B, T, C]``; arguments as in :class:`RelativeAttention`."""
        y, cache = self.self_attn(self.norm_mha(x), positions, mask, cache)
        x = x + y
        return x + self.feed_forward(self.norm_ff(x)), cache


class ScaledEmbedding(nn.Module):
    """Linear map and norm, scaled by the square root of the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width, eps=1e-5))
        self.scale = math.sqrt(width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        y: Tensor = self.out(x) * self.scale
        return y


class PreLookahead(nn.Module):
    """The only place that sees the future: a convolution over the next ``lookahead`` positions."""

    def __init__(self, width: int, lookahead: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, lookahead + 1)
        self.conv2 = nn.Conv1d(width, width, 3)

    def forward(self, x: Tensor, ahead: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Mix in the near future and the near past.

        Args:
            x: ``[B, T, C]``.
            ahead: ``[B, lookahead, C]`` what follows ``x``, zeros at the end of the recording.
            tail: ``[B, 2, C]`` hidden outputs before ``x``.

        Returns:
            ``[B, T, C]`` and the new tail.
        """
        y = functional.leaky_relu(self.conv1(torch.cat([x, ahead], dim=1).transpose(1, 2)), 0.01)
        y = torch.cat([tail.transpose(1, 2), y], dim=2)
        return x + self.conv2(y).transpose(1, 2), y[..., -2:].transpose(1, 2)


class CausalUpsample(nn.Module):
    """Every position ``factor`` times, smoothed by a causal convolution."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv1d(width, width, 2 * factor + 1)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, T, C]`` to ``[B, factor * T, C]``; ``tail`` is ``[B, 2 * factor, C]``."""
        y = torch.cat([tail, x.repeat_interleave(self.factor, dim=1)], dim=1)
        out: Tensor = self.conv(y.transpose(1, 2)).transpose(1, 2)
        return out, y[:, -2 * self.factor :]


class ConformerEncoder(nn.Module):
    """Token embeddings at 25 Hz to features at 50 Hz."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = ScaledEmbedding(config.width)
        self.pre_lookahead_layer = PreLookahead(config.width, config.lookahead)
        self.encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.blocks))
        self.up_layer = CausalUpsample(config.width, config.up_factor)
        self.up_embed = ScaledEmbedding(config.width)
        self.up_encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.up_blocks))
        self.after_norm = nn.LayerNorm(config.width, eps=1e-5)

    def initial_state(self, batch: int, *, like: Tensor) -> EncoderState:
        """The state before the first position.

        Args:
            batch: number of streams.
            like: gives device and dtype.

        Returns:
            The state, without any past.
        """
        c = self.config
        empty = like.new_zeros(batch, c.heads, 0, 2 * c.width // c.heads)
        return EncoderState(
            like.new_zeros(batch, 2, c.width),
            like.new_zeros(batch, 2 * c.up_factor, c.width),
            (empty,) * (c.blocks + c.up_blocks),
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode whole recordings, right-padded.

        Args:
            x: ``[B, T, C]`` token embeddings.
            mask: ``[B, T]`` True at real positions; None if all are.

        Returns:
            ``[B, up_factor * T, C]``; meaningless at padded positions.
        """
        y = self.embed(x)
        if mask is not None:
            # A padded position must look like the zeros after the end of a single recording. The
            # published system lets its padding leak into the look-ahead instead.
            y = y * mask[..., None]
        ahead = y.new_zeros(len(y), self.config.lookahead, self.config.width)
        return self.encode_embedded(y, ahead, self.initial_state(len(y), like=y), mask)[0]

    def stream(
        self, x: Tensor, state: EncoderState, *, last: bool = False
    ) -> tuple[Tensor, EncoderState]:
        """Encode the next chunk of a stream; every position sees the past and its own chunk.

        Args:
            x: ``[B, T + lookahead, C]`` the chunk and the positions after it, which are given
                again at the start of the next chunk; ``[B, T, C]`` for the last chunk.
            state: from :meth:`initial_state` or from the previous chunk.
            last: nothing follows.

        Returns:
            ``[B, up_factor * T, C]`` and the state after the chunk.
        """
        y = self.embed(x)
        if last:
            ahead = y.new_zeros(len(y), self.config.lookahead, self.config.width)
        else:
            y, ahead = y[:, : -self.config.lookahead], y[:, -self.config.lookahead :]
        return self.encode_embedded(y, ahead, state)

    def encode_embedded(
        self, x: Tensor, ahead: Tensor, state: EncoderState, mask: Tensor | None = None
    ) -> tuple[Tensor, EncoderState]:
        """Everything after the first embedding, for a whole recording or a chunk.

        Args:
            x: ``[B, T, C]`` output of ``embed``.
            ahead: ``[B, lookahead, C]`` the embedded positions after ``x``.
            state: of the positions before ``x``.
            mask: ``[B, T]`` hides keys where False; needs an empty state.

        Returns:
            ``[B, up_factor * T, C]`` and the state after ``x``.
        """
        c = self.config
        x, lookahead_tail = self.pre_lookahead_layer(x, ahead, state.lookahead_tail)
        x, caches = _run(self.encoders, x, mask, state.keys_values[: c.blocks])
        x, up_tail = self.up_layer(x, state.up_tail)
        x = self.up_embed(x)
        if mask is not None:
            mask = mask.repeat_interleave(c.up_factor, dim=1)
        x, up_caches = _run(self.up_encoders, x, mask, state.keys_values[c.blocks :])
        return self.after_norm(x), EncoderState(lookahead_tail, up_tail, (*caches, *up_caches))


def _run(
    layers: nn.ModuleList, x: Tensor, mask: Tensor | None, caches: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor]]:
    keys = x.shape[1] + (caches[0].shape[2] if caches else 0)
    positions = relative_positions(keys, x.shape[-1], like=x)
    key_mask = None if mask is None else mask[:, None, None]
    new_caches = []
    for layer, cache in zip(layers, caches, strict=True):
        x, cache = layer(x, positions, key_mask, cache)
        new_caches.append(cache)
    return x, new_caches
