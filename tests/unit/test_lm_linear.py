from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from conftest import assert_close
from torch.nn import functional

from stepaudio.lm import linear
from stepaudio.lm.linear import Linear, way_to_multiply

MILLION = 2**20


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    monkeypatch.setattr(linear, "_of_intel", lambda: request.param == "intel")
    monkeypatch.setattr(linear, "_has_matrix_units", lambda: request.param == "intel")
    monkeypatch.setattr(linear, "_onednn_works", lambda: True)
    return str(request.param)


def ways(dtype: torch.dtype, weights: int) -> dict[int, str]:
    return {rows: way_to_multiply(rows, weights, dtype) for rows in (0, 1, 3, 4, 8, 9, 16, 17)}


@pytest.mark.parametrize("cpu", ["intel"], indirect=True)
def test_where_mkl_is_at_home_it_is_asked_for_small_products(cpu: str) -> None:
    small = ways(torch.float32, MILLION)
    assert set(small.values()) == {"plain"}
    large = ways(torch.float32, 2 * MILLION)
    assert [rows for rows, way in large.items() if way == "onednn"] == [4, 8, 9, 16]
    assert {way for way in large.values() if way != "onednn"} == {"plain"}


@pytest.mark.parametrize("cpu", ["other"], indirect=True)
def test_elsewhere_few_rows_go_to_onednn_or_are_turned(cpu: str) -> None:
    assert way_to_multiply(1, MILLION // 2, torch.float32) == "onednn"
    assert way_to_multiply(1, MILLION // 2 - 1, torch.float32) == "plain"
    small, large = ways(torch.float32, MILLION - 1), ways(torch.float32, MILLION)
    assert [rows for rows, way in small.items() if way == "transposed"] == [3, 4, 8]
    assert [rows for rows, way in large.items() if way == "onednn"] == [1, 3, 4, 8]
    torch.set_num_threads(1)
    assert way_to_multiply(1, MILLION, torch.float32) == "plain"
    assert way_to_multiply(2, MILLION, torch.float32) == "transposed"


@pytest.mark.parametrize("cpu", ["intel", "other"], indirect=True)
def test_half_precision_is_a_vector_or_turned_with_matrix_units(cpu: str) -> None:
    found = ways(torch.bfloat16, 1000)
    assert found[1] == "vector"
    assert {way for rows, way in found.items() if rows > 1} == {
        "transposed" if cpu == "intel" else "plain"
    }
    assert found[0] == "plain"
    assert ways(torch.float64, MILLION) == dict.fromkeys(found, "plain")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("way", "shape"),
    [
        *(("vector", shape) for shape in [(1,), (1, 1), ()]),
        *(
            (way, shape)
            for way in ("plain", "transposed", "onednn")
            for shape in [(1,), (1, 3), (4, 1), (2, 4), (128,), (129,)]
        ),
        ("plain", (0, 1)),
    ],
)
def test_every_way_gives_the_same(
    way: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    bias: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "onednn" and not (dtype == torch.float32 and linear._onednn_works()):
        way = "plain"
    monkeypatch.setattr(linear, "way_to_multiply", lambda *_: way)
    torch.manual_seed(0)
    layer, x = Linear(96, 40, bias=bias).to(dtype), torch.randn(*shape, 96).to(dtype)
    with torch.inference_mode():
        found = layer(x)
    assert found.shape == (*shape, 40)
    assert found.dtype == dtype
    wanted = functional.linear(
        x.float(), layer.weight.float(), None if layer.bias is None else layer.bias.float()
    )
    if dtype == torch.float32:
        assert_close(found, wanted, 1e-5)
    else:
        assert torch.allclose(found.float(), wanted, rtol=2**-6, atol=2**-8)


@pytest.mark.parametrize("rows", [1, 4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_this_cpu_chooses_is_right(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = Linear(1536, 1024, bias=False).to(dtype), torch.randn(rows, 1, 1536).to(dtype)
    with torch.inference_mode():
        found = layer(x)
    wanted = functional.linear(x.float(), layer.weight.float())
    assert torch.allclose(found.float(), wanted, atol=1e-5 if dtype == torch.float32 else 2e-2)


def test_training_is_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> str:
        raise AssertionError("asked while gradients are wanted")

    monkeypatch.setattr(linear, "way_to_multiply", never)
    layer = Linear(12, 20)
    layer(torch.randn(1, 12)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert layer(torch.randn(129, 12)).shape == (129, 20)
