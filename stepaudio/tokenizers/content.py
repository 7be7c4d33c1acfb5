"""Are the words still there? Told from linguistic codes alone, nothing is decoded.

Two runs of codes are aligned by dynamic time warping (Sakoe and Chiba 1978, symmetric form), so
that slower or faster speech loses nothing. What two codes cost is the distance of their centroids:
near codes, which mean nearly the same sound, count little.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["code_costs", "lost_content", "warped_cost"]


def code_costs(codebook: Tensor) -> NDArray[np.float64]:
    """What it costs to hear one code as another.

    Args:
        codebook: ``[K, D]`` centroids, ``K`` at least 2.

    Returns:
        ``[K, K]``: distances relative to their mean over different codes, at most 1.
    """
    centroids = codebook.detach().cpu().double()
    distances = torch.cdist(centroids, centroids)
    size = len(codebook)
    mean = distances.sum() / (size * (size - 1))
    costs: NDArray[np.float64] = (distances / mean).clamp(max=1.0).numpy()
    # Rounding leaves a little between a code and itself.
    np.fill_diagonal(costs, 0.0)
    return costs


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


def lost_content(before: Tensor, after: Tensor, costs: NDArray[np.float64]) -> float:
    """How far what is said after an edit is from what was said before.

    Args:
        before: ``[N]`` int64 linguistic codes.
        after: ``[M]`` int64 linguistic codes.
        costs: ``[K, K]`` of :func:`code_costs`.

    Returns:
        0 for the same codes, at most 1; 1 where one of both is empty.
    """
    if not len(before) or not len(after):
        return 1.0
    return warped_cost(costs[np.ix_(before.cpu().numpy(), after.cpu().numpy())])
