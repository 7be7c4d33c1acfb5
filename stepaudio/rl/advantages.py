"""How much better an action was than expected: GAE, whitening, group-relative advantages.

Pure functions. A batch of responses is a padded matrix ``[B, A]`` of actions with a mask; what lies
outside the mask neither counts nor changes, and comes back as zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "explained_variance",
    "generalized_advantages",
    "group_advantages",
    "masked_mean",
    "whiten",
]

#: Floor of a standard deviation, so that equal numbers give zero instead of noise.
_FLOOR = 1e-8


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places of a mask.

    Args:
        values: ``[...]``.
        mask: ``[...]`` bool.

    Returns:
        A scalar; zero for an empty mask.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 1.0
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16).

    ``A_t = sum_k (gamma lam)^k delta_{t+k}`` with ``delta_t = r_t + gamma V_{t+1} - V_t``. After
    the last action of a row nothing follows, so the value there is zero.

    Args:
        rewards: ``[B, A]``.
        values: ``[B, A]`` of the states in which the actions were taken.
        mask: ``[B, A]`` bool, True at the actions, which come first in each row.
        gamma: discount of one action.
        lam: 0 trusts the values alone, 1 the rewards alone.

    Returns:
        ``[B, A]``; added to ``values``, it is what the values should have been.
    """
    rewards, values = torch.where(mask, rewards, 0), torch.where(mask, values, 0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(deltas)
    later = deltas.new_zeros(len(deltas))
    for t in reversed(range(deltas.shape[1])):
        later = deltas[:, t] + gamma * lam * later
        advantages[:, t] = later
    return torch.where(mask, advantages, 0)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and deviation 1 over the places of a mask.

    Args:
        values: ``[B, A]``.
        mask: ``[B, A]`` bool.

    Returns:
        ``[B, A]``, zero outside the mask and everywhere if all values are equal.
    """
    centred = torch.where(mask, values - masked_mean(values, mask), 0)
    deviation = masked_mean(centred.square(), mask).sqrt()
    # What rounding leaves of equal numbers must not be blown up to deviation 1.
    equal = deviation <= _FLOOR + 1e-6 * torch.where(mask, values, 0).abs().max()
    return torch.where(equal, 0, centred / deviation.clamp(min=_FLOOR))


def group_advantages(scores: Tensor, group_size: int, *, floor: float = 1e-4) -> Tensor:
    """Scores relative to the other responses to the same prompt (GRPO; Shao et al. 2024).

    ``(r - mean) / (deviation + floor)`` within each group, with the unbiased deviation.

    Args:
        scores: ``[P * G]``, the responses to one prompt next to each other.
        group_size: G, at least 2: a response alone has nothing to be better than.
        floor: added to the deviation.

    Returns:
        ``[P * G]``.

    Raises:
        ValueError: a group of one, or scores that are not whole groups.
    """
    if group_size < 2:
        raise ValueError(f"group_size is {group_size} but must be 2 or more to compare responses")
    if scores.dim() != 1 or len(scores) % group_size:
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} are not whole groups of {group_size}"
        )
    groups = scores.view(-1, group_size)
    centred = groups - groups.mean(1, keepdim=True)
    return (centred / (groups.std(1, keepdim=True) + floor)).flatten()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Share of the variance of the returns that the values foresaw.

    Args:
        values: ``[B, A]``.
        returns: ``[B, A]``.
        mask: ``[B, A]`` bool.

    Returns:
        A scalar, 1 for perfect values, 0 for a constant, below 0 for worse than a constant; 0 if
        the returns do not vary.
    """

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, mask)).square(), mask)

    whole = variance(returns)
    return torch.where(whole > 0, 1 - variance(returns - values) / whole.clamp(min=_FLOOR), 0)
