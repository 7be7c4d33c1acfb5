from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from conftest import assert_close
from torch.nn import functional

from stepaudio.lm import linear
from stepaudio.lm.linear import Linear


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    real = linear.multiply_rows

    def watched(x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        counted.append(x.shape[0])
        return real(x, *others)

    linear._onednn_works()  # asked once, and not counted
    monkeypatch.setattr(linear, "multiply_rows", watched)
    return counted


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_few_rows_of_many_weights_go_to_all_threads(
    two_threads: None, calls: list[int], rows: int, bias: bool
) -> None:
    if not linear._onednn_works():
        pytest.skip("this PyTorch has no oneDNN; the layer is the usual one")
    torch.manual_seed(0)
    layer, x = Linear(1024, 1024, bias=bias), torch.randn(rows, 1, 1024)
    with torch.inference_mode():
        found = layer(x)
    assert calls == ([rows] if rows <= 4 else [])
    assert_close(found, functional.linear(x, layer.weight, layer.bias), 1e-5)


def test_everything_else_is_as_ever(two_threads: None, calls: list[int]) -> None:
    layer = Linear(1024, 1024)
    layer(torch.randn(1, 1024)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        Linear(8, 8)(torch.randn(1, 8))
        layer.bfloat16()(torch.randn(1, 1024).bfloat16())
        torch.set_num_threads(1)
        layer.float()(torch.randn(1, 1024))
    assert calls == []
