"""Semantic tokenizer: 25 codes per second that carry content and some prosody.

A Whisper-style encoder turns the log-mel into one vector every 40 ms; the code is the nearest of
the unit-norm codebook entries. Architecture of the S3 tokenizer v1 at 25 Hz (Du et al. 2024,
CosyVoice), as used by the published system; paper section 2.1.

State-dict names are the published ones (``encoder.conv1``, ``encoder.blocks.N``,
``quantizer._codebook.embed``); a converter has nothing to rename.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from stepaudio.errors import AudioError
from stepaudio.hub import Pretrained
from stepaudio.tokenizers.preprocess import require_channel
from stepaudio.tokenizers.whisper_mel import HOP_LENGTH, SAMPLE_RATE, log_mel

L = TypeVar("L", int, Tensor)

__all__ = ["SemanticConfig", "SemanticEncoder", "SemanticTokenizer", "code_count", "segment"]

#: Longest stretch seen by one forward pass: 30 s. Segments are encoded independently.
SEGMENT_SAMPLES = 30 * SAMPLE_RATE
#: A segment below 30 ms gives no codes.
MIN_SAMPLES = 480
# Bounds the memory of one forward pass, whatever the batch.
_SEGMENTS_PER_PASS = 8


@dataclass(frozen=True)
class SemanticConfig:
    """Sizes of the semantic tokenizer.

    Attributes:
        n_mels: log-mel bands read.
        width: model width.
        heads: attention heads.
        depth: transformer blocks.
        codes: codebook entries.
        positions: rows of the position table, 40 ms each; a segment of 30 s needs 750.
    """

    n_mels: int = 128
    width: int = 1280
    heads: int = 20
    depth: int = 6
    codes: int = 4096
    positions: int = 1500

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"width {self.width} must be even and a multiple of heads {self.heads}"
            )
        needed = code_count(SEGMENT_SAMPLES)
        if self.positions < needed:
            raise ValueError(f"positions {self.positions} is below the {needed} a segment needs")

    @classmethod
    def release(cls) -> SemanticConfig:
        """The published sizes."""
        return cls()

    @classmethod
    def nano(cls) -> SemanticConfig:
        """Sizes of the embedded model."""
        return cls(width=192, heads=6, depth=5, codes=2048)

    @classmethod
    def debug(cls) -> SemanticConfig:
        """Sizes for tests."""
        return cls(width=32, heads=2, depth=2, positions=750)


def code_count(num_samples: int) -> int:
    """Number of codes of a recording.

    Args:
        num_samples: length at 16 kHz.

    Returns:
        25 per second of each 30 s segment, rounded up from mel frames (10 ms) by the two
        stride-2 convolutions; a last segment below 480 samples counts nothing.
    """
    whole, rest = divmod(num_samples, SEGMENT_SAMPLES)
    tail = _halve(_halve(rest // HOP_LENGTH)) if rest >= MIN_SAMPLES else 0
    return whole * _halve(_halve(SEGMENT_SAMPLES // HOP_LENGTH)) + tail


def segment(waveform: Tensor) -> list[Tensor]:
    """Cut a recording into the pieces that are encoded independently.

    Args:
        waveform: ``[S]`` at 16 kHz.

    Returns:
        Views of at most 480,000 samples; a last piece below 480 samples is dropped.
    """
    pieces = torch.split(waveform, SEGMENT_SAMPLES)
    return [piece for piece in pieces if len(piece) >= MIN_SAMPLES]


class SemanticEncoder(nn.Module):
    """Two stride-2 convolutions and a pre-norm transformer without a final norm.

    Args:
        config: sizes.
    """

    positional_embedding: Tensor

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(config.n_mels, config.width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", _sinusoids(config.positions, config.width))
        self.blocks = nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.depth))

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a padded batch.

        Args:
            mel: ``[B, n_mels, T]``; what stands beyond a length is ignored.
            lengths: ``[B]`` int64 mel frames, at least 1.

        Returns:
            Hidden states ``[B, T', D]`` (zero beyond the lengths), not normalised, and ``[B]``
            their lengths; ``T'`` is a quarter of ``T``, rounded up.
        """
        # A convolution reads across the end of a clip, where a single clip would read zeros.
        x = F.gelu(self.conv1(_blank(mel, lengths)))
        lengths = _halve(lengths)
        x = F.gelu(self.conv2(_blank(x, lengths)))
        lengths = _halve(lengths)
        x = rearrange(x, "b d t -> b t d")
        x = x + self.positional_embedding[: x.shape[1]]
        keys = _valid(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, keys)
        return x.masked_fill(~keys[..., None], 0.0), lengths


class SemanticTokenizer(Pretrained):
    """Waveforms at 16 kHz to semantic codes.

    Args:
        config: sizes.
    """

    config_class = SemanticConfig

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.config: SemanticConfig = config
        self.encoder = SemanticEncoder(config)
        self.quantizer = _Quantizer(config.codes, config.width)

    @property
    def codebook(self) -> Tensor:
        """``[K, D]`` centroids."""
        return self.quantizer._codebook.embed

    def features(self, waveform: Tensor) -> Tensor:
        """Log-mel of one segment.

        Args:
            waveform: ``[S]`` at 16 kHz, at most 480,000 samples.

        Returns:
            ``[n_mels, S // 160]``.

        Raises:
            AudioError: too short for one analysis window.
        """
        return log_mel(waveform, self.config.n_mels)

    def hidden(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder output before the quantizer; differentiable, so that a recipe can train it.

        Args:
            mel: ``[B, n_mels, T]`` zero-padded log-mel.
            lengths: ``[B]`` int64 mel frames.

        Returns:
            ``[B, T', D]`` hidden states and ``[B]`` their lengths.

        Raises:
            AudioError: longer than the position table, or an empty clip.
        """
        longest = _halve(_halve(mel.shape[-1]))
        if longest > self.config.positions:
            raise AudioError(
                f"a clip of {mel.shape[-1]} mel frames needs {longest} positions, the table has "
                f"{self.config.positions}; cut the recording with segment() first"
            )
        if int(lengths.min()) < 1:
            raise AudioError("every clip needs at least one mel frame (160 samples at 16 kHz)")
        hidden: tuple[Tensor, Tensor] = self.encoder(mel, lengths)
        return hidden

    def quantize(self, hidden: Tensor) -> Tensor:
        """Nearest codes.

        Args:
            hidden: ``[..., D]`` hidden states.

        Returns:
            ``[...]`` int64 codes.
        """
        codes: Tensor = self.quantizer(hidden)
        return codes

    @torch.no_grad()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Tokenize recordings of any length.

        Args:
            waveforms: one ``[S_i]`` float tensor at 16 kHz per recording.

        Returns:
            One ``[code_count(S_i)]`` int64 tensor per recording, on the CPU.

        Raises:
            AudioError: a waveform is not one channel of floating-point samples.
        """
        for waveform in waveforms:
            require_channel(waveform, "the semantic tokenizer")
        weight = self.encoder.conv1.weight
        pieces = [
            (recording, piece)
            for recording, waveform in enumerate(waveforms)
            for piece in segment(waveform)
        ]
        # Pieces of like length share a pass, so that little of it is padding.
        order = sorted(range(len(pieces)), key=lambda index: len(pieces[index][1]))
        codes: dict[int, Tensor] = {}
        for start in range(0, len(order), _SEGMENTS_PER_PASS):
            chosen = order[start : start + _SEGMENTS_PER_PASS]
            mels = [self.features(pieces[i][1].to(weight.device, torch.float32)) for i in chosen]
            lengths = torch.tensor([mel.shape[-1] for mel in mels], device=weight.device)
            batch = nn.utils.rnn.pad_sequence([mel.T for mel in mels], batch_first=True)
            hidden, kept = self.hidden(batch.mT.to(weight.dtype), lengths)
            found = self.quantize(hidden).cpu()
            codes.update(
                (i, row[:length])
                for i, row, length in zip(chosen, found, kept.tolist(), strict=True)
            )
        results: list[list[Tensor]] = [[torch.empty(0, dtype=torch.int64)] for _ in waveforms]
        for index, (recording, _) in enumerate(pieces):
            results[recording].append(codes[index])
        return [torch.cat(parts) for parts in results]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor) -> Tensor:
        query, key, value = (
            rearrange(project(x), "b t (h c) -> b h t c", h=self.heads)
            for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, keys[:, None, None, :])
        projected: Tensor = self.out(rearrange(mixed, "b h t c -> b t (h c)"))
        return projected


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn_ln = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.mlp_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, keys: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x), keys)
        out: Tensor = x + self.mlp(self.mlp_ln(x))
        return out


class _Codebook(nn.Module):
    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.empty(codes, width))
        nn.init.normal_(self.embed)
        with torch.no_grad():
            self.embed.div_(self.embed.norm(dim=-1, keepdim=True))


class _Quantizer(nn.Module):
    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self._codebook = _Codebook(codes, width)

    def forward(self, hidden: Tensor) -> Tensor:
        # Float32 whatever the model's type: half precision cannot tell 4096 unit vectors apart.
        directions = F.normalize(hidden.float(), dim=-1, eps=1e-12)
        codebook = self._codebook.embed.float()
        # Nearest in the Euclidean sense; the term of the query itself changes no ranking.
        scores = directions @ codebook.T - codebook.square().sum(-1) / 2
        return scores.argmax(-1)


def _halve(length: L) -> L:
    """Length after a convolution of kernel 3, stride 2, padding 1."""
    return (length + 1) // 2


def _valid(lengths: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _blank(x: Tensor, lengths: Tensor) -> Tensor:
    return x.masked_fill(~_valid(lengths, x.shape[-1])[:, None, :], 0.0)


def _sinusoids(length: int, channels: int) -> Tensor:
    """Position table ``[length, channels]``: a sine half, a cosine half, periods 2 pi..20000 pi."""
    steps = torch.arange(channels // 2, dtype=torch.float64) / max(channels // 2 - 1, 1)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * 10000.0**-steps
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
