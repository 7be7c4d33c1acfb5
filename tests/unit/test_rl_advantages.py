from __future__ import annotations

import math

import pytest
import torch

from stepaudio.rl.advantages import (
    explained_variance,
    generalized_advantages,
    group_advantages,
    masked_mean,
    whiten,
)
from stepaudio.rl.divergence import kl_estimate, shaped_rewards
from stepaudio.rl.ppo_losses import clipped_surrogate, clipped_value_loss, entropy_of


def close(actual: torch.Tensor, expected: list) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected))


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 7.0]])
    values = torch.tensor([[0.5, 1.0, 9.0]])
    mask = torch.tensor([[True, True, False]])
    # Deltas: 1 + 0.5 * 1 - 0.5 = 1 and 2 - 1 = 1; the third is padding and must not leak.
    close(generalized_advantages(rewards, values, mask, gamma=0.5, lam=0.5), [[1.25, 1.0, 0.0]])
    close(generalized_advantages(rewards, values, mask, gamma=0.5, lam=0.0), [[1.0, 1.0, 0.0]])
    # At lam 1 the advantage is the return less the value.
    close(generalized_advantages(rewards, values, mask), [[2.5, 1.0, 0.0]])
    # Without values, and trusting rewards alone, an advantage is the discounted return.
    returns = generalized_advantages(rewards, torch.zeros_like(rewards), mask, gamma=0.5, lam=1.0)
    close(returns, [[2.0, 2.0, 0.0]])


def test_whitening_by_hand() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    root = math.sqrt(1.5)
    close(whiten(torch.tensor([[1.0, 2.0], [3.0, 99.0]]), mask), [[-root, 0.0], [root, 0.0]])
    close(whiten(torch.full((2, 2), 3.3), mask), [[0.0, 0.0], [0.0, 0.0]])
    close(masked_mean(torch.tensor([[1.0, 2.0], [6.0, float("nan")]]), mask), 3.0)


def test_group_advantages_by_hand() -> None:
    scores = torch.tensor([1.0, 3.0, 5.0, 5.0])
    share = 1 / (math.sqrt(2) + 1e-4)
    close(group_advantages(scores, 2), [-share, share, 0.0, 0.0])
    with pytest.raises(ValueError, match="2 or more"):
        group_advantages(scores, 1)
    with pytest.raises(ValueError, match="whole groups"):
        group_advantages(scores, 3)


def test_explained_variance_by_hand() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    returns = torch.tensor([[1.0, 2.0, 3.0]])
    assert explained_variance(returns + 7, returns, mask) == 1
    assert explained_variance(torch.zeros(1, 3), returns, mask) == 0
    assert explained_variance(-returns, returns, mask) == -3
    assert explained_variance(returns, torch.ones(1, 3), mask) == 0


def test_estimators_by_hand() -> None:
    policy, reference = torch.tensor([0.0, -1.0]), torch.tensor([-1.0, 0.0])
    close(kl_estimate(policy, reference), [1.0, -1.0])
    close(kl_estimate(policy, reference, "k2"), [0.5, 0.5])
    close(kl_estimate(policy, reference, "k3"), [1 / math.e, math.e - 2])
    with pytest.raises(ValueError, match="k4"):
        kl_estimate(policy, reference, "k4")  # type: ignore[arg-type]


def test_the_score_comes_with_the_last_action() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    kl = torch.tensor([[1.0, 2.0, -4.0], [10.0, 9.0, 9.0]])
    rewards = shaped_rewards(torch.tensor([5.0, 7.0]), kl, mask, beta=0.05)
    close(rewards, [[-0.05, -0.1, 5.2], [6.5, 0.0, 0.0]])
    with pytest.raises(ValueError, match="without any action"):
        shaped_rewards(
            torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), beta=1
        )


def test_surrogate_by_hand() -> None:
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    log_probs = ratios.log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    loss, clipped = clipped_surrogate(log_probs, torch.zeros(5), advantages, clip=0.2)
    close(loss.detach(), [-1.2, 1.5, -0.5, 0.8, -2.2])
    assert clipped.tolist() == [True, False, False, True, False]
    loss.sum().backward()
    # No gradient where the policy has gone far enough; elsewhere that of the ratio, rho itself.
    close(log_probs.grad, [0.0, 1.5, -0.5, 0.0, -2.2])


def test_value_loss_by_hand() -> None:
    values = torch.tensor([1.0, 0.1, 3.0], requires_grad=True)
    loss = clipped_value_loss(values, torch.zeros(3), torch.tensor([1.0, 1.0, 1.0]), clip=0.2)
    # The first is right but went too far at once: (0.2 - 1)^2 / 2, without a gradient.
    close(loss.detach(), [0.32, 0.405, 2.0])
    loss.sum().backward()
    close(values.grad, [0.0, -0.9, 2.0])


def test_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, -torch.inf, -torch.inf]])
    logits.requires_grad_()
    entropy = entropy_of(logits)
    close(entropy.detach(), [math.log(2), 0.0])
    entropy.sum().backward()
    assert bool(logits.grad.isfinite().all())
