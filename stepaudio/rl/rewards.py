"""Rewards: anything that takes prompts and responses and gives one number each.

A reward is any callable ``(prompts, responses) -> [B]``. Here are those that never make sound: the
reward model, the length, and weighted sums; :mod:`stepaudio.rl.local_edits` has those for local
edits and :mod:`stepaudio.rl.audio_rewards` those that listen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from stepaudio.interfaces import RewardModel
from stepaudio.rl.guards import length_ratios
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.types import LMSpec

__all__ = ["DurationReward", "ModelReward", "Reward", "WeightedRewards"]


class Reward(Protocol):
    """Says how good responses are."""

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """``[B]`` finite numbers, higher is better, for ``[R_i]`` int64 ids each, perhaps none."""
        ...


class ModelReward:
    """A reward model on tokens (paper section 3.2.2).

    Args:
        model: scores pairs; an empty response is scored like any other.
        micro_batch: pairs scored at once.
    """

    def __init__(self, model: RewardModel, *, micro_batch: int = 8) -> None:
        self.model = model
        self.micro_batch = micro_batch

    def to(self, device: torch.device) -> None:
        """Move the model, if it is one of PyTorch's."""
        if isinstance(self.model, nn.Module):
            self.model.to(device)

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """Scores of the model."""
        scores = []
        with torch.no_grad():
            for start in range(0, len(prompts), self.micro_batch):
                part = slice(start, start + self.micro_batch)
                pairs = [row.ids for row in prompts[part]], responses[part]
                scores.append(self.model.score(*pairs).float().cpu())
        return torch.cat(scores)


class DurationReward:
    """How near the length comes to the one wanted, 1 for exactly that.

    ``exp(-|ln(ratio / wanted)| / tolerance)``, with the ratio to the recording in the prompt and
    the wanted ratio of the row. Rows without a recording get 0.

    Args:
        spec: of the policy.
        tolerance: at a ratio off by this share the reward has fallen to about a third.

    Raises:
        ValueError: a tolerance of 0 or less.
    """

    def __init__(self, spec: LMSpec, *, tolerance: float = 0.1) -> None:
        if tolerance <= 0:
            raise ValueError(f"tolerance is {tolerance} but must be above 0")
        self.spec = spec
        self.tolerance = tolerance

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """Nearness of every response."""
        ratios = length_ratios([row.ids for row in prompts], responses, self.spec)
        wanted = torch.tensor([row.length for row in prompts])
        distance = (ratios.clamp(min=1e-3) / wanted).log().abs()
        return (-distance / self.tolerance).exp().nan_to_num(0.0)


class WeightedRewards:
    """A weighted sum that remembers its parts.

    Args:
        rewards: by name.
        weights: by the same names; None weighs each with 1.

    Raises:
        ValueError: no rewards, other names, or weights that are not finite.
    """

    def __init__(
        self, rewards: Mapping[str, Reward], weights: Mapping[str, float] | None = None
    ) -> None:
        self.rewards = dict(rewards)
        self.weights = dict.fromkeys(self.rewards, 1.0) if weights is None else dict(weights)
        if not self.rewards or set(self.rewards) != set(self.weights):
            raise ValueError(
                f"rewards {sorted(self.rewards)} and weights {sorted(self.weights)} must have the "
                "same names, at least one"
            )
        if not all(math.isfinite(weight) for weight in self.weights.values()):
            raise ValueError(f"weights must be finite, got {self.weights}")
        #: ``[B]`` each, of the last call, before weighing.
        self.parts: dict[str, Tensor] = {}

    def to(self, device: torch.device) -> None:
        """Move the reward models among the parts."""
        for reward in self.rewards.values():
            if isinstance(reward, ModelReward):
                reward.to(device)

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """The sum."""
        self.parts = {name: reward(prompts, responses) for name, reward in self.rewards.items()}
        return torch.stack([self.weights[n] * part for n, part in self.parts.items()]).sum(0)
