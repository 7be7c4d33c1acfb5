"""Linear layers with weights of 4 bits, in groups of 64 with a scale and an offset.

A group are the weights of 64 outputs for one input. Groups lie in memory as the rows of FBGEMM's 4
bit tables (32 bytes of codes, the first of a pair in the low half; scale and offset in float16), so
4.5 bits a weight. PyTorch sums rows of such tables with weights of their own, in float32, without
expanding them: with the inputs as those weights it is a product of a vector and a matrix, faster
than its kernel for 4 bits on a CPU without AVX512 (see ``docs/small-machines.md``). A call of it
runs in one thread, so a large table is summed in parts, one per thread.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GROUP", "Int4Linear", "dequantize_int4", "quantize_int4"]

#: Outputs that share a scale.
GROUP = 64
_BYTES = GROUP // 2 + 4
# Up to so many inputs are cheaper one by one than expanding the weights for all of them.
_FEW = 32
# Groups of outputs expanded at a time, which bounds what a large layer needs meanwhile.
_BLOCKS = 16
# Bytes of a table that one thread sums faster than another one is told to help.
_ALONE = 2**21


def quantize_int4(weight: Tensor) -> Tensor:
    """Round the weights of each group to one of 16 values from its smallest to its largest.

    Args:
        weight: ``[O, I]``.

    Returns:
        ``[ceil(O / 64), I, 36]`` uint8; off by at most half a scale, and what rounding a scale and
        an offset to float16 adds: a part of 2 ** -11 of the largest weight of the group each.

    Raises:
        ValueError: a weight is not finite, or beyond float16.
    """
    outputs, inputs = weight.shape
    blocks = -(-outputs // GROUP)
    packed = torch.empty(blocks, inputs, _BYTES, dtype=torch.uint8, device=weight.device)
    for first in range(0, blocks, _BLOCKS):
        part = weight[first * GROUP : (first + _BLOCKS) * GROUP].float()
        groups = F.pad(part, (0, 0, 0, -len(part) % GROUP)).view(-1, GROUP, inputs).transpose(1, 2)
        offset = groups.amin(-1, keepdim=True).half()
        scale = ((groups.amax(-1, keepdim=True) - offset.float()) / 15).half()
        if not (offset.isfinite().all() and scale.isfinite().all()):
            raise ValueError("a weight is not finite or above 65504; it does not go into 4 bits")
        steps = torch.where(scale > 0, scale, 1).float()
        codes = ((groups - offset.float()) / steps).round_().clamp_(0, 15).to(torch.uint8)
        pairs = codes[..., 0::2] | (codes[..., 1::2] << 4)
        ends = torch.cat([scale, offset], -1).view(torch.uint8)
        packed[first : first + _BLOCKS] = torch.cat([pairs, ends], -1)
    return packed


def dequantize_int4(packed: Tensor, outputs: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weights that 4 bits stand for.

    Args:
        packed: ``[B, I, 36]`` uint8.
        outputs: ``O``; groups may be filled up beyond.
        dtype: of the result.

    Returns:
        ``[O, I]``.
    """
    return _groups(packed, dtype).transpose(1, 2).flatten(0, 1)[:outputs]


class Int4Linear(nn.Module):
    """A linear layer without bias, whose weights have 4 bits. For inference only.

    Args:
        in_features: ``I``.
        out_features: ``O``.

    Attributes:
        weight: ``[ceil(O / 64), I, 36]`` uint8.
    """

    weight: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        shape = (-(-out_features // GROUP), in_features, _BYTES)
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.uint8))

    def fill(self, weight: Tensor) -> None:
        """Take over weights.

        Args:
            weight: ``[O, I]`` of a floating type, on any device.

        Raises:
            ValueError: a weight is not finite, or beyond float16.
        """
        self.weight = quantize_int4(weight.to(self.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[..., I]`` to ``[..., O]``."""
        rows = x.reshape(-1, self.in_features)
        on_cpu = x.device.type == "cpu"
        if on_cpu and len(rows) <= _FEW and _table_sum_works():
            output = torch.stack([_sum_together(row.float(), self.weight) for row in rows])
        else:
            # Half precision is slow on many CPUs.
            wide = rows.float() if on_cpu else rows
            output = torch.cat(
                [
                    (wide @ _groups(part, wide.dtype)).transpose(0, 1).flatten(1)
                    for part in torch.split(self.weight, _BLOCKS)
                ],
                -1,
            )
        return output[:, : self.out_features].reshape(*x.shape[:-1], -1).to(x.dtype)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def _groups(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """``[B, I, 64]`` weights."""
    pairs = packed[..., : GROUP // 2]
    codes = torch.stack([pairs & 15, pairs >> 4], -1).flatten(-2)
    scale, offset = packed[..., GROUP // 2 :].contiguous().view(torch.float16).unbind(-1)
    return torch.addcmul(offset[..., None].to(dtype), codes.to(dtype), scale[..., None].to(dtype))


def _sum_together(row: Tensor, packed: Tensor) -> Tensor:
    """:func:`_table_sum` by all threads; the kernel lets go of Python while it works."""
    threads = min(torch.get_num_threads(), len(packed))
    if threads == 1 or packed.numel() < _ALONE:
        return _table_sum(row, packed)
    own, *others = packed.tensor_split(threads)
    helpers = _helpers(threads - 1, os.getpid())
    sums = [helpers.submit(_table_sum, row, part) for part in others]
    return torch.cat([_table_sum(row, own), *(one.result() for one in sums)])


@functools.cache
def _helpers(count: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process; a fork has none of its parent's."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"stepaudio-int4-{process}")


def _table_sum(row: Tensor, packed: Tensor) -> Tensor:
    """``[I]`` float32 times the weights, ``[B * 64]``."""
    blocks, inputs, size = packed.shape
    rows, bags = _all_rows(blocks, inputs)
    sums: Tensor = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(
        packed.view(-1, size), rows, bags, False, 0, False, row.repeat(blocks), None, True
    )
    return sums.flatten()


@functools.lru_cache(maxsize=16)
def _all_rows(blocks: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Every row of a table in order, and where each sum begins and ends."""
    with torch.inference_mode(False):
        return (
            torch.arange(blocks * inputs, dtype=torch.int32),
            torch.arange(0, blocks * inputs + 1, inputs, dtype=torch.int32),
        )


@functools.cache
def _table_sum_works() -> bool:
    """Whether PyTorch here sums rows of 4 bits, and as they are laid out by this file."""
    with torch.inference_mode(False), torch.no_grad():
        weight = torch.linspace(-1, 1, 2 * GROUP * 8).view(2 * GROUP, 8).sin()
        row = torch.linspace(-2, 3, 8)
        packed = quantize_int4(weight)
        try:
            found = _table_sum(row, packed)
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        return torch.allclose(found, dequantize_int4(packed, 2 * GROUP) @ row, atol=1e-5)
