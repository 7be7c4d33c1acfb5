"""Are the words still there? Told from codes alone, nothing is decoded.

Two runs of codes are aligned by dynamic time warping (Sakoe and Chiba 1978, symmetric form), so
that slower or faster speech loses nothing. What two codes cost is the distance of their centroids,
averaged over both codebooks: near codes, which mean nearly the same sound, count little.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepaudio.tokenizers.interleave import truncate
from stepaudio.types import SpeechTokens

__all__ = ["code_costs", "lost_content", "warped_cost"]


def code_costs(before: Tensor, after: Tensor, codebook: Tensor) -> Tensor:
    """What it costs to hear each code of one run as each of another.

    Args:
        before: ``[N]`` int64 codes.
        after: ``[M]`` int64 codes.
        codebook: ``[K, D]`` centroids.

    Returns:
        ``[N, M]`` distances relative to the root mean square of those of all pairs of different
        centroids, at most 1.
    """
    size = len(codebook)
    # The mean of |x - y|^2 over pairs is twice the variance: no [K, K] table is needed.
    spread = (2 * size / (size - 1) * codebook.var(dim=0, correction=0).sum()).sqrt()
    # As differences, not by a matrix product, which leaves a little between a code and itself.
    distances = torch.cdist(
        codebook[before], codebook[after], compute_mode="donot_use_mm_for_euclid_dist"
    )
    return (distances / spread).clamp(max=1.0)


def warped_cost(costs: NDArray[np.float64]) -> float:
    """Cost of the best monotone alignment, per frame of both sequences.

    A step along one sequence costs the pair it reaches once, a step along both twice; the total is
    divided by the frames of both, so that every alignment weighs the same.

    Args:
        costs: ``[N, M]`` of every pair of frames, neither ``N`` nor ``M`` 0.

    Returns:
        Between the smallest and the largest cost.
    """
    # d[j] = min(d[j - 1] + c[j], stay[j]) is a running minimum once the sums of c are taken out.
    first = costs[0]
    row = np.cumsum(first) + first[0]
    for cost in costs[1:]:
        stay = row + cost
        stay[1:] = np.minimum(stay[1:], row[:-1] + 2 * cost[1:])
        sums = np.cumsum(cost)
        row = sums + np.minimum.accumulate(stay - sums)
    return float(row[-1] / sum(costs.shape))


def lost_content(
    before: SpeechTokens, after: SpeechTokens, codebooks: tuple[Tensor, Tensor]
) -> float:
    """How far what is said after an edit is from what was said before.

    Args:
        before: codes of the recording; of both only whole units count.
        after: codes of its edit.
        codebooks: linguistic ``[K, D]`` and semantic ``[K', D']`` centroids of the tokenizer, on
            the CPU.

    Returns:
        0 for the same codes, at most 1; 1 where one of both is empty. Unrelated speech gets what
        chance gives, well below 1.
    """
    if not before.num_units or not after.num_units:
        return 1.0
    before, after = truncate(before), truncate(after)
    linguistic, semantic = codebooks
    said = code_costs(before.linguistic.cpu(), after.linguistic.cpu(), linguistic)
    sounded = code_costs(before.semantic.cpu(), after.semantic.cpu(), semantic)
    # Both on their common grid, six frames to a unit of two and three codes.
    said, sounded = (
        costs.repeat_interleave(frames, dim=0).repeat_interleave(frames, dim=1)
        for costs, frames in ((said, 3), (sounded, 2))
    )
    return warped_cost(((said + sounded) / 2).double().numpy())
