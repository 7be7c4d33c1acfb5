"""Rewards: anything that takes prompts and responses and gives one number each.

A reward is any callable ``(prompts, responses) -> [B]``. Here are those that never make sound: the
reward model, the length, and weighted sums; :mod:`stepaudio.rl.local_edits` has those for local
edits and :mod:`stepaudio.rl.audio_rewards` those that listen.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from stepaudio.errors import TrainingError
from stepaudio.interfaces import RewardModel
from stepaudio.rl.guards import length_ratios
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.types import LMSpec

__all__ = ["DurationReward", "ModelReward", "Movable", "Reward", "WeightedRewards", "ask"]


class Reward(Protocol):
    """Says how good responses are."""

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """``[B]`` finite numbers, higher is better, for ``[R_i]`` int64 ids each, perhaps none."""
        ...


class Movable(ABC):
    """A reward with weights, which a training moves to the device of its process."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Compute there from now on."""


class ModelReward(Movable):
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


class WeightedRewards(Movable):
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
        """Move the parts that have weights."""
        for reward in self.rewards.values():
            if isinstance(reward, Movable):
                reward.to(device)

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """The sum; a TrainingError for a part that is not one number per response."""
        self.parts = {name: reward(prompts, responses) for name, reward in self.rewards.items()}
        for name, part in self.parts.items():
            _require_one_each(part, _called(name), len(responses))
        return torch.stack([self.weights[n] * part for n, part in self.parts.items()]).sum(0)


def ask(
    reward: Reward,
    prompts: Sequence[PromptRow],
    responses: Sequence[Tensor],
    places: Sequence[str],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Ask a reward, and refuse what nothing can be learned from.

    Args:
        reward: of a sum, every part is checked.
        prompts: rows.
        responses: ``[R_i]`` int64 ids each.
        places: where each prompt stands, for errors.

    Returns:
        ``[B]`` finite scores, and those of the parts of a sum by name.

    Raises:
        TrainingError: not one finite number per response; names the reward and the prompt.
    """
    scores = reward(prompts, responses)
    _require_one_each(scores, "the reward", len(responses))
    parts = reward.parts if isinstance(reward, WeightedRewards) else {}
    # Parts come first: a sum that is not finite does not say which of them is to blame.
    for name, found in [*((_called(n), part) for n, part in parts.items()), ("the reward", scores)]:
        wrong = (~found.isfinite()).nonzero()[:, 0].tolist()
        if wrong:
            raise TrainingError(
                f"{name} is {float(found[wrong[0]])} for an answer to {places[wrong[0]]}, but must "
                "be a finite number for every answer, also for an empty one; mend the reward, or "
                "leave the prompt out"
            )
    return scores, parts


def _called(name: str) -> str:
    return f"the reward {name!r}"


def _require_one_each(scores: Tensor, name: str, count: int) -> None:
    if not isinstance(scores, Tensor) or scores.shape != (count,):
        shape = list(scores.shape) if isinstance(scores, Tensor) else "none"
        raise TrainingError(
            f"{name} returned a {type(scores).__name__} of shape {shape} for {count} answers, but "
            f"must return a tensor of shape [{count}], one number for each"
        )
