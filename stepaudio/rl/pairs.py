"""Preference pairs as micro-batches: both answers of every pair in one packed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stepaudio.rl.losses import bradley_terry_loss
from stepaudio.training.packing import Packed, pack
from stepaudio.training.rows import ORIGINS, PairRow
from stepaudio.training.stage import Mean

__all__ = ["PairBatch", "ended", "pack_pairs", "pair_means"]


class PairBatch(NamedTuple):
    """Pairs of answers.

    Attributes:
        packed: ``2 n`` texts: chosen and rejected of the first pair, of the second, and so on.
        margins: ``[n]`` by how much the chosen were preferred.
        origins: ``[n]`` numbers into :data:`~stepaudio.training.rows.ORIGINS`.
    """

    packed: Packed
    margins: Tensor
    origins: Tensor


def pack_pairs(rows: Sequence[PairRow], ends: Sequence[int] = ()) -> PairBatch:
    """Lay pairs end to end.

    Args:
        rows: the pairs.
        ends: ids of which the first is added to answers that end with none of them; empty adds
            nothing.

    Returns:
        The batch.
    """
    texts = []
    for row in rows:
        for answer in (row.chosen, row.rejected):
            texts.append((row.prompt, ended(answer, ends)))
    return PairBatch(
        packed=pack(texts),
        margins=torch.tensor([row.margin for row in rows]),
        origins=torch.tensor([ORIGINS.index(row.origin) for row in rows]),
    )


def ended(answer: Tensor, ends: Sequence[int]) -> Tensor:
    """An answer with its end.

    Args:
        answer: ``[R]`` int64.
        ends: ids that end an answer.

    Returns:
        The same if it ends with one of them or there are none, else with the first added.
    """
    if not ends or (len(answer) and int(answer[-1]) in ends):
        return answer
    return torch.cat([answer, answer.new_tensor([ends[0]])])


def pair_means(scores: Tensor, batch: PairBatch, margin: Tensor | float = 0.0) -> dict[str, Mean]:
    """Bradley-Terry loss of scores, and how often they agree with the preference.

    Args:
        scores: ``[2 n]`` of the texts of the batch, with gradient.
        batch: the pairs.
        margin: inside the sigmoid, ``[n]`` or one number.

    Returns:
        Means over pairs: ``loss``; ``accuracy``, where a draw is half right, also for each known
        origin; ``reward_margin`` and ``reward``, the mean of both scores.
    """
    chosen, rejected = scores[0::2], scores[1::2]
    pairs = len(chosen)
    apart = (chosen - rejected).detach()
    right = 0.5 * (apart.sign() + 1.0)
    means = {
        "loss": Mean(bradley_terry_loss(chosen, rejected, margin).sum(), pairs),
        "accuracy": Mean(right.sum(), pairs),
        "reward_margin": Mean(apart.sum(), pairs),
        "reward": Mean(0.5 * scores.detach().sum(), pairs),
    }
    known: Mapping[str, int] = {name: n for n, name in enumerate(ORIGINS) if name}
    for name, number in known.items():
        of = batch.origins == number
        means[f"{name}_accuracy"] = Mean((right * of).sum(), of.sum())
    return means
