"""Post-training: reward models, preferences, and reinforcement with PPO and GRPO.

What is preferred:

- :mod:`~stepaudio.rl.pairs`: preference pairs as packed rows
- :mod:`~stepaudio.rl.losses`: Bradley-Terry and DPO losses
- :mod:`~stepaudio.rl.reward`: the reward model, :class:`~stepaudio.rl.reward.TokenRewardModel`
- :mod:`~stepaudio.rl.train_reward`: its training
- :mod:`~stepaudio.rl.dpo`: direct preference optimisation

Reinforcement:

- :mod:`~stepaudio.rl.ppo`: proximal policy optimisation, as in the paper
- :mod:`~stepaudio.rl.grpo`: group-relative policy optimisation
- :mod:`~stepaudio.rl.online`: the rounds both share
- :mod:`~stepaudio.rl.from_settings`: both from a settings file
- :mod:`~stepaudio.rl.policy`: actor, critic and frozen reference,
  :class:`~stepaudio.rl.policy.LMPolicy`
- :mod:`~stepaudio.rl.actions`: responses as actions, and the distribution they are drawn from
- :mod:`~stepaudio.rl.rollout`: drawing and scoring responses
- :mod:`~stepaudio.rl.prompt_rows`: prompts, hardest first
- :mod:`~stepaudio.rl.advantages`: returns, generalised and group-relative advantages, whitening
- :mod:`~stepaudio.rl.divergence`: KL estimators and the penalty in the reward
- :mod:`~stepaudio.rl.ppo_losses`: clipped surrogate, clipped value loss, entropy
- :mod:`~stepaudio.rl.measures`: what to watch

Rewards:

- :mod:`~stepaudio.rl.rewards`: reward model, duration, weighted sums
- :mod:`~stepaudio.rl.content`: words kept, heard from linguistic codes
- :mod:`~stepaudio.rl.local_edits`: token-only rewards for edits of a part
- :mod:`~stepaudio.rl.audio_rewards`: words, voice and emotion of the sound
- :mod:`~stepaudio.rl.guards`: missing ends and absurd lengths
- :mod:`~stepaudio.rl.reward_choice`: rewards a settings file can name
- :mod:`~stepaudio.rl.row_needs`: what each of them needs to know of a prompt

The two contracts are defined with the others in :mod:`stepaudio.interfaces` and checked by
:func:`stepaudio.testing.check_reward_model` and :func:`stepaudio.testing.check_policy`.
"""

from __future__ import annotations

from stepaudio.interfaces import Policy, RewardModel

__all__ = ["Policy", "RewardModel"]
