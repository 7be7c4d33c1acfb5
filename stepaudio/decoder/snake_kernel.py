"""The anti-aliased activation in one pass over memory, on a GPU.

Written out, it makes a signal at twice the rate, activates it and filters it down again, each a
pass over memory; here each block of samples is read once and written once, and what lies between
stays on the chip. Of the signal at twice the rate only the even and the odd samples are computed,
each with the half of the filter that meets no zero (polyphase form). Inference only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["activate"]

#: Places of a block. Six of them are computed for their neighbours only.
_BLOCK = 512
_REACH = 6


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    y_ptr,
    alpha_ptr,
    beta_ptr,
    taps_ptr,
    channels,
    length,
    floor,
    block: tl.constexpr,
    reach: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * (block - reach)
    alpha = tl.load(alpha_ptr + row % channels).to(tl.float32)
    beta = tl.load(beta_ptr + row % channels).to(tl.float32)

    # Places s at the low rate; the samples 2 s and 2 s + 1 at twice the rate belong to each.
    place = first - 3 + tl.arange(0, block)
    inside = tl.minimum(tl.maximum(place, 0), length - 1)
    even = tl.full([block], 0.0, tl.float32)
    odd = tl.full([block], 0.0, tl.float32)
    for r in tl.static_range(6):
        # Beyond its ends the signal goes on as it ends.
        for_even = tl.minimum(tl.maximum(inside + 2 - r, 0), length - 1)
        for_odd = tl.minimum(tl.maximum(inside + 3 - r, 0), length - 1)
        tap_even = tl.load(taps_ptr + 2 * r + 1)
        tap_odd = tl.load(taps_ptr + 2 * r)
        even += 2 * tap_even * tl.load(x_ptr + row * length + for_even).to(tl.float32)
        odd += 2 * tap_odd * tl.load(x_ptr + row * length + for_odd).to(tl.float32)
    wave = tl.sin(alpha * even)
    even += wave * wave / (beta + floor)
    wave = tl.sin(alpha * odd)
    odd += wave * wave / (beta + floor)
    # Likewise the activated one, whose first sample is an even and whose last an odd one.
    before, after = place < 0, place >= length
    odd, even = tl.where(before, even, odd), tl.where(after, odd, even)

    # Output t stands at place t + 3 of the block, and reads odd places t - 3 to t + 2 and even
    # ones t - 2 to t + 3.
    here = tl.arange(0, block)
    total = tl.full([block], 0.0, tl.float32)
    for r in tl.static_range(6):
        from_odd = tl.minimum(here + r, block - 1)
        from_even = tl.minimum(here + r + 1, block - 1)
        total += tl.load(taps_ptr + 2 * r) * tl.gather(odd, from_odd, 0)
        total += tl.load(taps_ptr + 2 * r + 1) * tl.gather(even, from_even, 0)
    output = first + here
    kept = (here < block - reach) & (output < length)
    tl.store(y_ptr + row * length + output, total.to(y_ptr.dtype.element_ty), mask=kept)


def activate(x: Tensor, alpha: Tensor, beta: Tensor, taps: Tensor, floor: float) -> Tensor:
    """Low-pass, ``x + sin(alpha x)^2 / (beta + floor)`` at twice the rate, low-pass.

    Args:
        x: ``[B, C, T]``, ``T`` at least 1.
        alpha: ``[C]``.
        beta: ``[C]``.
        taps: ``[12]`` float32, of both filters.
        floor: keeps the division defined.

    Returns:
        ``[B, C, T]`` of the type of ``x``; sums are made in float32.
    """
    batch, channels, length = x.shape
    x = x.contiguous()
    y = torch.empty_like(x)
    grid = (batch * channels, triton.cdiv(length, _BLOCK - _REACH))
    _kernel[grid](
        *(x, y, alpha.contiguous(), beta.contiguous(), taps.contiguous()),
        *(channels, length, floor),
        block=_BLOCK,
        reach=_REACH,
    )
    return y
