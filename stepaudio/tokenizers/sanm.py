"""SAN-M encoder: self-attention with memory blocks, computed chunk by chunk without a loop.

The published encoder streams. It reads 4 frames at a time, recomputes the 5 frames before them as
left overlap, and attends to keys and values that the 4 previous chunks left behind (published
system, section 3). A chunk never waits for the *output* of another chunk, only for keys and values
of the same layer, so all windows of all recordings go through a layer together: windows are the
batch dimension and the look-back is a gather over neighbouring windows. Numbers are those of the
stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

__all__ = ["SANMConfig", "SANMEncoder", "Windows"]


@dataclass(frozen=True)
class SANMConfig:
    """Sizes of the encoder; the defaults are the published ones.

    Attributes:
        input_dim: size of an input frame, even.
        width: model width.
        depth: number of blocks, the first of which maps ``input_dim`` to ``width``.
        heads: attention heads.
        ffn: hidden width of the feed-forward layers.
        kernel: taps of the memory block, odd.
        chunk: new frames per window.
        overlap: earlier frames recomputed in every window.
        look_back: earlier windows whose keys and values are attended to.
        norm_eps: of the layer norms.
    """

    input_dim: int = 560
    width: int = 512
    depth: int = 50
    heads: int = 4
    ffn: int = 2048
    kernel: int = 11
    chunk: int = 4
    overlap: int = 5
    look_back: int = 4
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        if self.width % self.heads or self.input_dim % 2 or self.kernel % 2 == 0:
            raise ValueError(
                f"width {self.width} must be a multiple of heads {self.heads}, "
                f"input_dim {self.input_dim} even and kernel {self.kernel} odd"
            )
        if min(self.depth, self.chunk, self.look_back) < 1 or self.overlap < 0:
            raise ValueError("depth, chunk and look_back must be positive, overlap not negative")

    @property
    def window(self) -> int:
        """Frames in one window."""
        return self.overlap + self.chunk

    @classmethod
    def release(cls) -> Self:
        """The published shapes."""
        return cls()

    @classmethod
    def debug(cls) -> Self:
        """Small enough for a test."""
        return cls(width=16, depth=2, heads=2, ffn=32)


@dataclass(frozen=True)
class Windows:
    """Consecutive windows of one or several recordings, one recording after the other.

    Attributes:
        frames: ``[W, window, C]`` overlap and new frames, positions added, zeros past the end.
        index: ``[W]`` number of the window within its recording, from 0.
        new: ``[W]`` number of new frames, ``chunk`` except perhaps in a recording's last window.
    """

    frames: Tensor
    index: Tensor
    new: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice) -> Windows:
        return Windows(self.frames[part], self.index[part], self.new[part])

    @staticmethod
    def cat(parts: list[Windows]) -> Windows:
        """Join parts in order."""
        return Windows(
            torch.cat([p.frames for p in parts]),
            torch.cat([p.index for p in parts]),
            torch.cat([p.new for p in parts]),
        )


@dataclass(frozen=True)
class _Masks:
    """Which keys a window may attend to, and which of its own frames exist."""

    keys: Tensor  # [W, 1, 1, look_back * chunk + window]
    absent: Tensor | None  # [W, window, 1]; None when every window is full


class SANMAttention(nn.Module):
    """Multi-head attention plus a depth-wise convolution over the values (the memory block)."""

    def __init__(self, input_dim: int, config: SANMConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.linear_q_k_v = nn.Linear(input_dim, 3 * width)
        self.linear_out = nn.Linear(width, width)
        self.fsmn_block = nn.Conv1d(width, width, config.kernel, groups=width, bias=False)

    def forward(self, x: Tensor, masks: _Masks, carry: Tensor | None) -> tuple[Tensor, Tensor]:
        """``[W, window, C]`` to ``[W, window, D]``, and the keys and values to carry on.

        ``carry`` is ``[look_back * chunk, 2 * D]``: keys and values before the first window.
        """
        c = self.config
        q, kv = self.linear_q_k_v(x).split([c.width, 2 * c.width], dim=-1)
        own = kv[..., c.width :]
        if masks.absent is not None:
            own = own.masked_fill(masks.absent, 0.0)
        memory = self._memory(own)

        # Every window leaves the keys and values of its first `chunk` frames behind; a window
        # sees those of the `look_back` windows before it.
        size = c.look_back * c.chunk
        left = kv[:, : c.chunk].flatten(0, 1)
        if carry is None:
            carry = left.new_zeros(size, 2 * c.width)
        left = torch.cat([carry, left])
        past = left[: -c.chunk].unfold(0, size, c.chunk).transpose(1, 2)
        k, v = torch.cat([past, kv], dim=1).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (c.heads, -1)).transpose(1, 2) for t in (q, k, v))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=masks.keys)
        out: Tensor = self.linear_out(seen.transpose(1, 2).flatten(2)) + memory
        return out, left[-size:]

    def _memory(self, v: Tensor) -> Tensor:
        # Two-dimensional because PyTorch's one-dimensional depth-wise convolution is 50 times
        # slower on a CPU for inputs that are not contiguous along time.
        weight = self.fsmn_block.weight.unsqueeze(2)
        pad = (0, self.config.kernel // 2)
        image = v.transpose(1, 2).unsqueeze(2)
        out = F.conv2d(image, weight, padding=pad, groups=self.config.width)
        return out.squeeze(2).transpose(1, 2) + v


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, config: SANMConfig) -> None:
        super().__init__()
        self.w_1 = nn.Linear(config.width, config.ffn)
        self.w_2 = nn.Linear(config.ffn, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., D]``."""
        out: Tensor = self.w_2(self.w_1(x).relu_())
        return out


class SANMBlock(nn.Module):
    """Pre-norm attention and feed-forward; no residual around attention if the width changes."""

    def __init__(self, input_dim: int, config: SANMConfig) -> None:
        super().__init__()
        self.residual = input_dim == config.width
        self.self_attn = SANMAttention(input_dim, config)
        self.feed_forward = FeedForward(config)
        self.norm1 = nn.LayerNorm(input_dim, eps=config.norm_eps)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, masks: _Masks, carry: Tensor | None) -> tuple[Tensor, Tensor]:
        """``[W, window, C]`` to ``[W, window, D]``, and what the attention carries on."""
        attended, carry = self.self_attn(self.norm1(x), masks, carry)
        x = x + attended if self.residual else attended
        return x + self.feed_forward(self.norm2(x)), carry


class SANMEncoder(nn.Module):
    """Frames at 16.7 Hz to hidden states at 16.7 Hz (published system, section 3)."""

    def __init__(self, config: SANMConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders0 = nn.ModuleList([SANMBlock(config.input_dim, config)])
        self.encoders = nn.ModuleList(
            [SANMBlock(config.width, config) for _ in range(config.depth - 1)]
        )
        self.after_norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode a padded batch; each item gives what it gives alone.

        Args:
            feats: ``[B, T, C]`` normalised features.
            lengths: ``[B]`` valid frames; None if all are.

        Returns:
            ``[B, T, D]``, zero past each length.
        """
        c = self.config
        batch, frames = feats.shape[:2]
        count = -(-frames // c.chunk)
        windows = self.cut(feats, lengths) if frames else None
        if windows is None or not len(windows):
            return feats.new_zeros(batch, frames, c.width)
        out = self.encode(windows)[0][:, c.overlap :]
        if lengths is None:
            return out.reshape(batch, count * c.chunk, c.width)[:, :frames]
        starts = c.chunk * torch.arange(count, device=feats.device)
        padded = out.new_zeros(batch, count, c.chunk, c.width)
        padded[starts < lengths[:, None]] = out
        absent = torch.arange(frames, device=feats.device) >= lengths[:, None]
        return padded.flatten(1, 2)[:, :frames].masked_fill(absent[..., None], 0.0)

    def cut(self, feats: Tensor, lengths: Tensor | None = None) -> Windows:
        """Scale, add positions and cut into overlapping windows.

        Args:
            feats: ``[B, T, C]`` normalised features, ``T`` at least 1.
            lengths: ``[B]`` valid frames; None if all are.

        Returns:
            The windows that hold at least one valid new frame, item after item.
        """
        c = self.config
        batch, frames = feats.shape[:2]
        x = feats * math.sqrt(c.width) + _positions(frames, c.input_dim, feats.device).to(feats)
        if lengths is None:
            lengths = torch.full((batch,), frames, device=feats.device)
            ragged = False
        else:
            absent = torch.arange(frames, device=feats.device) >= lengths[:, None]
            x = x.masked_fill(absent[..., None], 0.0)
            ragged = True
        count = -(-frames // c.chunk)
        # Before the beginning stand zeros that take part in everything, as in the stream.
        x = F.pad(x, (0, 0, c.overlap, count * c.chunk - frames))
        x = x.unfold(1, c.window, c.chunk).transpose(2, 3)
        index = torch.arange(count, device=feats.device).expand(batch, count)
        new = (lengths[:, None] - c.chunk * index).clamp(max=c.chunk)
        if ragged:
            used = new > 0
            return Windows(x[used], index[used], new[used])
        return Windows(x.flatten(0, 1), index.flatten(), new.flatten())

    def encode(
        self, windows: Windows, carry: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode windows, all together.

        A long sequence of windows may be given in pieces, which bounds memory and changes nothing:
        hand the second result of one call to the next.

        Args:
            windows: at least one.
            carry: what the previous call returned; None at the beginning.

        Returns:
            ``[W, window, D]`` outputs, of which the last ``chunk`` of each window are the new
            frames, and one tensor per block to carry on.
        """
        masks = self._masks(windows)
        blocks = [*self.encoders0, *self.encoders]
        before: list[Tensor | None] = [None] * len(blocks) if carry is None else [*carry]
        after = []
        x = windows.frames
        for block, left in zip(blocks, before, strict=True):
            x, kept = block(x, masks, left)
            after.append(kept)
        return self.after_norm(x), after

    def _masks(self, windows: Windows) -> _Masks:
        c = self.config
        device = windows.index.device
        age = c.look_back - torch.arange(c.look_back * c.chunk, device=device) // c.chunk
        past = windows.index[:, None] >= age
        own = torch.arange(c.window, device=device) < c.overlap + windows.new[:, None]
        keys = torch.cat([past, own], dim=1)[:, None, None]
        full = bool((windows.new == c.chunk).all())
        return _Masks(keys, None if full else ~own[..., None])


def _positions(frames: int, dim: int, device: torch.device) -> Tensor:
    """``[frames, dim]`` sines then cosines of positions from 1, time scales 1 to 10000."""
    half = dim // 2
    scales = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / (half - 1)))
    angles = torch.arange(1, frames + 1, device=device)[:, None] * scales
    return torch.cat([angles.sin(), angles.cos()], dim=1)
