"""The kernel for GPUs, run by Triton's interpreter, which needs none."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from stepaudio.decoder import snake
from stepaudio.decoder.snake import AntiAliased, Snake, SnakeBeta

pytest.importorskip("triton", reason="needs Triton, which comes with PyTorch for GPUs")

NAME = "stepaudio.decoder.snake_kernel"


@pytest.fixture(scope="module")
def kernel() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        # Read when a kernel is made.
        patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, NAME, raising=False)
        yield importlib.import_module(NAME)
        sys.modules.pop(NAME, None)


def layer(kind: type[Snake | SnakeBeta], channels: int, log_scale: bool) -> AntiAliased:
    torch.manual_seed(0)
    act = kind(channels, log_scale=log_scale)
    with torch.no_grad():
        for scale in act.parameters():
            scale.uniform_(-1, 1) if log_scale else scale.uniform_(0.3, 3)
    return AntiAliased(act).eval()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (1, 2, 505), (1, 2, 507), (2, 3, 1300)])
@pytest.mark.parametrize("kind", [Snake, SnakeBeta])
@pytest.mark.parametrize("log_scale", [False, True])
def test_one_pass_is_what_three_are(
    kernel: ModuleType,
    shape: tuple[int, int, int],
    kind: type[Snake | SnakeBeta],
    log_scale: bool,
) -> None:
    act = layer(kind, shape[1], log_scale)
    x = 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    taps = act.upsample.filter[0, 0]
    with torch.no_grad():
        found = kernel.activate(x, *act.act.scales(), taps, 1e-9)
        assert torch.allclose(found, act(x), atol=2e-6)
        turned = x.transpose(1, 2).contiguous().transpose(1, 2)
        assert torch.equal(kernel.activate(turned, *act.act.scales(), taps, 1e-9), found)


def test_half_precision_is_summed_in_single(kernel: ModuleType) -> None:
    act = layer(SnakeBeta, 2, True)
    x = torch.randn(1, 2, 600, generator=torch.Generator().manual_seed(1)).half()
    with torch.no_grad():
        found = kernel.activate(x, *act.act.scales(), act.upsample.filter[0, 0], 1e-9)
        assert found.dtype == torch.float16
        assert torch.allclose(found.float(), act(x.float()), atol=2e-3)


def test_a_kernel_is_taken_only_if_it_is_right(
    kernel: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    snake._fused.cache_clear()
    assert snake._fused(cpu) is kernel.activate
    for wrong in (lambda x, *_: x, lambda *_: 1 / 0):
        snake._fused.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "activate", wrong)
            assert snake._fused(cpu) is None
    snake._fused.cache_clear()
