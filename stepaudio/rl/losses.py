"""Losses of preference learning, as pure functions of scores and log-probabilities."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["bradley_terry_loss", "implicit_reward"]


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """How surprising a preference is to scores: ``-log sigmoid(r_w - r_l - m)``.

    Source: paper section 3.2.2; the margin is that of Llama 2 (Touvron et al. 2023, eq. 2). Of
    two equal scores it is ``ln 2``. On implicit rewards it is the loss of DPO (Rafailov et al.
    2023, eq. 7).

    Args:
        chosen: ``[B]`` scores of the better answers.
        rejected: ``[B]`` scores of the worse.
        margin: ``[B]`` by how much the better should win, or one number.

    Returns:
        ``[B]``.
    """
    return -F.logsigmoid(chosen - rejected - margin)


def implicit_reward(log_probs: Tensor, reference: Tensor, beta: float) -> Tensor:
    """The reward a policy behaves as if it had learned: ``beta (log pi - log pi_ref)``.

    Source: Rafailov et al. 2023 (DPO), eq. 5, without the term that depends on the prompt alone.

    Args:
        log_probs: ``[B]`` of whole answers under the policy.
        reference: ``[B]`` of the same under the frozen reference.
        beta: strength of the pull to the reference.

    Returns:
        ``[B]``.
    """
    return beta * (log_probs - reference)
