"""Laws of rounding weights and inputs that hold for any numbers."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stepaudio.lm.int4 import GROUP, dequantize_int4, quantize_int4
from stepaudio.lm.int8 import INPUT_STEPS, dequantize_int8, quantize_int8, two_digits


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """Rows of very different sizes, zeros and single large values among them."""
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 2 * GROUP + 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    values = torch.randn(rows, columns, generator=generator)
    values *= 10.0 ** draw(st.integers(-3, 3))
    values[draw(st.integers(0, rows - 1))] *= draw(st.sampled_from([0.0, 1e-3, 10.0]))
    return values


@settings(max_examples=40, deadline=None)
@given(matrices())
def test_eight_bits_are_off_by_half_a_step(weight: Tensor) -> None:
    codes, scale = quantize_int8(weight)
    error = (dequantize_int8(codes, scale) - weight).abs()
    assert (error <= 0.5 * scale[:, None] * (1 + 1e-4)).all()
    assert (error <= weight.abs().amax(1, keepdim=True) / 254 * (1 + 1e-4)).all()
    assert codes.abs().max() <= 127


@settings(max_examples=40, deadline=None)
@given(matrices())
def test_four_bits_are_off_by_half_a_step_and_bfloat16(weight: Tensor) -> None:
    found = dequantize_int4(*quantize_int4(weight), *weight.shape)
    assert found.shape == weight.shape
    # The last group is filled up with zeros.
    filled = torch.nn.functional.pad(weight, (0, -weight.shape[1] % GROUP))
    groups = filled.view(len(weight), -1, GROUP)
    spread = groups.amax(-1) - groups.amin(-1)
    allowed = spread / 30 + 3 * 2**-8 * groups.abs().amax(-1)
    error = (found - weight).abs()
    assert (error <= allowed.repeat_interleave(GROUP, 1)[:, : weight.shape[1]]).all()


@settings(max_examples=40, deadline=None)
@given(matrices())
def test_rounding_again_changes_nothing(weight: Tensor) -> None:
    codes, scale = quantize_int8(weight)
    again, scale_again = quantize_int8(dequantize_int8(codes, scale))
    assert torch.equal(codes, again)
    assert torch.allclose(scale, scale_again)


@settings(max_examples=40, deadline=None)
@given(matrices())
def test_two_digits_say_a_number_to_half_a_step(x: Tensor) -> None:
    (high, low), step = two_digits(x)
    assert torch.equal(high, high.round())
    for digit in (high, low):
        assert digit.min() >= -64
        assert digit.max() <= 63
    error = ((128 * high + low) * step - x).abs()
    assert (error <= x.abs().amax(1, keepdim=True) / INPUT_STEPS * 0.501).all()
