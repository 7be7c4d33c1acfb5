"""How much a token of a short and of a long answer counts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from rl_debug import grpo
from torch import Tensor

from stepaudio.errors import ConfigError
from stepaudio.rl.actions import ActionBatch
from stepaudio.rl.grpo import GRPOStage
from stepaudio.rl.online import Experience
from stepaudio.rl.policy import action_scores

UNIT = [80, 81, 95, 96, 97]
#: With the ends, 6 and 41 actions.
RESPONSES = [torch.tensor(UNIT), torch.tensor(UNIT * 8)]
#: Scores (1, 0) within a group of two.
ADVANTAGE = 0.5 / (math.sqrt(0.5) + 1e-4)


def group(stage: GRPOStage, moved: float = 0.0) -> dict[str, Tensor]:
    """A round of two answers, the policy having moved since."""
    prompts = [torch.tensor([4, 5, 6])] * 2
    batch = ActionBatch.of(prompts, RESPONSES, [True, True], stage.model.spec)
    log_probs = action_scores(stage.model.lm, batch, stage.config.sampling)[0].detach()
    noise = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(0))
    old = torch.where(batch.mask, log_probs + moved * noise, 0)
    round_ = Experience(batch, torch.tensor([1.0, 0.0]), old, old, torch.zeros_like(old))
    parts = {name: getattr(batch, name) for name in ("ids", "starts", "actions", "mask")}
    return parts | stage.learn(round_)[0]


def step(stage: GRPOStage, batches: list[dict[str, Tensor]]) -> tuple[float, Tensor]:
    """Mean and gradient as the loop takes them: sums of all, divided by the sum of the weights."""
    stage.model.zero_grad()
    total, weight = 0.0, 0.0
    for batch in batches:
        mean = stage.losses(stage.model, batch)["loss"]
        mean.total.backward()
        total, weight = total + mean.total.item(), weight + float(mean.weight)
    gradient = stage.model.actor.lm_head.weight.grad
    assert gradient is not None
    return total / weight, gradient / weight


@pytest.mark.parametrize(("normalize", "expected"), [
    ("token", ADVANTAGE * (41 - 6) / (41 + 6)), ("response", 0.0),
])  # fmt: skip
def test_the_loss_on_policy_by_hand(normalize: str, expected: float, tmp_path: Path) -> None:
    stage = grpo(tmp_path / "run", group_size=2, normalize=normalize)
    assert step(stage, [group(stage)])[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("normalize", ["token", "response"])
def test_micro_batches_do_not_change_the_mean(normalize: str, tmp_path: Path) -> None:
    stage = grpo(tmp_path / "run", group_size=2, normalize=normalize)
    whole = group(stage, moved=0.3)
    single = [{name: value[i : i + 1] for name, value in whole.items()} for i in range(2)]
    single[0] = {n: v if n in ("ids", "starts") else v[:, :6] for n, v in single[0].items()}
    loss, gradient = step(stage, [whole])
    parts_loss, parts_gradient = step(stage, single)
    assert parts_loss == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(parts_gradient, gradient)
    # Equation 3 of Shao et al., or one mean over all 47.
    actions = ActionBatch(*(whole[name] for name in ("ids", "starts", "actions", "mask")))
    terms = actions.rows(stage.terms(stage.model, actions, whole)["loss"].detach())
    published = sum(float(row.mean()) for row in terms) / 2
    assert loss == pytest.approx(
        published if normalize == "response" else float(torch.cat(terms).mean()), abs=1e-6
    )


def test_another_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="normalize is 'tokens'"):
        grpo(tmp_path / "run", normalize="tokens")
