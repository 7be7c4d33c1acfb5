"""Linear layers of 8 and 4 bits: worked examples, kernels against plain products, their state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from stepaudio.lm import int4, int8
from stepaudio.lm.int4 import GROUP, Int4Linear, dequantize_int4, quantize_int4
from stepaudio.lm.int8 import INPUT_STEPS, Int8Linear, dequantize_int8, quantize_int8, two_digits

KINDS = (Int8Linear, Int4Linear)


def plain(layer: Int8Linear | Int4Linear) -> Tensor:
    """The weights that a layer stands for."""
    state = layer.state_dict()
    if isinstance(layer, Int8Linear):
        return dequantize_int8(state["weight"], state["scale"])
    return dequantize_int4(state["weight"], layer.out_features)


def filled(kind: type[Int8Linear | Int4Linear], inputs: int = 96, outputs: int = 200) -> Tensor:
    layer = kind(inputs, outputs)
    layer.fill(torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1)) / 50)
    return layer


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def bound(layer: Int8Linear | Int4Linear, x: Tensor) -> Tensor:
    """What an 8 bit product may be off by: half a step of every input, and float32 rounding."""
    weights = plain(layer).abs().sum(1)
    peak = x.abs().amax(-1, keepdim=True)
    return peak * weights * ((0.5 / INPUT_STEPS if isinstance(layer, Int8Linear) else 0) + 1e-5)


def test_eight_bits_worked_by_hand() -> None:
    codes, scale = quantize_int8(torch.tensor([[1.27, -0.634, 0.0], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[127, -63, 0], [0, 0, 0]]
    assert scale[0] == pytest.approx(0.01)
    assert dequantize_int8(codes, scale)[0].tolist() == pytest.approx([1.27, -0.63, 0.0])


def test_four_bits_worked_by_hand() -> None:
    weight = torch.zeros(2, 1)
    weight[0, 0], weight[1, 0] = 7.5, -7.5
    packed = quantize_int4(weight)  # one group: 64 outputs from -7.5 to 7.5, of which two are asked
    assert packed.shape == (1, 1, 36)
    assert packed[0, 0, 0] == 15 + 16 * 0  # 7.5 is step 15, -7.5 step 0, in the high half
    assert packed[0, 0, 32:].view(torch.float16).tolist() == [1.0, -7.5]
    assert dequantize_int4(packed, 2)[:, 0].tolist() == [7.5, -7.5]


def test_two_digits_worked_by_hand() -> None:
    digits, step = two_digits(torch.tensor([[float(INPUT_STEPS), -64.0, 200.0, -INPUT_STEPS]]))
    assert step.tolist() == [[1.0]]
    assert digits[0].tolist() == [[63.0, 0.0, 2.0, -63.0]]
    assert digits[1].tolist() == [[63.0, -64.0, -56.0, -63.0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "plain"])
def test_products_are_those_of_the_expanded_weights(
    kind: type, rows: int, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel:
        monkeypatch.setattr(int8, "_fbgemm_works", lambda: False)
        monkeypatch.setattr(int4, "_table_sum_works", lambda: False)
    layer, x = filled(kind), inputs(2, rows, 96)
    found = layer(x)
    assert found.shape == (2, rows, 200)
    wanted = x @ plain(layer).T
    assert ((found - wanted).abs() <= bound(layer, x)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_goes_in_and_out(kind: type) -> None:
    layer, x = filled(kind), inputs(3, 96).bfloat16()
    found = layer(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, layer(x.float()).bfloat16())


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_singles_bit_for_bit(kind: type) -> None:
    layer, x = filled(kind), inputs(5, 96) * torch.tensor([1.0, 100.0, 1e-6, 0.0, 3.0])[:, None]
    assert torch.equal(layer(x), torch.cat([layer(row[None]) for row in x]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_survives_use(kind: type) -> None:
    layer, x = filled(kind), inputs(2, 96)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.inference_mode():
        wanted = layer(x)
    after = layer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    other = kind(96, 200)
    other.load_state_dict(after)
    twin = copy.deepcopy(layer)
    layer.to(torch.bfloat16)
    for same in (layer, other, twin):
        assert torch.equal(same(x), wanted)


def test_weights_are_held_once_after_use() -> None:
    layer = filled(Int8Linear)
    if not int8._fbgemm_works():
        pytest.skip("no FBGEMM here: the plain weights are what is used")
    layer(inputs(1, 96))
    assert layer.weight.numel() == 0
    assert layer.state_dict()["weight"].shape == (200, 96)


def test_four_bits_by_two_threads_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    if not int4._table_sum_works():
        pytest.skip("this PyTorch has no kernel for tables of 4 bits")
    layer, x = Int4Linear(24, 5 * GROUP), torch.randn(3, 24)
    layer.fill(torch.randn(5 * GROUP, 24))
    alone = layer(x)
    summed: list[int] = []
    real = int4._table_sum

    def watched(row: Tensor, part: Tensor) -> Tensor:
        summed.append(len(part))
        return real(row, part)

    monkeypatch.setattr(int4, "_table_sum", watched)
    monkeypatch.setattr(int4, "_ALONE", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with torch.inference_mode():
        assert torch.equal(layer(x), alone)
    assert sorted(summed) == [2, 2, 2, 3, 3, 3]


def test_outputs_need_not_fill_a_group() -> None:
    assert Int4Linear(8, GROUP + 1).weight.shape[0] == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(kind: type, value: float) -> None:
    weight = torch.ones(4, 3)
    weight[2, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        kind(3, 4).fill(weight)
