"""What a round refuses to learn from, and where its rewards are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from rl_debug import grpo

from stepaudio.errors import TrainingError
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.rewards import Movable, Reward, WeightedRewards

Given = Callable[[int], torch.Tensor]


def gives(of: Given) -> Reward:
    """A reward of the number of answers alone."""
    return lambda prompts, responses: of(len(responses))


def one_nan(count: int) -> torch.Tensor:
    scores = torch.ones(count)
    scores[3] = torch.nan
    return scores


@pytest.mark.parametrize(("reward", "said"), [
    (gives(one_nan), "^the reward is nan for an answer to row 11 of mine.jsonl"),
    (gives(lambda n: torch.full((n,), torch.inf)), "^the reward is inf .* row 12 of"),
    (gives(lambda n: torch.ones(n - 1)), r"^the reward returned a Tensor of shape \[7\] for 8"),
    (gives(lambda n: torch.ones(n + 1)), r"^the reward returned a Tensor of shape \[9\] for 8"),
    (gives(lambda n: torch.ones(n, 1)), r"of shape \[8, 1\] for 8"),
    (gives(lambda n: cast(Any, [1.0] * n)), "returned a list"),
    (
        WeightedRewards({"fine": gives(torch.ones), "broken": gives(one_nan)}),
        "^the reward 'broken' is nan for an answer to row 11 of mine.jsonl",
    ),
    (
        WeightedRewards({"fine": gives(torch.ones), "short": gives(lambda n: torch.ones(n - 1))}),
        r"^the reward 'short' returned a Tensor of shape \[7\] for 8",
    ),
])  # fmt: skip
def test_scores_must_be_one_finite_number_each(reward: Reward, said: str, tmp_path: Path) -> None:
    stage = grpo(tmp_path / "run", data="mine.jsonl", prompts_per_round=4, group_size=2)
    # Hardest first is from the last of twelve rows on: the fourth answer is to the eleventh.
    stage.reward = reward
    with pytest.raises(TrainingError, match=said):
        stage.batches(0)


class Model(Movable):
    """A reward that remembers where it was sent."""

    at = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        self.at = device

    def __call__(
        self, prompts: Sequence[PromptRow], responses: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        return torch.ones(len(responses))


@pytest.mark.parametrize("alone", [True, False])
def test_rewards_are_moved_to_the_device_of_their_process(alone: bool, tmp_path: Path) -> None:
    stage, model = grpo(tmp_path / "run"), Model()
    stage.reward = model if alone else WeightedRewards({"model": model, "ones": gives(torch.ones)})
    second = SimpleNamespace(
        process_index=1, num_processes=2, autocast=nullcontext, device=torch.device("meta", 1)
    )
    stage.start(cast(Accelerator, second), stage.model)
    assert model.at == torch.device("meta", 1)
