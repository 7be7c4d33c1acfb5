"""The three terms of proximal policy optimisation, per action (Schulman et al. 2017).

Nothing is averaged here: how actions of several minibatches or processes are weighed is up to the
caller.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clipped_surrogate", "clipped_value_loss", "entropy_of"]


def clipped_surrogate(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, *, clip: float = 0.2
) -> tuple[Tensor, Tensor]:
    """The policy loss ``max(-rho A, -clamp(rho, 1 - clip, 1 + clip) A)``, equation 7.

    Args:
        log_probs: ``[...]`` under the policy being moved, with gradient.
        old_log_probs: ``[...]`` under the policy that drew the actions.
        advantages: ``[...]``.
        clip: how far the ratio may go before the gradient stops.

    Returns:
        Loss ``[...]``, and ``[...]`` bool, where the clipped term decided.
    """
    ratio = (log_probs - old_log_probs).exp()
    free = -ratio * advantages
    held = -ratio.clamp(1 - clip, 1 + clip) * advantages
    return torch.maximum(free, held), held > free


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float = 0.2
) -> Tensor:
    """Half the squared error, of the value or of the value held near the old one, if larger.

    Args:
        values: ``[...]``, with gradient.
        old_values: ``[...]`` when the actions were drawn.
        returns: ``[...]``.
        clip: how far a value may move from the old one before the gradient stops.

    Returns:
        ``[...]``.
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum((values - returns).square(), (held - returns).square()) / 2


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy of the next action, in nats.

    Args:
        logits: ``[..., V]``, minus infinity where forbidden.

    Returns:
        ``[...]``.
    """
    log_probs = logits.log_softmax(-1)
    # Zero times minus infinity: a forbidden action adds nothing, and no NaN to the gradient.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0)).sum(-1)
