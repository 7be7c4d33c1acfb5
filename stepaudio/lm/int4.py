"""Linear layers with weights of 4 bits, in groups of 64 with a scale and an offset.

A group are the weights of one output for 64 consecutive inputs. With the scale and the offset, in
bfloat16, that is 4.5 bits a weight. They are stored as PyTorch's kernel for 4 bits reads them on a
CPU with AVX512; for that on a CPU with AVX2 bytes are moved once. The kernel takes and gives
bfloat16 and adds up in float32, so inputs and outputs are rounded to 8 bits of mantissa: a tenth of
what rounding the weights costs. It expands weights in registers, faster than it could read them in
bfloat16 (see ``docs/small-machines.md``).

More than 128 inputs at once meet expanded weights instead, in float32 without that rounding. So
logits of a prompt read at once and in pieces differ, by up to 2 % of the largest with the embedded
model. Rounding the inputs there as well changes nothing in that. Rounding the outputs too would
make single layers agree to the bit, but logits only about twice as well: rounding drives apart what
differs in the last digits of float32, as it does between pieces of other sizes.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GROUP", "Int4Linear", "dequantize_int4", "quantize_int4"]

#: Inputs that share a scale.
GROUP = 64
# Outputs whose codes lie side by side, half of them in the low halves of bytes; as stored.
_BLOCK = 64
# Up to so many inputs are cheaper by the kernel than expanding the weights for all of them.
_FEW = 128
# Blocks of outputs worked on together, which bounds what a large layer needs meanwhile.
_BLOCKS = 16


def quantize_int4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round the weights of each group to one of 16 values from its smallest to its largest.

    Args:
        weight: ``[O, I]``.

    Returns:
        Codes ``[ceil(O / 64), ceil(I / 64) * 64, 32]`` uint8, and the bytes of bfloat16 scales and
        offsets, ``[ceil(I / 64), ceil(O / 64) * 64, 4]`` uint8. Off by at most half a scale, and
        what rounding to bfloat16 adds: a part of 2 ** -8 of the largest weight of the group.

    Raises:
        ValueError: a weight is not finite.
    """
    outputs, inputs = weight.shape
    shapes = _shapes(outputs, inputs)
    codes, ends = (torch.empty(s, dtype=torch.uint8, device=weight.device) for s in shapes)
    for first in range(0, len(codes), _BLOCKS):
        part = weight[first * _BLOCK : (first + _BLOCKS) * _BLOCK].float()
        filled = F.pad(part, (0, -inputs % GROUP, 0, -len(part) % _BLOCK))
        groups = filled.view(len(filled), -1, GROUP)
        low, high = groups.amin(-1), groups.amax(-1)
        scale = ((high - low) / 15).bfloat16()
        # The value of code 8, which is what the kernel wants.
        offset = (low + 8 * scale.float()).bfloat16()
        if not (scale.isfinite().all() and offset.isfinite().all()):
            raise ValueError("a weight is not finite, so it cannot be rounded to 4 bits")
        steps = torch.where(scale > 0, scale, 1).float()
        steps = ((groups - offset.float()[..., None]) / steps[..., None]).round_()
        whole = (steps + 8).clamp_(0, 15).to(torch.uint8).view(-1, _BLOCK, codes.shape[1])
        codes[first : first + _BLOCKS] = _pair(whole, _BLOCK)
        rows = slice(first * _BLOCK, first * _BLOCK + len(filled))
        both = torch.stack([scale, offset], -1).transpose(0, 1).contiguous()
        ends[:, rows] = both.view(torch.uint8)
    return codes, ends


def dequantize_int4(
    codes: Tensor, ends: Tensor, outputs: int, inputs: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The weights that 4 bits stand for.

    Args:
        codes: ``[ceil(O / 64), ceil(I / 64) * 64, 32]`` uint8.
        ends: ``[ceil(I / 64), ceil(O / 64) * 64, 4]`` uint8.
        outputs: ``O``; groups may be filled up beyond.
        inputs: ``I``.
        dtype: of the result.

    Returns:
        ``[O, I]``.
    """
    return _expand(codes, ends, _BLOCK, dtype)[:outputs, :inputs]


class Int4Linear(nn.Module):
    """A linear layer without bias, whose weights have 4 bits. For inference only.

    The first call on a CPU whose kernel wants the codes in another order moves them, in place;
    whoever asks for the state gets them as they are stored.

    Args:
        in_features: ``I``.
        out_features: ``O``.

    Attributes:
        weight: ``[ceil(O / 64), ceil(I / 64) * 64, 32]`` uint8.
        ends: ``[ceil(I / 64), ceil(O / 64) * 64, 4]`` uint8, the bytes of scales and offsets.
    """

    weight: Tensor
    ends: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        codes, ends = _shapes(out_features, in_features)
        self.register_buffer("weight", torch.zeros(codes, dtype=torch.uint8))
        self.register_buffer("ends", torch.zeros(ends, dtype=torch.uint8))
        self._block = _BLOCK

    def fill(self, weight: Tensor) -> None:
        """Take over weights.

        Args:
            weight: ``[O, I]`` of a floating type, on any device.

        Raises:
            ValueError: a weight is not finite.
        """
        self.forget()
        self.weight, self.ends = quantize_int4(weight.to(self.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[..., I]`` to ``[..., O]``."""
        rows = x.reshape(-1, self.in_features)
        if self.in_features % GROUP:
            rows = F.pad(rows, (0, -self.in_features % GROUP))
        on_cpu = x.device.type == "cpu"
        block = _kernel_block() if on_cpu and len(rows) <= _FEW else None
        if block is not None:
            self._lay_out(block)
            output = _multiply(rows, self.weight, self.ends)
        else:
            # Half precision is slow on many CPUs.
            wide = rows.float() if on_cpu else rows
            output = torch.cat(
                [
                    wide @ _expand(codes, ends, self._block, wide.dtype).T
                    for codes, ends in zip(
                        torch.split(self.weight, _BLOCKS),
                        torch.split(self.ends, _BLOCKS * _BLOCK, 1),
                        strict=True,
                    )
                ],
                -1,
            )
        if self.out_features % _BLOCK:
            output = output[:, : self.out_features]
        return output.reshape(*x.shape[:-1], -1).to(x.dtype)

    def forget(self) -> None:
        """Be told that the codes will come anew, as they are stored."""
        self._block = _BLOCK

    def _lay_out(self, block: int) -> None:
        if self._block != block:
            # In inference mode tensors of either kind may be changed in place.
            with torch.inference_mode():
                for codes in torch.split(self.weight, _BLOCKS):
                    codes.copy_(_pair(_unpair(codes, self._block), block).view_as(codes))
            self._block = block

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._lay_out(_BLOCK)
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.forget()
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def _shapes(outputs: int, inputs: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Of codes, and of scales and offsets."""
    blocks, groups = -(-outputs // _BLOCK), -(-inputs // GROUP)
    return (blocks, groups * GROUP, _BLOCK // 2), (groups, blocks * _BLOCK, 4)


def _pair(whole: Tensor, block: int) -> Tensor:
    """``[B, 64, I]`` codes, two in a byte, ``[B * 64 / block, I, block / 2]``."""
    low, high = whole.reshape(-1, 2, block // 2, whole.shape[-1]).unbind(1)
    return (low | (high << 4)).transpose(1, 2).contiguous()


def _unpair(codes: Tensor, block: int) -> Tensor:
    """``[B, I, 32]`` bytes to ``[B, 64, I]`` codes."""
    blocks, inputs, _ = codes.shape
    pairs = codes.reshape(-1, inputs, block // 2).transpose(1, 2)
    return torch.stack([pairs & 15, pairs >> 4], 1).view(blocks, _BLOCK, inputs)


def _expand(codes: Tensor, ends: Tensor, block: int, dtype: torch.dtype) -> Tensor:
    """``[B, I, 32]`` codes to ``[B * 64, I]`` weights."""
    groups = _unpair(codes, block).view(-1, codes.shape[1] // GROUP, GROUP).to(dtype)
    scale, offset = ends.view(torch.bfloat16).transpose(0, 1).to(dtype).unbind(-1)
    return torch.addcmul(offset[..., None], groups - 8, scale[..., None]).flatten(1)


def _multiply(rows: Tensor, codes: Tensor, ends: Tensor) -> Tensor:
    """``[B, I]`` times the weights, ``[B, O]`` bfloat16."""
    plain = codes.view(-1, codes.shape[1] // 2)
    product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
        rows.bfloat16(), plain, GROUP, ends.view(torch.bfloat16)
    )
    return product


@functools.cache
def _kernel_block() -> int | None:
    """How many outputs the kernel here wants side by side; None without one that is right."""
    with torch.inference_mode(False), torch.no_grad():
        weight = torch.linspace(-9, 9, 2 * _BLOCK * GROUP).view(2 * _BLOCK, GROUP).sin()
        rows = torch.linspace(-2, 3, GROUP).cos()[None]
        codes, ends = quantize_int4(weight)
        wanted = rows.bfloat16().float() @ _expand(codes, ends, _BLOCK, torch.float32).T
        for block in (_BLOCK, _BLOCK // 2):
            laid = _pair(_unpair(codes, _BLOCK), block).view_as(codes)
            try:
                found = _multiply(rows, laid, ends).float()
            except (AttributeError, NotImplementedError, RuntimeError):
                return None
            if torch.allclose(found, wanted, rtol=2**-7, atol=1e-3):
                return block
        return None
