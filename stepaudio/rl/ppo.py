"""Proximal policy optimisation with a critic, as in the paper (section 3.2.3).

Stated there: prompts that are hardest for the SFT model, 80 steps in which only the critic learns,
learning rate 1e-6 to 2e-7 by a cosine, clip 0.2, KL coefficient 0.05. Not stated and chosen here:
the divergence is priced at every token in the reward (k1) and the score comes with the last one;
``lam`` is 1, because over the hundreds of tokens of an utterance anything less forgets the score
before it reaches the first of them (VC-PPO, arXiv 2503.01491); the critic is a network of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from stepaudio.errors import ConfigError
from stepaudio.rl.actions import ActionBatch
from stepaudio.rl.advantages import explained_variance, generalized_advantages, whiten
from stepaudio.rl.divergence import Estimator, kl_estimate, shaped_rewards
from stepaudio.rl.online import Experience, OnlineConfig, OnlineStage
from stepaudio.rl.policy import LMPolicy
from stepaudio.rl.ppo_losses import clipped_surrogate, clipped_value_loss
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.rewards import Reward
from stepaudio.training.config import require_not_negative
from stepaudio.training.schedule import cosine_rate
from stepaudio.training.stage import Group

__all__ = ["PPOConfig", "PPOStage"]


@dataclass(frozen=True, kw_only=True)
class PPOConfig(OnlineConfig):
    """Settings of PPO.

    Attributes:
        critic: folder of the reward model whose decoder the critic begins as; none begins as the
            language model.
        critic_steps: steps at the beginning in which the actor stays as it is, bit for bit.
        critic_learning_rate: of the critic, throughout.
        kl_estimator: of the divergence in the reward.
        gamma: discount of one token.
        lam: of generalised advantage estimation.
        value_clip: how far a value may move within a round.
        value_weight: of the value loss; it matters only where gradients are clipped together.
        entropy_weight: reward of a varied choice.

    Raises:
        ConfigError: a number outside its range.
    """

    critic: str | None = None
    critic_steps: int = 80
    critic_learning_rate: float = 1e-5
    kl_estimator: Estimator = "k1"
    gamma: float = 1.0
    lam: float = 1.0
    value_clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("critic_learning_rate", "value_clip", "value_weight")
        require_not_negative(self, "critic_steps", "entropy_weight")
        if self.critic_steps >= self.rounds * self.passes * self.minibatches:
            raise ConfigError(
                f"critic_steps is {self.critic_steps}, but rounds, passes and minibatches make "
                f"only {self.rounds * self.passes * self.minibatches} steps: the policy would "
                "never move"
            )
        if not (0 <= self.gamma <= 1 and 0 <= self.lam <= 1):
            raise ConfigError("gamma and lam must lie between 0 and 1")


class PPOStage(OnlineStage):
    """PPO.

    Args:
        config: how to train.
        policy: with a critic.
        rows: prompts.
        reward: says how good responses are.

    Raises:
        ValueError: the policy has no critic.
        DataError: no prompts.
    """

    config: PPOConfig

    def __init__(
        self,
        config: PPOConfig,
        policy: LMPolicy,
        rows: Sequence[PromptRow],
        reward: Reward,
    ) -> None:
        if policy.critic is None:
            raise ValueError("PPO needs a policy with a critic; build it with a ValueModel")
        super().__init__(config, policy, rows, reward)

    def groups(self) -> list[Group]:
        """The actor, which rests at first, and the critic."""
        config, policy = self.config, self.model
        assert policy.critic is not None

        def critic_rate(step: int) -> float:
            return config.critic_learning_rate

        return [
            Group(list(policy.actor.parameters()), self.rate, config.weight_decay),
            Group(list(policy.critic.parameters()), critic_rate, config.weight_decay),
        ]

    def rate(self, step: int) -> float:
        """Learning rate of the actor: none at first, then a cosine over all other steps."""
        config = self.config
        if step < config.critic_steps:
            return 0.0
        return cosine_rate(
            step - config.critic_steps,
            total=self.steps - config.critic_steps,
            start=config.learning_rate,
            end=config.final_learning_rate,
            warmup=config.warmup_steps,
        )

    def learn(self, experience: Experience) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Rewards of every action, advantages and what the values should have been."""
        config, mask = self.config, experience.batch.mask
        values = experience.values
        kl = kl_estimate(experience.log_probs, experience.reference, config.kl_estimator)
        rewards = shaped_rewards(experience.scores, kl, mask, beta=config.kl_beta)
        advantages = generalized_advantages(
            rewards, values, mask, gamma=config.gamma, lam=config.lam
        )
        returns = advantages + values
        tensors = {
            "old": experience.log_probs,
            "advantages": whiten(advantages, mask),
            "values": values,
            "returns": returns,
        }
        measured = {
            "return": float(rewards.sum(1).mean()),
            "explained_variance": float(explained_variance(values, returns, mask)),
        }
        return tensors, measured

    def terms(
        self, model: nn.Module, actions: ActionBatch, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Clipped surrogate, clipped value loss and entropy."""
        config = self.config
        out = model(actions, config.sampling)
        old = batch["old"]
        policy, clipped = clipped_surrogate(
            out.log_probs, old, batch["advantages"], clip=config.clip
        )
        value = clipped_value_loss(
            out.values, batch["values"], batch["returns"], clip=config.value_clip
        )
        return {
            "loss": policy + config.value_weight * value - config.entropy_weight * out.entropy,
            "policy_loss": policy,
            "value_loss": value,
            "entropy": out.entropy,
            "step_kl": kl_estimate(old, out.log_probs.detach(), "k3"),
            "clip_fraction": clipped.float(),
        }
