"""Grouped code modeling (VALL-E 2, section 3.2): several codes per step of the decoder.

``G`` consecutive codes enter as one position and leave as one prediction, so a stream takes
``G`` times fewer steps. The code embeddings of a group are concatenated and multiplied by a group
embedding matrix; a group prediction layer fans a hidden state out to ``G`` positions of the
output layer. Within a group the codes are predicted in parallel but drawn one after another, so
that repetition aware sampling sees the earlier ones. With ``G = 1`` both layers are absent and the
model is the plain one, parameter for parameter.

Text and everything else before the codes keeps one id per position. The stack is that of
:mod:`stepaudio.lm.step1`; where the paper ties the output layer to the code embedding and learns
positions, this model is untied and uses the ALiBi of that stack.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.errors import PromptError
from stepaudio.hub import Pretrained
from stepaudio.lm.cache import KVCache
from stepaudio.lm.generate import Stepwise
from stepaudio.lm.sampling import forbid_ends
from stepaudio.lm.step1 import Step1Config, Step1Decoder, init_weights, spec_of
from stepaudio.types import LMSpec

__all__ = ["GroupCache", "GroupedConfig", "GroupedLM", "clip_to_groups"]

_IGNORED = -100


@dataclass(frozen=True)
class GroupedConfig:
    """Shapes of a grouped model.

    Attributes:
        decoder: the stack, with its weights unrounded.
        group_size: codes per position, G. The paper finds 2 the best trade (twice as fast, no
            loss), 4 slightly and 8 clearly worse; 5 makes a group of every 2:3 unit.

    Raises:
        ValueError: the group size is below 1, or the stack shall have rounded weights.
    """

    decoder: Step1Config = field(default_factory=Step1Config)
    group_size: int = 2

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise ValueError(f"group_size must be 1 or more, not {self.group_size}")
        if self.decoder.bits is not None:
            raise ValueError(
                f"decoder.bits must be None, not {self.decoder.bits}: a grouped model cannot be "
                "quantized"
            )

    @classmethod
    def release(cls) -> Self:
        """The published stack with groups of two."""
        return cls()

    @classmethod
    def debug(cls) -> Self:
        """A model for tests."""
        return cls(decoder=Step1Config.debug())


def clip_to_groups(codes: Tensor, group_size: int) -> Tensor:
    """Drop a few codes at the start, where there is silence, so that whole groups are left.

    Meant for a stream of one codebook (VALL-E 2, section 3.2). An interleaved stream starts with
    a whole unit: give it whole units and a group size that divides them.

    Args:
        codes: ``[..., T]``.
        group_size: codes per group.

    Returns:
        ``[..., T - T % group_size]``.
    """
    return codes[..., codes.shape[-1] % group_size :]


class GroupCache:
    """State of a grouped generation: the decoder's cache and the group being drawn.

    Attributes:
        decoder: cache of the stack, one position per group.
        logits: ``[B, G, V]`` predictions for the group being drawn.
        drawn: ``[B, g]`` ids of that group so far.

    Args:
        decoder: an empty cache.
    """

    def __init__(self, decoder: KVCache) -> None:
        self.decoder = decoder
        self.logits = torch.empty(0)
        self.drawn = torch.empty(0, dtype=torch.int64)

    def select(self, rows: Tensor) -> None:
        """Keep the samples ``rows`` (``[B']`` int64) of the batch, in this order."""
        self.decoder.select(rows)
        self.logits = self.logits.index_select(0, rows)
        self.drawn = self.drawn.index_select(0, rows)


class GroupedLM(Pretrained, Stepwise):
    """A decoder over text ids and groups of codes.

    Args:
        config: shapes.
    """

    config_class: ClassVar[type[GroupedConfig]] = GroupedConfig
    config: GroupedConfig

    def __init__(self, config: GroupedConfig) -> None:
        super().__init__()
        self.config = config
        width, size = config.decoder.hidden_size, config.group_size
        self.model = Step1Decoder(config.decoder)
        self.lm_head = nn.Linear(width, config.decoder.vocab_size, bias=False)
        if size > 1:
            self.group_embedding = nn.Linear(size * width, width, bias=False)
            self.group_prediction = nn.Linear(width, size * width, bias=False)
        init_weights(self, config.decoder)

    @property
    def spec(self) -> LMSpec:
        """Vocabulary, audio offset, end ids, context length."""
        return spec_of(self.config.decoder)

    def forward(self, prefix: Tensor, codes: Tensor, padding: Tensor | None = None) -> Tensor:
        """Predictions for every group and the one after the last.

        Args:
            prefix: ``[B, P]`` int64 ids before the codes, ``P >= 1``.
            codes: ``[B, N * G]`` int64 ids of the codes.
            padding: ``[B]`` prefix ids to ignore at the head of each row.

        Returns:
            ``[B, N + 1, G, V]`` logits; entry ``n`` is made from the groups before ``n``.

        Raises:
            ValueError: the codes are not whole groups.
        """
        inputs = torch.cat([self.model.embed_tokens(prefix), self._embed_groups(codes)], dim=1)
        hidden = self.model(inputs, None, padding)
        return self._predict(hidden[:, prefix.shape[1] - 1 :])

    def loss(
        self,
        prefix: Tensor,
        codes: Tensor,
        lengths: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Mean negative log-likelihood of all codes and of a group of ends after the last.

        Args:
            prefix: ``[B, P]`` int64.
            codes: ``[B, N * G]`` int64, rows filled up on the right with any id.
            lengths: ``[B]`` codes that count in each row, whole groups; None counts all.
            padding: ``[B]`` prefix ids to ignore at the head of each row.

        Returns:
            Scalar, nats per code.
        """
        size = self.config.group_size
        logits = self(prefix, codes, padding)
        if lengths is None:
            lengths = torch.full((len(codes),), codes.shape[1], device=codes.device)
        groups = (lengths // size)[:, None, None]
        number = torch.arange(logits.shape[1], device=codes.device)[None, :, None]
        targets = F.pad(codes, (0, size)).view(len(codes), -1, size)
        targets = targets.masked_fill(number == groups, self.config.decoder.end_ids[0])
        targets = targets.masked_fill(number > groups, _IGNORED)
        return F.cross_entropy(
            logits.flatten(0, 2).float(), targets.flatten(), ignore_index=_IGNORED
        )

    def new_cache(self, capacity: int = 256) -> GroupCache:
        """An empty cache.

        Args:
            capacity: positions to make room for at first.

        Returns:
            The cache, to be given to :meth:`next_logits`.
        """
        return GroupCache(KVCache(self.config.decoder.num_hidden_layers, capacity))

    def next_logits(self, ids: Tensor, cache: GroupCache, padding: Tensor | None = None) -> Tensor:
        """Logits of the code after the last one. The stack runs once per group.

        Args:
            ids: ``[B, T]`` prompts at the first call, ``[B, 1]`` drawn codes afterwards. Audio
                ids at the end of a prompt are an acoustic prompt: they enter in groups, a few of
                the first ones clipped if need be.
            cache: updated in place.
            padding: ``[B]`` prompt ids to ignore at the head of each row.

        Returns:
            ``[B, V]`` logits; the end is ruled out within a group.

        Raises:
            PromptError: nothing of a prompt is left after clipping.
        """
        if cache.decoder.length == 0:
            heads = [0] * len(ids) if padding is None else padding.tolist()
            prompts = [self._embed_prompt(row[head:]) for row, head in zip(ids, heads, strict=True)]
            lengths = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)
            short = lengths.amax() - lengths
            inputs = torch.stack(
                [F.pad(p, (0, 0, n, 0)) for p, n in zip(prompts, short.tolist(), strict=True)]
            )
            self._run(inputs, cache, short if bool(short.any()) else None)
        else:
            cache.drawn = torch.cat([cache.drawn, ids], dim=1)
            if cache.drawn.shape[1] == self.config.group_size:
                self._run(self._embed_groups(cache.drawn), cache, None)
        slot = cache.drawn.shape[1]
        logits = cache.logits[:, slot]
        return forbid_ends(logits, self.spec) if slot else logits

    def _run(self, inputs: Tensor, cache: GroupCache, padding: Tensor | None) -> None:
        hidden = self.model(inputs, cache.decoder, padding)
        cache.logits = self._predict(hidden[:, -1:])[:, 0]
        cache.drawn = torch.empty(len(inputs), 0, dtype=torch.int64, device=inputs.device)

    def _embed_prompt(self, prompt: Tensor) -> Tensor:
        """``[P + N, D]`` of one prompt: single ids, then groups."""
        spec = self.spec
        audio = (prompt >= spec.audio_offset) & (prompt < spec.audio_offset + spec.tokens.size)
        run = int(audio.flip(0).long().cumprod(0).sum())
        text, codes = prompt[: len(prompt) - run], prompt[len(prompt) - run :]
        codes = clip_to_groups(codes, self.config.group_size)
        if not len(text) + len(codes):
            raise PromptError(
                f"a prompt of {run} codes is less than one group of {self.config.group_size}"
            )
        groups = self._embed_groups(codes[None])[0]
        return torch.cat([self.model.embed_tokens(text), groups])

    def _embed_groups(self, codes: Tensor) -> Tensor:
        """``[B, N * G]`` codes to ``[B, N, D]``."""
        size = self.config.group_size
        if codes.shape[1] % size:
            raise ValueError(f"{codes.shape[1]} codes are not whole groups of {size}")
        embedded: Tensor = self.model.embed_tokens(codes)
        if size == 1:
            return embedded
        batch, length, width = embedded.shape
        grouped: Tensor = self.group_embedding(embedded.view(batch, length // size, size * width))
        return grouped

    def _predict(self, hidden: Tensor) -> Tensor:
        """``[B, N, D]`` hidden states to ``[B, N, G, V]`` logits."""
        size = self.config.group_size
        fanned = hidden[:, :, None] if size == 1 else self.group_prediction(hidden)
        logits: Tensor = self.lm_head(fanned.reshape(*hidden.shape[:2], size, -1))
        return logits
