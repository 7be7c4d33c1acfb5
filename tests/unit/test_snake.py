from __future__ import annotations

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.snake import AntiAliased, Snake, SnakeBeta, kaiser_lowpass


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_lowpass_is_the_published_one():
    half = [0.002028965, 0.009389466, -0.025543459, -0.057657383, 0.128572583, 0.443209797]
    assert_close(kaiser_lowpass()[0, 0], torch.tensor(half + half[::-1]), 1e-7)


@pytest.mark.parametrize("kind", [Snake, SnakeBeta])
def test_log_scale_is_the_same_function(kind):
    plain, logged = kind(3), kind(3, log_scale=True)
    with torch.no_grad():
        for a, b in zip(plain.parameters(), logged.parameters(), strict=True):
            a.copy_(torch.tensor([0.5, 1.0, 2.0]))
            b.copy_(a.log())
    x = noise(2, 3, 5)
    assert_close(logged(x), plain(x), 1e-6)


def test_anti_aliased_identity_keeps_slow_signals():
    act = AntiAliased(torch.nn.Identity())
    t = torch.arange(400) / 400
    x = torch.sin(2 * torch.pi * 5 * t)[None, None]
    y = act(x)
    assert y.shape == x.shape
    assert_close(y[..., 20:-20], x[..., 20:-20], 5e-3)


def test_reach():
    act = AntiAliased(Snake(1))
    x = noise(1, 1, 60)
    moved = x.clone()
    moved[..., 30] += 1
    with torch.no_grad():
        changed = (act(x) != act(moved))[0, 0].nonzero().flatten()
    assert changed.min() >= 30 - act.reach
    assert changed.max() <= 30 + act.reach
