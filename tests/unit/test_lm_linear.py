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
@pytest.mark.parametrize("rows", [1, 8, 9])
def test_few_rows_of_many_weights_go_to_all_threads(
    two_threads: None, calls: list[int], rows: int, bias: bool
) -> None:
    if not linear._onednn_works():
        pytest.skip("this PyTorch has no oneDNN; the layer is the usual one")
    torch.manual_seed(0)
    layer, x = Linear(1024, 1024, bias=bias), torch.randn(rows, 1, 1024)
    with torch.inference_mode():
        found = layer(x)
    assert calls == ([rows] if rows <= 8 else [])
    assert_close(found, functional.linear(x, layer.weight, layer.bias), 1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1), (2, 4), (3, 3), (0, 1)])
def test_few_weights_are_multiplied_the_same(
    calls: list[int], shape: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    layer, x = Linear(12, 20, bias=bias), torch.randn(*shape, 12)
    with torch.inference_mode():
        found = layer(x)
    assert found.shape == (*shape, 20)
    assert_close(found, functional.linear(x, layer.weight, layer.bias), 1e-6)
    assert calls == []


def test_one_row_goes_to_all_threads_earlier(two_threads: None, calls: list[int]) -> None:
    if not linear._onednn_works():
        pytest.skip("this PyTorch has no oneDNN; the layer is the usual one")
    layer = Linear(512, 1024)
    with torch.inference_mode():
        for rows in (1, 2):
            layer(torch.randn(rows, 512))
    assert calls == [1]


@pytest.mark.parametrize("shape", [(1, 1), (1,), (1, 2), (0, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_one_row_of_half_precision_is_a_vector(
    shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors: list[tuple[int, ...]] = []
    real = torch.mv

    def watched(weight: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        vectors.append(tuple(row.shape))
        return real(weight, row)

    monkeypatch.setattr(torch, "mv", watched)
    torch.manual_seed(0)
    layer, x = Linear(96, 40, bias=bias).bfloat16(), torch.randn(*shape, 96).bfloat16()
    with torch.inference_mode():
        found = layer(x)
    assert found.shape == (*shape, 40)
    assert found.dtype == torch.bfloat16
    wanted = functional.linear(
        x.float(), layer.weight.float(), None if layer.bias is None else layer.bias.float()
    )
    assert torch.allclose(found.float(), wanted, rtol=2**-7, atol=2**-9)
    assert vectors == ([(96,)] if x.numel() == 96 and not bias else [])
    layer(x).sum().backward()
    assert layer.weight.grad is not None


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
