"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math

__all__ = ["cosine_rate"]


def cosine_rate(step: int, *, total: int, start: float, end: float, warmup: int = 0) -> float:
    """Linear warm-up to ``start``, then half a cosine that reaches ``end`` in the last step.

    Source: paper sections 3.2.1 to 3.2.3 name the two ends of each stage; for SFT it leaves the
    shape open, for the reward model and PPO it says cosine.

    Args:
        step: from 0 on.
        total: steps of the whole training.
        start: the highest rate.
        end: the rate of the last step.
        warmup: steps of the warm-up; the last of them has the rate ``start``.

    Returns:
        The rate; ``end`` for any step after the last.
    """
    if step < warmup:
        return start * (step + 1) / warmup
    last = max(total - 1 - warmup, 1)
    progress = min((step - warmup) / last, 1.0)
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
