"""Laws of the mathematics of policy gradients."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.rl.advantages import generalized_advantages, masked_mean, whiten
from stepaudio.rl.divergence import kl_estimate
from stepaudio.rl.ppo_losses import clipped_surrogate, clipped_value_loss, entropy_of

NUMBERS = st.integers(0, 2**31)


def batch(seed: int, rows: int, width: int) -> tuple[torch.Generator, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (rows,), generator=generator)
    return generator, torch.arange(width) < lengths[:, None]


@given(NUMBERS, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_advantages_are_the_sum_of_the_definition(seed: int, gamma: float, lam: float) -> None:
    generator, mask = batch(seed, 2, 5)
    rewards = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    values = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    found = generalized_advantages(rewards, values, mask, gamma=gamma, lam=lam)
    for row in range(2):
        length = int(mask[row].sum())
        v = [*values[row, :length].tolist(), 0.0]
        r = rewards[row].tolist()
        for t in range(length):
            expected = sum(
                (gamma * lam) ** k * (r[t + k] + gamma * v[t + k + 1] - v[t + k])
                for k in range(length - t)
            )
            assert abs(found[row, t].item() - expected) < 1e-9
        assert not found[row, length:].any()


@given(NUMBERS, st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=40, deadline=None)
def test_whitened_has_mean_zero_and_deviation_one(seed: int, scale: float, shift: float) -> None:
    generator, mask = batch(seed, 4, 6)
    values = torch.randn(4, 6, generator=generator, dtype=torch.float64) * scale + shift
    white = whiten(values, mask)
    assert abs(masked_mean(white, mask).item()) < 1e-6
    assert abs(masked_mean(white.square(), mask).item() - 1) < 1e-6
    torch.testing.assert_close(white, whiten(values * 3 + 1, mask))


@given(NUMBERS)
@settings(max_examples=40, deadline=None)
def test_before_any_step_the_surrogate_is_minus_the_advantage(seed: int) -> None:
    generator, mask = batch(seed, 3, 4)
    log_probs = torch.randn(3, 4, generator=generator)
    advantages = torch.randn(3, 4, generator=generator)
    loss, clipped = clipped_surrogate(log_probs, log_probs, advantages)
    torch.testing.assert_close(masked_mean(loss, mask), -masked_mean(advantages, mask))
    assert not clipped.any()
    loss, _ = clipped_surrogate(log_probs, log_probs, whiten(advantages, mask))
    assert abs(masked_mean(loss, mask).item()) < 1e-6


@given(NUMBERS)
@settings(max_examples=40, deadline=None)
def test_clipping_never_makes_a_loss_smaller(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    new, old, target = torch.randn(3, 20, generator=generator)
    loss, _ = clipped_surrogate(new, old, target)
    assert bool((loss >= -(new - old).exp() * target).all())
    assert bool((clipped_value_loss(new, old, target) >= (new - target).square() / 2).all())


@given(NUMBERS)
@settings(max_examples=40, deadline=None)
def test_estimators_of_the_divergence(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, 8, generator=generator, dtype=torch.float64).log_softmax(-1)
    exact = (p.exp() * (p - q)).sum()
    for estimator in ("k1", "k3"):
        mean = (p.exp() * kl_estimate(p, q, estimator)).sum()
        torch.testing.assert_close(mean, exact)
    for estimator in ("k2", "k3"):
        assert bool((kl_estimate(p, q, estimator) >= 0).all())
    assert 0 <= entropy_of(p).item() <= torch.tensor(8.0).log().item() + 1e-9
