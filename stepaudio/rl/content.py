"""Are the words still there? Heard from linguistic codes alone, nothing is decoded.

The linguistic codes of the recording in the prompt and of the answer are aligned by dynamic time
warping (Sakoe and Chiba 1978, symmetric form), so that a slower or faster answer loses nothing.
What two codes cost is the distance of their centroids: near codes, which mean nearly the same
sound, count little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepaudio.rl.guards import source_ids
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.tokenizers.interleave import deinterleave, truncate_ids
from stepaudio.types import LMSpec

__all__ = ["ContentReward", "code_costs", "warped_cost"]


def code_costs(codebook: Tensor) -> NDArray[np.float64]:
    """What it costs to hear one code as another.

    Args:
        codebook: ``[K, D]`` centroids, ``K`` at least 2.

    Returns:
        ``[K, K]``: distances relative to their mean over different codes, at most 1.
    """
    distances = torch.cdist(codebook.double(), codebook.double())
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


class ContentReward:
    """How well the words of the recording in the prompt survive: 1 for the same codes.

    Codes of unrelated speech get what chance gives, often well above 0. Rows without a recording
    and answers without a whole unit get 0.

    Args:
        spec: of the policy.
        codebook: ``[K, D]`` centroids of the linguistic tokenizer.

    Raises:
        ValueError: a codebook of another size than the policy's linguistic codes.
    """

    def __init__(self, spec: LMSpec, codebook: Tensor) -> None:
        if len(codebook) != spec.tokens.linguistic_size:
            raise ValueError(
                f"the codebook has {len(codebook)} codes but the policy writes "
                f"{spec.tokens.linguistic_size}; take the tokenizer that the model was trained with"
            )
        self.spec = spec
        self.costs = code_costs(codebook.cpu())

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """Kept content of every response, ``[B]`` in 0..1."""
        pairs = zip(prompts, responses, strict=True)
        return torch.tensor([self._kept(source_ids(p.ids, self.spec), r) for p, r in pairs])

    def _kept(self, source: Tensor, response: Tensor) -> float:
        said, heard = self._codes(source), self._codes(response)
        if not len(said) or not len(heard):
            return 0.0
        return 1.0 - warped_cost(self.costs[np.ix_(said, heard)])

    def _codes(self, ids: Tensor) -> NDArray[np.int64]:
        spec = self.spec
        whole = truncate_ids(ids.cpu(), spec.tokens)
        codes: NDArray[np.int64] = deinterleave(
            whole, spec.tokens, spec.audio_offset
        ).linguistic.numpy()
        return codes
