"""Group-relative policy optimisation: no critic, responses compete with others to the same prompt.

Source: Shao et al. 2024 (arXiv 2402.03300, section 4.1) with the outcome of a whole response. One
thing differs: equation 3 there averages the loss over each response and then over the responses, so
that a token of a long one counts less. Here every token of a step counts the same by default, as in
DAPO (arXiv 2503.14476, section 3.3); ``normalize="response"`` is the published mean.

The published training code of the system (January 2026) uses GRPO instead of the paper's PPO; from
its templates come the rate, the coefficient of the divergence, which is part of the loss here (k3),
the temperature and the documented group of 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from stepaudio.errors import ConfigError
from stepaudio.rl.actions import ActionBatch
from stepaudio.rl.advantages import group_advantages
from stepaudio.rl.divergence import kl_estimate
from stepaudio.rl.online import Experience, OnlineConfig, OnlineStage
from stepaudio.rl.ppo_losses import clipped_surrogate

__all__ = ["GRPOConfig", "GRPOStage"]


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(OnlineConfig):
    """Settings of GRPO.

    Attributes:
        normalize: what counts the same in the mean of a step: every ``"token"``, or every
            ``"response"`` whatever its length.

    Raises:
        ConfigError: a number outside its range, a group of one, which cannot be compared, or
            another ``normalize``.
    """

    final_learning_rate: float = 0.0
    prompts_per_round: int = 8
    group_size: int = 8
    kl_beta: float = 0.1
    normalize: Literal["token", "response"] = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size} but must be 2 or more: a response alone has "
                "nothing to be better than"
            )
        if self.normalize not in ("token", "response"):
            raise ConfigError(f"normalize is {self.normalize!r}, not 'token' or 'response'")


class GRPOStage(OnlineStage):
    """GRPO; arguments as for :class:`~stepaudio.rl.online.OnlineStage`."""

    config: GRPOConfig

    def learn(self, experience: Experience) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Each response's score relative to its group, the same for all its actions."""
        mask, size = experience.batch.mask, self.config.group_size
        relative = group_advantages(experience.scores, size)[:, None]
        groups = experience.scores.view(-1, size)
        tensors = {
            "old": experience.log_probs,
            "reference": experience.reference,
            "advantages": torch.where(mask, relative, 0),
        }
        # Groups whose responses all score the same teach nothing.
        alike = (groups.max(1).values == groups.min(1).values).float().mean()
        return tensors, {"groups_alike": float(alike)}

    def shares(self, mask: Tensor) -> tuple[Tensor, float]:
        """The same for every action, or for every response."""
        if self.config.normalize == "token":
            return super().shares(mask)
        return mask / mask.sum(1, keepdim=True), float(len(mask))

    def terms(
        self, model: nn.Module, actions: ActionBatch, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Clipped surrogate and divergence."""
        config = self.config
        out = model(actions, config.sampling, value=False)
        old = batch["old"]
        policy, clipped = clipped_surrogate(
            out.log_probs, old, batch["advantages"], clip=config.clip
        )
        divergence = kl_estimate(out.log_probs, batch["reference"], "k3")
        return {
            "loss": policy + config.kl_beta * divergence,
            "policy_loss": policy,
            "divergence": divergence,
            "entropy": out.entropy,
            "step_kl": kl_estimate(old, out.log_probs.detach(), "k3"),
            "clip_fraction": clipped.float(),
        }
