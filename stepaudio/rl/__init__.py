"""Post-training by reinforcement: the two contracts, without a trainer so far.

They are defined with the others in :mod:`stepaudio.interfaces` and checked by
:func:`stepaudio.testing.check_reward_model` and :func:`stepaudio.testing.check_policy`.
"""

from __future__ import annotations

from stepaudio.interfaces import Policy, RewardModel

__all__ = ["Policy", "RewardModel"]
