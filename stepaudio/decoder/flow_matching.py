"""Conditional flow matching as pure functions: training pairs, schedule, solvers, guidance.

A flow carries Gaussian noise at time 0 to data at time 1. Training regresses the velocity of the
straight (optimal-transport) paths of Lipman et al. 2023, "Flow Matching for Generative Modeling",
section 4.1, example II; sampling integrates the learned velocity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "Solver",
    "Velocity",
    "cosine_schedule",
    "guide",
    "masked_mean",
    "solve",
    "transport_pair",
    "warp_time",
    "with_unconditional",
]

#: ``(x, t) -> dx/dt`` with ``x`` of any shape and ``t`` a scalar tensor.
Velocity = Callable[[Tensor, Tensor], Tensor]

#: How the flow is integrated: one or two velocity evaluations per step.
Solver = Literal["euler", "midpoint"]


def transport_pair(
    data: Tensor, noise: Tensor, t: Tensor, sigma_min: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """A point on the straight path from noise to data, and the velocity there.

    ``x_t = (1 - (1 - sigma_min) t) noise + t data`` and
    ``dx_t/dt = data - (1 - sigma_min) noise`` (Lipman et al. 2023, equations 22 and 23).

    Args:
        data: ``[B, ...]``.
        noise: ``[B, ...]`` standard normal.
        t: ``[B]`` in [0, 1].
        sigma_min: standard deviation left at time 1.

    Returns:
        The point and the target velocity, both like ``data``.
    """
    t = t.reshape(-1, *[1] * (data.dim() - 1))
    point = (1.0 - (1.0 - sigma_min) * t) * noise + t * data
    return point, data - (1.0 - sigma_min) * noise


def warp_time(t: Tensor) -> Tensor:
    """``1 - cos(t pi / 2)``: spends more steps near the noise, where the path bends."""
    return 1.0 - torch.cos(t * (0.5 * math.pi))


def cosine_schedule(steps: int, *, device: torch.device | None = None) -> Tensor:
    """Times between the solver steps.

    Args:
        steps: number of steps, at least 1.
        device: where the result lives.

    Returns:
        ``[steps + 1]`` float32 from 0 to 1.

    Raises:
        ValueError: ``steps`` is below 1.
    """
    if steps < 1:
        raise ValueError(f"a flow needs at least 1 solver step, got {steps}")
    return warp_time(torch.linspace(0.0, 1.0, steps + 1, device=device))


def solve(
    velocity: Velocity, x: Tensor, times: Tensor | Sequence[float], method: Solver = "euler"
) -> Tensor:
    """Integrate ``dx/dt = velocity(x, t)`` over a schedule.

    Args:
        velocity: called once per step by ``"euler"``, twice by ``"midpoint"``.
        x: state at ``times[0]``.
        times: ``[steps + 1]`` increasing.
        method: ``"euler"`` (first order, the published choice) or ``"midpoint"`` (second order).

    Returns:
        State at ``times[-1]``.

    Raises:
        ValueError: unknown method.
    """
    if method not in ("euler", "midpoint"):
        raise ValueError(f"solver {method!r} is not one of 'euler', 'midpoint'")
    times = torch.as_tensor(times, device=x.device)
    for t, following in pairwise(times):
        step = following - t
        slope = velocity(x, t)
        if method == "midpoint":
            slope = velocity(x + 0.5 * step * slope, t + 0.5 * step)
        x = x + step * slope
    return x


def with_unconditional(condition: Tensor) -> Tensor:
    """The conditions of a guided batch.

    Args:
        condition: ``[B, ...]``.

    Returns:
        ``[2 B, ...]``: the conditions, then as many that say nothing (zeros).
    """
    return torch.cat([condition, torch.zeros_like(condition)])


def guide(both: Tensor, rate: float) -> Tensor:
    """Classifier-free guidance: push away from the unconditional velocity.

    ``(1 + rate) conditional - rate unconditional`` (Ho & Salimans 2022, equation 6).

    Args:
        both: ``[2 B, ...]`` conditional velocities, then unconditional ones.
        rate: 0 returns the conditional velocity.

    Returns:
        ``[B, ...]``.
    """
    conditional, unconditional = both.chunk(2)
    return (1.0 + rate) * conditional - rate * unconditional


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the channels of the frames where ``mask`` is True; 0 if there are none.

    Args:
        values: ``[B, T, C]``.
        mask: ``[B, T]`` bool.

    Returns:
        Scalar.
    """
    total = (values * mask[..., None]).sum()
    return total / (mask.sum() * values.shape[-1]).clamp(min=1)
