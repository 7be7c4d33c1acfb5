"""Guidance of a language model: what a prompt asks for, told apart from what it does not.

Beside each prompt the model reads others that lack one thing (contrasts): the same instruction
with the recording in disorder, or the recording with an instruction that asks for nothing. What
makes the next token more likely after the prompt than after a contrast is what that thing adds, and
is weighted up: ``log p + w (log p - log p_contrast)``. This is classifier-free guidance (Ho and
Salimans 2022, eq. 6; of language models Sanchez et al. 2023) without a training that leaves
conditions out. Not part of the published system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepaudio.types import Contrast, LMSpec

__all__ = ["GuidedCache", "GuidedModel"]


class GuidedCache:
    """State of a guided generation.

    Attributes:
        main: of the prompts.
        beside: of their contrasts; None before they are read.
        owners: ``[E]`` int64, the row of the prompt that each contrast belongs to.
        weights: ``[E]`` of the contrasts.

    Args:
        main: an empty cache.
    """

    def __init__(self, main: Any) -> None:
        self.main = main
        self.beside: Any = None
        self.owners = torch.empty(0, dtype=torch.int64)
        self.weights = torch.empty(0)

    def select(self, rows: Tensor) -> None:
        """Keep the samples ``rows`` (``[B']`` int64) of the batch, in this order."""
        self.main.select(rows)
        self.owners, kept = (rows[:, None] == self.owners).nonzero(as_tuple=True)
        self.beside.select(kept)
        self.weights = self.weights[kept]


class GuidedModel:
    """A model for :func:`stepaudio.lm.generate.generate` that reads contrasts along.

    Args:
        lm: the model.
        contrasts: of each row of prompts that is read first, one or more altogether; a row without
            any is not guided.
    """

    def __init__(self, lm: Any, contrasts: Sequence[Sequence[Contrast]]) -> None:
        self._lm = lm
        self._contrasts = contrasts
        self._capacity = 0

    @property
    def spec(self) -> LMSpec:
        """Vocabulary, audio offset, end ids, context length."""
        spec: LMSpec = self._lm.spec
        return spec

    def new_cache(self, capacity: int) -> GuidedCache:
        """An empty cache with room for ``capacity`` positions."""
        self._capacity = capacity
        return GuidedCache(self._lm.new_cache(capacity))

    def next_logits(self, ids: Tensor, cache: GuidedCache, padding: Tensor | None = None) -> Tensor:
        """``[B, V]`` guided logits after ``ids`` ``[B, T]``; ``padding`` ``[B]`` is ignored."""
        logits: Tensor = self._lm.next_logits(ids, cache.main, padding)
        if cache.beside is None:
            away = self._read(cache)
        elif len(cache.owners):
            away = self._lm.next_logits(ids[cache.owners], cache.beside)
        else:
            return logits
        asked = logits.float().log_softmax(-1)
        mine = asked[cache.owners]
        gained = (mine - away.float().log_softmax(-1)) * cache.weights[:, None]
        # What is ruled out after the prompt stays so.
        gained = gained.masked_fill(mine == float("-inf"), 0.0)
        return asked.index_add(0, cache.owners, gained)

    def _read(self, cache: GuidedCache) -> Tensor:
        """``[E, V]`` logits after all contrasts."""
        found = [(row, one) for row, mine in enumerate(self._contrasts) for one in mine]
        device = found[0][1].prompt.device
        lengths = torch.tensor([len(contrast.prompt) for _, contrast in found], device=device)
        short = lengths.amax() - lengths
        inputs = torch.stack(
            [
                functional.pad(contrast.prompt, (head, 0))
                for (_, contrast), head in zip(found, short.tolist(), strict=True)
            ]
        )
        cache.owners = torch.tensor([row for row, _ in found], device=device)
        cache.weights = torch.tensor([c.weight for _, c in found], device=device)
        cache.beside = self._lm.new_cache(self._capacity)
        logits: Tensor = self._lm.next_logits(
            inputs, cache.beside, short if bool(short.any()) else None
        )
        return logits
