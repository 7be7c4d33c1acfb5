"""The Step1 audio language model: a pre-norm decoder over text and audio ids.

Grouped key/value heads, square-root ALiBi instead of position embeddings, SwiGLU, RMSNorm, no
biases, untied output layer. Source: published system, section "Audio LM"; parameter names are the
published ones. The published key/value groups are the ``num_attention_groups`` of the config.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.errors import CheckpointError
from stepaudio.hub import Pretrained
from stepaudio.interfaces import SpeechLM
from stepaudio.lm.alibi import BiasBlock, SqrtAlibi
from stepaudio.lm.cache import KVCache
from stepaudio.lm.generate import Stepwise
from stepaudio.lm.linear import Linear
from stepaudio.lm.quantize import Bits, fill_rounded, forget_layouts, replace_linears
from stepaudio.types import LMSpec, TokenSpec

__all__ = [
    "RMSNorm",
    "Step1Config",
    "Step1Decoder",
    "Step1LM",
    "attend",
    "init_weights",
    "spec_of",
]


@dataclass(frozen=True)
class Step1Config:
    """Shapes of the decoder and the place of the audio ids in its vocabulary.

    Attributes:
        hidden_size: width of the stream.
        intermediate_size: width inside the MLP.
        num_hidden_layers: blocks.
        num_attention_heads: query heads.
        num_attention_groups: key/value heads; divides the query heads.
        vocab_size: text and audio ids.
        rms_norm_eps: floor of the variance.
        audio_offset: id of ``<audio_0>``.
        linguistic_size: linguistic codes.
        semantic_size: semantic codes.
        end_ids: ids that end a turn.
        context_length: longest sequence served, prompt included. The published weights have no
            position table and name 32768; both published programs stop at 8192.
        attention: ``"sdpa"``, or ``"eager"``, the same written out, slower.
        bits: of the weights of linear layers, 8 or 4; None leaves them as they are. See
            :mod:`stepaudio.lm.quantize`.

    Raises:
        ValueError: sizes that do not divide, or ids outside the vocabulary.
    """

    hidden_size: int = 3072
    intermediate_size: int = 8192
    num_hidden_layers: int = 32
    num_attention_heads: int = 48
    num_attention_groups: int = 4
    vocab_size: int = 74752
    rms_norm_eps: float = 1e-5
    audio_offset: int = 65536
    linguistic_size: int = 1024
    semantic_size: int = 4096
    end_ids: tuple[int, ...] = (3,)
    context_length: int = 8192
    attention: Literal["sdpa", "eager"] = "sdpa"
    bits: Bits | None = None

    def __post_init__(self) -> None:
        heads, groups = self.num_attention_heads, self.num_attention_groups
        if self.hidden_size % heads or heads % groups:
            raise ValueError(
                f"{heads} heads must divide the hidden size {self.hidden_size} "
                f"and be a multiple of the {groups} key/value groups"
            )
        if not 0 <= self.audio_offset <= self.vocab_size - self.tokens.size:
            raise ValueError(
                f"{self.tokens.size} audio ids from {self.audio_offset} on do not fit "
                f"a vocabulary of {self.vocab_size}"
            )
        audio = range(self.audio_offset, self.audio_offset + self.tokens.size)
        if not all(0 <= end < self.vocab_size and end not in audio for end in self.end_ids):
            raise ValueError(f"end ids {self.end_ids} must be ids that are not audio")
        if self.attention not in ("sdpa", "eager"):
            raise ValueError(f"attention must be 'sdpa' or 'eager', not {self.attention!r}")
        if self.bits not in (None, 8, 4):
            raise ValueError(f"bits must be 8, 4 or None, not {self.bits!r}")

    @property
    def tokens(self) -> TokenSpec:
        """The codebooks."""
        return TokenSpec(self.linguistic_size, self.semantic_size)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def release(cls) -> Self:
        """Shapes of the published 3.5 billion parameter model."""
        return cls()

    @classmethod
    def nano(cls) -> Self:
        """Sizes of the embedded model; its vocabulary is set by the recipe that trains it."""
        return cls(
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_attention_groups=2,
            vocab_size=4096,
            audio_offset=1024,
            linguistic_size=1024,
            semantic_size=2048,
            context_length=2048,
        )

    @classmethod
    def debug(cls) -> Self:
        """A model for tests: 6 heads exercise the slope rule, small codebooks."""
        return cls(
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_attention_groups=2,
            vocab_size=120,
            audio_offset=80,
            linguistic_size=12,
            semantic_size=20,
            context_length=512,
        )


class RMSNorm(nn.Module):
    """``x / rms(x) * weight`` over the last axis.

    The factor is computed in float32 and rounded to the type of ``x`` before it is applied: the
    order of the published code, which differs from others in half precision.

    Args:
        size: width.
        eps: floor of the variance.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[..., C]``."""
        if x.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        # One pass over the row, where squaring a float32 copy and averaging it takes three.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        factor = torch.rsqrt(length.square() / x.shape[-1] + self.eps)
        return x * factor.to(x.dtype) * self.weight


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, blocks: Sequence[BiasBlock], *, eager: bool
) -> Tensor:
    """Grouped-query attention with an additive bias.

    The query heads of one key/value head are laid along the time axis, so keys and values are
    never repeated in memory. Query head ``h`` reads key/value head ``h // (H / G)``.

    Args:
        queries: ``[B, T, H, D]``.
        keys: ``[B, G, S, D]``.
        values: ``[B, G, S, D]``.
        blocks: bias of all queries.
        eager: write softmax attention out instead of calling PyTorch's fused one.

    Returns:
        ``[B, T, H * D]``.
    """
    batch, length, heads, dim = queries.shape
    groups = keys.shape[1]
    grouped = queries.view(batch, length, groups, heads // groups, dim).permute(0, 2, 3, 1, 4)
    outputs = []
    for start, stop, bias, first in blocks:
        rows, seen = heads // groups * (stop - start), bias.shape[-1]
        q = grouped[:, :, :, start:stop].reshape(batch, groups, rows, dim)
        k, v = keys[:, :, first : first + seen], values[:, :, first : first + seen]
        bias = bias.reshape(-1, groups, rows, seen)
        if eager:
            scores = (q * dim**-0.5) @ k.transpose(-1, -2) + bias
            output = scores.softmax(-1) @ v
        else:
            output = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        outputs.append(output.view(batch, groups, heads // groups, stop - start, dim))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=3)
    return joined.permute(0, 3, 1, 2, 4).reshape(batch, length, heads * dim)


class Attention(nn.Module):
    """Self-attention of one block."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.groups = config.num_attention_groups
        self.eager = config.attention == "eager"
        width, narrow = config.hidden_size, config.num_attention_groups * config.head_dim
        self.q_proj = Linear(width, width, bias=False)
        self.k_proj = Linear(width, narrow, bias=False)
        self.v_proj = Linear(width, narrow, bias=False)
        self.o_proj = Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, blocks: Sequence[BiasBlock], cache: KVCache | None, layer: int
    ) -> Tensor:
        """Attend within ``[B, T, D]`` and the cached positions of ``layer``."""
        batch, length, _ = x.shape
        queries = self.q_proj(x).view(batch, length, self.heads, -1)
        keys = self.k_proj(x).view(batch, length, self.groups, -1).transpose(1, 2)
        values = self.v_proj(x).view(batch, length, self.groups, -1).transpose(1, 2)
        if cache is not None:
            keys, values = cache.append(layer, keys, values)
        output: Tensor = self.o_proj(attend(queries, keys, values, blocks, eager=self.eager))
        return output


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[B, T, D]``."""
        output: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class Block(nn.Module):
    """Attention and MLP, each behind a norm and beside a residual path."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, blocks: Sequence[BiasBlock], cache: KVCache | None, layer: int
    ) -> Tensor:
        """Transform ``[B, T, D]``."""
        x = x + self.self_attn(self.input_layernorm(x), blocks, cache, layer)
        output: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return output


class Step1Decoder(nn.Module):
    """Embedding, blocks and final norm.

    Args:
        config: shapes.
    """

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.alibi = SqrtAlibi(config.num_attention_heads)

    def forward(
        self,
        x: Tensor,
        cache: KVCache | None = None,
        padding: Tensor | None = None,
        documents: Sequence[int] | None = None,
    ) -> Tensor:
        """Run embeddings through the stack.

        Args:
            x: ``[B, T, D]`` embeddings.
            cache: earlier positions, updated in place.
            padding: ``[B]`` positions at the head of each sample to ignore; with a cache given
                once, at the first call.
            documents: lengths of texts laid end to end in every row, none of which sees another;
                without a cache and without padding.

        Returns:
            ``[B, T, D]`` normalised hidden states.

        Raises:
            ValueError: padding for a cache that already holds positions, or documents that do
                not fill the positions.
        """
        past = 0
        if cache is not None:
            past = cache.length
            if padding is not None:
                if past:
                    raise ValueError("padding belongs to the first call on a cache")
                cache.padding = padding
            padding = cache.padding
        blocks = self.alibi.blocks(
            x.shape[1],
            past,
            device=x.device,
            dtype=x.dtype,
            padding=padding,
            documents=documents,
        )
        for index, layer in enumerate(self.layers):
            x = layer(x, blocks, cache, index)
        if cache is not None:
            cache.advance(x.shape[1])
        output: Tensor = self.norm(x)
        return output


class Step1LM(Pretrained, Stepwise, SpeechLM):
    """The language model of the published system.

    Args:
        config: shapes. With ``bits``, linear layers are made with zeros, to be filled by
            :meth:`from_pretrained` or :func:`~stepaudio.lm.quantize.quantize`.
    """

    config_class: ClassVar[type[Step1Config]] = Step1Config
    config: Step1Config
    # Whether the folder has the weights unrounded.
    _rounds: bool = False

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.config = config
        self.model = Step1Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.bits is not None:
            replace_linears(self, config.bits)
        init_weights(self, config)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        offload: bool = False,
        bits: Bits | None = None,
    ) -> Self:
        """Build from a folder; see :meth:`stepaudio.hub.Pretrained.from_pretrained`.

        Args:
            folder: a local folder.
            dtype: floating type to hold the weights in.
            device: where the module shall be.
            offload: do not read the weights now; see :mod:`stepaudio.offload`.
            bits: round the weights of linear layers, each as soon as it is read; see
                :mod:`stepaudio.lm.quantize`. None takes them as they are stored.

        Returns:
            The module in evaluation mode.

        Raises:
            CheckpointError: missing files, unknown settings, missing or surplus tensors, or
                weights stored with other bits.
        """
        model = cls._built(folder)
        stored = model.config.bits
        if bits is not None and bits != stored:
            if stored is not None:
                raise CheckpointError(
                    f"the language model in {folder} is stored with weights of {stored} bits; "
                    f"to have {bits}, start from the model it was made from"
                )
            model.config = replace(model.config, bits=bits)
            replace_linears(model, bits)
            model._rounds = True
        return model._placed(dtype, device, offload)

    def unload(self) -> None:
        """Free the weights; see :meth:`stepaudio.hub.Pretrained.unload`."""
        if self.folder is not None:
            forget_layouts(self)
        super().unload()

    def _fill(
        self,
        path: Path,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Read every tensor, those of linear layers into less bits if need be."""
        if self._rounds:
            fill_rounded(self, path, dtype, device)
        else:
            super()._fill(path, dtype, device)

    @property
    def spec(self) -> LMSpec:
        """Vocabulary, audio offset, end ids, context length."""
        return spec_of(self.config)

    def forward(
        self, ids: Tensor, cache: KVCache | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Next-token logits of every position.

        Args:
            ids: ``[B, T]`` int64. Rows shorter than ``T`` may be padded on the right freely (no
                position sees its future) or on the left with ``padding``.
            cache: earlier positions, updated in place; made by :meth:`new_cache`, not
                differentiable.
            padding: ``[B]`` int64 ids to ignore at the head of each row; with a cache given once,
                at the first call.

        Returns:
            ``[B, T, V]`` logits.
        """
        logits: Tensor = self.lm_head(self.model(self.model.embed_tokens(ids), cache, padding))
        return logits

    def new_cache(self, capacity: int = 256) -> KVCache:
        """An empty cache.

        Args:
            capacity: positions to make room for at first.

        Returns:
            The cache, to be given to :meth:`next_logits`.
        """
        return KVCache(self.config.num_hidden_layers, capacity)

    def next_logits(self, ids: Tensor, cache: KVCache, padding: Tensor | None = None) -> Tensor:
        """Logits of the token after the last one; the output layer runs on that position only.

        Args:
            ids: ``[B, T]`` int64 ids that follow the cached ones.
            cache: updated in place.
            padding: as in :meth:`forward`.

        Returns:
            ``[B, V]`` logits.
        """
        hidden = self.model(self.model.embed_tokens(ids), cache, padding)
        logits: Tensor = self.lm_head(hidden[:, -1])
        return logits


def spec_of(config: Step1Config) -> LMSpec:
    """What the neighbours of a model with this config must know."""
    return LMSpec(
        vocab_size=config.vocab_size,
        audio_offset=config.audio_offset,
        tokens=config.tokens,
        end_ids=config.end_ids,
        context_length=config.context_length,
    )


def init_weights(model: nn.Module, config: Step1Config) -> None:
    """Small initialisation: deviation ``sqrt(2 / (5 D))``, less where a residual path is fed.

    Source: Nguyen and Salazar 2019 (small init); the division of the two output projections of a
    block by ``sqrt(2 * layers)`` follows GPT-2. The published weights are loaded over it.

    Args:
        model: every linear layer and embedding in it is filled.
        config: width and depth.
    """
    deviation = (2 / (5 * config.hidden_size)) ** 0.5
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            residual = name.endswith(("o_proj", "down_proj"))
            scale = (2 * config.num_hidden_layers) ** -0.5 if residual else 1.0
            nn.init.normal_(module.weight, std=deviation * scale)
