"""How far a policy has moved from its reference: KL estimators and the penalty in the reward.

The estimators read samples of the policy (Schulman 2020, "Approximating KL divergence"): with
``r = log p - log q`` at the token drawn from ``p``, the divergence ``KL(p | q)`` is the mean of
``k1 = r`` (unbiased, may be negative), ``k2 = r^2 / 2`` (biased, low variance) and
``k3 = exp(-r) - 1 + r`` (unbiased, never negative).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Estimator", "kl_estimate", "shaped_rewards"]

Estimator = Literal["k1", "k2", "k3"]


def kl_estimate(log_probs: Tensor, reference: Tensor, estimator: Estimator = "k1") -> Tensor:
    """Estimate the divergence at every token.

    Args:
        log_probs: ``[...]`` of the drawn tokens under the policy that drew them.
        reference: ``[...]`` of the same tokens under the reference.
        estimator: which formula.

    Returns:
        ``[...]``.

    Raises:
        ValueError: an unknown estimator.
    """
    ratio = log_probs - reference
    if estimator == "k1":
        return ratio
    if estimator == "k2":
        return ratio.square() / 2
    if estimator == "k3":
        return torch.expm1(-ratio) + ratio
    raise ValueError(f"estimator {estimator!r} is not one of 'k1', 'k2', 'k3'")


def shaped_rewards(scores: Tensor, kl: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """The reward of every action: the score at the last one, ``-beta * kl`` at each.

    Source: the coefficient is that of the paper (section 3.2.3); where it applies is not said
    there, and every action is the common place (Ouyang et al. 2022).

    Args:
        scores: ``[B]`` of whole responses.
        kl: ``[B, A]`` estimate at each action.
        mask: ``[B, A]`` bool, True at the actions, at least one in each row, which come first.
        beta: price of one nat.

    Returns:
        ``[B, A]``.

    Raises:
        ValueError: a row without an action, whose score would be lost.
    """
    lengths = mask.sum(1)
    if bool((lengths == 0).any()):
        raise ValueError("a response without any action cannot carry its score")
    rewards = torch.where(mask, -beta * kl, 0)
    last = (lengths - 1)[:, None]
    return rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))
