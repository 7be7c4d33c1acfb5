from __future__ import annotations

import math

import pytest
import torch
from conftest import assert_close
from torch import Tensor

from stepaudio.decoder.flow_matching import (
    Solver,
    cosine_schedule,
    guide,
    masked_mean,
    solve,
    transport_pair,
    with_unconditional,
)


def test_published_schedule() -> None:
    expected = [0, 0.012312, 0.048943, 0.108993, 0.190983, 0.292893]
    expected += [0.412215, 0.546010, 0.690983, 0.843566, 1]
    assert_close(cosine_schedule(10), torch.tensor(expected), 1e-6)


def test_schedule_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cosine_schedule(0)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2)])
def test_solver_has_its_order(method: Solver, order: int) -> None:
    # dx/dt = x + t from x(0) = 1 has the solution 2 e^t - t - 1.
    exact = 2 * math.e - 2

    def error(steps: int) -> float:
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        x = solve(lambda x, t: x + t, torch.ones(1, dtype=torch.float64), times, method)
        return abs(x.item() - exact)

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.1)


def test_solver_name_is_checked() -> None:
    with pytest.raises(ValueError, match="'rk4'"):
        solve(lambda x, t: x, torch.ones(1), [0.0, 1.0], "rk4")  # type: ignore[arg-type]


def test_transport_pair_by_hand() -> None:
    point, target = transport_pair(
        torch.tensor([[4.0]]), torch.tensor([[2.0]]), torch.tensor([0.25]), sigma_min=0.2
    )
    assert point.item() == pytest.approx((1 - 0.8 * 0.25) * 2 + 0.25 * 4)
    assert target.item() == pytest.approx(4 - 0.8 * 2)


def test_following_the_target_arrives_at_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(2, 5, 3, generator=generator) for _ in range(2))
    _, target = transport_pair(data, noise, torch.zeros(2))
    arrived = solve(lambda x, t: target, noise, cosine_schedule(7))
    assert_close(arrived, data, 1e-5)


def test_guidance_by_hand() -> None:
    both = torch.tensor([[3.0], [1.0]])
    assert guide(both, 0.7).item() == pytest.approx(1.7 * 3 - 0.7 * 1)
    assert guide(both, 0.0).item() == 3.0


def test_with_unconditional() -> None:
    condition = torch.ones(2, 3)
    assert torch.equal(
        with_unconditional(condition), torch.tensor([[1.0] * 3] * 2 + [[0.0] * 3] * 2)
    )


def test_masked_mean_counts_only_real_frames() -> None:
    values = torch.tensor([[[1.0, 3.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 7.0]]])
    mask = torch.tensor([[True, False], [True, True]])
    assert masked_mean(values, mask).item() == pytest.approx((1 + 3 + 5 + 5 + 7 + 7) / 6)
    assert masked_mean(values, torch.zeros_like(mask)).item() == 0.0


def test_gradient_flows_through_the_solver() -> None:
    rate: Tensor = torch.tensor(0.5, requires_grad=True)
    solve(lambda x, t: rate * x, torch.ones(1), cosine_schedule(3)).sum().backward()
    assert rate.grad is not None
    assert rate.grad > 0
