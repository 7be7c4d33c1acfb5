"""Linear layers of 8 and 4 bits: worked examples, kernels against plain products, their state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from stepaudio.lm import int4, int8
from stepaudio.lm.int4 import Int4Linear, dequantize_int4, quantize_int4
from stepaudio.lm.int8 import INPUT_STEPS, Int8Linear, dequantize_int8, quantize_int8, two_digits

KINDS = (Int8Linear, Int4Linear)


def plain(layer: Int8Linear | Int4Linear) -> Tensor:
    """The weights that a layer stands for."""
    state = layer.state_dict()
    if isinstance(layer, Int8Linear):
        return dequantize_int8(state["weight"], state["scale"])
    return dequantize_int4(state["weight"], state["ends"], layer.out_features, layer.in_features)


def filled(kind: type[Int8Linear | Int4Linear], inputs: int = 96, outputs: int = 200) -> Tensor:
    layer = kind(inputs, outputs)
    layer.fill(torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1)) / 50)
    return layer


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def bound(layer: Int8Linear | Int4Linear, x: Tensor) -> Tensor:
    """What a product may be off by.

    With 8 bits half a step of every input, with 4 bits what rounding inputs and the result to
    bfloat16 can do; and float32 rounding.
    """
    weights = plain(layer).abs()
    if isinstance(layer, Int8Linear):
        peak = x.abs().amax(-1, keepdim=True)
        return peak * weights.sum(1) * (0.5 / INPUT_STEPS + 1e-5)
    return 2**-8 * (x.abs() @ weights.T) + 1e-5


def without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU that does not add up bytes."""
    monkeypatch.setattr(int8, "_adds_up_bytes", lambda: False)
    monkeypatch.setattr(int8, "_kernel", int8._kernel.__wrapped__)


def test_eight_bits_worked_by_hand() -> None:
    codes, scale = quantize_int8(torch.tensor([[1.27, -0.634, 0.0], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[127, -63, 0], [0, 0, 0]]
    assert scale[0] == pytest.approx(0.01)
    assert dequantize_int8(codes, scale)[0].tolist() == pytest.approx([1.27, -0.63, 0.0])


def test_four_bits_worked_by_hand() -> None:
    weight = torch.zeros(33, 2)
    weight[0, 0], weight[0, 1], weight[32, 1] = 7.0, -8.0, 15.0
    codes, ends = quantize_int4(weight)  # filled up to 64 outputs of 64 inputs
    assert codes.shape == (1, 64, 32)
    assert ends.shape == (1, 64, 4)
    # Output 0, from -8 to 7 in steps of 1, is the low half of the first byte; output 32, from 0 to
    # 15, the high one.
    assert codes[0, :3, 0].tolist() == [15 + 16 * 0, 0 + 16 * 15, 8 + 16 * 0]
    assert ends[0, 0].view(torch.bfloat16).tolist() == [1.0, 0.0]
    assert ends[0, 32].view(torch.bfloat16).tolist() == [1.0, 8.0]
    assert torch.equal(dequantize_int4(codes, ends, 33, 2), weight)


def test_two_digits_worked_by_hand() -> None:
    digits, step = two_digits(torch.tensor([[float(INPUT_STEPS), -64.0, 200.0, -INPUT_STEPS]]))
    assert step.tolist() == [[1.0]]
    assert digits[0].tolist() == [[63.0, 0.0, 2.0, -63.0]]
    assert digits[1].tolist() == [[63.0, -64.0, -56.0, -63.0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize("kernel", ["usual", "fbgemm", "none"])
def test_products_are_those_of_the_expanded_weights(
    kind: type, rows: int, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "fbgemm":
        without_onednn(monkeypatch)
    if kernel == "none":
        monkeypatch.setattr(int8, "_kernel", lambda: None)
        monkeypatch.setattr(int4, "_kernel_block", lambda: None)
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
    if int8._kernel() is None:
        pytest.skip("no kernel for 8 bits here: the plain weights are what is used")
    layer(inputs(1, 96))
    assert layer.weight.numel() == 0
    assert copy.deepcopy(layer).state_dict()["weight"].shape == (200, 96)


def test_eight_bits_go_to_the_kernel_that_the_cpu_is_made_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kernel in (int8._OneDNN, int8._FBGEMM):
        if not int8._is_exact(kernel):
            pytest.skip("this PyTorch lacks one of the kernels")
    monkeypatch.setattr(int8, "_kernel", int8._kernel.__wrapped__)
    chosen = []
    for able in (True, False):
        monkeypatch.setattr(int8, "_adds_up_bytes", lambda able=able: able)
        chosen.append(int8._kernel())
    assert chosen == [int8._OneDNN, int8._FBGEMM]
    # One that is not exact is passed over.
    monkeypatch.setattr(int8._OneDNN, "multiply", lambda rows, packed, scale: rows[:, :3])
    monkeypatch.setattr(int8, "_adds_up_bytes", lambda: True)
    assert int8._kernel() is int8._FBGEMM


def test_both_kernels_of_eight_bits_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = filled(Int8Linear), inputs(3, 96)
    found = layer(x)
    layer.to("cpu")
    without_onednn(monkeypatch)
    assert torch.allclose(layer(x), found, rtol=1e-5, atol=1e-6)


def test_codes_are_laid_out_for_the_kernel_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = filled(Int4Linear)
    wanted, stored = plain(layer), layer.weight.clone()
    monkeypatch.setattr(int4, "_kernel_block", lambda: 32)
    monkeypatch.setattr(int4, "_multiply", lambda rows, *_: rows @ wanted.new_zeros(128, 256))
    layer(inputs(1, 96))
    assert not torch.equal(layer.weight, stored)
    # The first 32 outputs: the first and the 17th are side by side.
    first = (stored[0, :, 0] & 15) | ((stored[0, :, 16] & 15) << 4)
    assert torch.equal(layer.weight.view(-1, 128, 16)[0, :, 0], first)
    monkeypatch.setattr(int4, "_kernel_block", lambda: None)
    x = inputs(2, 96)
    assert torch.allclose(layer(x), x @ wanted.T, atol=1e-5)
    assert torch.equal(copy.deepcopy(layer).state_dict()["weight"], stored)
    layer._lay_out(32)
    layer.load_state_dict({"weight": stored, "ends": layer.ends})
    assert torch.equal(layer.state_dict()["weight"], stored)


def test_a_kernel_of_four_bits_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int4, "_kernel_block", int4._kernel_block.__wrapped__)
    real = int4._multiply
    monkeypatch.setattr(int4, "_multiply", lambda *args: 1.1 * real(*args))
    assert int4._kernel_block() is None

    def missing(*args: Tensor) -> Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(int4, "_multiply", missing)
    assert int4._kernel_block() is None


def test_neither_inputs_nor_outputs_need_fill_a_group() -> None:
    layer = Int4Linear(65, 65)
    assert layer.weight.shape == (2, 128, 32)
    assert layer.ends.shape == (2, 128, 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(kind: type, value: float) -> None:
    weight = torch.ones(4, 3)
    weight[2, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        kind(3, 4).fill(weight)
