"""Linear layers with weights of 8 bits: one scale per output, symmetric.

On the CPU the products are those of whole numbers, by the libraries that PyTorch brings along:
oneDNN where the CPU adds up products of 8 bits by itself (VNNI), else FBGEMM, which read 8 bit
weights faster than any other kernel of torch 2.13 there (see ``docs/small-machines.md``). FBGEMM
wants inputs of 7 bits, and would round to them. So an input is written as two digits of 7 bits, and
both are multiplied in one pass over the weights: the weights are what is rounded, not the input.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.devices import cpu_capabilities

__all__ = ["INPUT_STEPS", "Int8Linear", "dequantize_int8", "quantize_int8", "two_digits"]

#: Largest whole number of two digits; an input is rounded to this many steps of its row's peak.
INPUT_STEPS = 63 * 128 + 63
# Smaller normal numbers there are none, so nothing is divided by zero.
_TINY = torch.finfo(torch.float32).tiny
# Rows of weights or inputs worked on together, which bounds what a large layer needs meanwhile.
_ROWS = 1024
# What oneDNN takes off weights.
_ZERO = torch.zeros(1, dtype=torch.int64)


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each output's weights to multiples of 1/127 of the largest.

    Args:
        weight: ``[O, I]``.

    Returns:
        ``[O, I]`` int8 and ``[O]`` float32 scales; off by at most half a scale.

    Raises:
        ValueError: a weight is not finite.
    """
    codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), device=weight.device)
    for first in range(0, len(weight), _ROWS):
        rows = slice(first, first + _ROWS)
        part = weight[rows].float()
        scale[rows] = (part.abs().amax(1) / 127).clamp_min(_TINY)
        codes[rows] = (part / scale[rows, None]).round_().to(torch.int8)
    if not scale.isfinite().all():
        raise ValueError("a weight is not finite, so it cannot be rounded to 8 bits")
    return codes, scale


def dequantize_int8(codes: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weights that 8 bits stand for.

    Args:
        codes: ``[O, I]`` int8.
        scale: ``[O]``.
        dtype: of the result.

    Returns:
        ``[O, I]``.
    """
    return codes.to(dtype) * scale[:, None].to(dtype)


def two_digits(x: Tensor) -> tuple[Tensor, Tensor]:
    """Write numbers as ``(128 * high + low) * step`` with digits from -64 to 63.

    Args:
        x: ``[B, I]`` float32.

    Returns:
        ``[2, B, I]`` whole float32 numbers, high digits first, and ``[B, 1]`` steps: 1 /
        :data:`INPUT_STEPS` of the row's peak, by half of which a number is off at most.
    """
    step = (torch.linalg.vector_norm(x, torch.inf, 1, True) / INPUT_STEPS).clamp_min_(_TINY)
    whole = (x / step).round_()
    high = whole.add(64).mul_(1 / 128).floor_()
    return torch.stack([high, whole.sub_(high, alpha=128)]), step


class Int8Linear(nn.Module):
    """A linear layer without bias, whose weights have 8 bits. For inference only.

    The first call on a CPU with a kernel lays the weights out for it and lets go of the plain ones;
    whoever asks for the state, or moves or copies the layer, gets them back. Elsewhere the weights
    are expanded for each call, which saves memory but no time.

    Args:
        in_features: ``I``.
        out_features: ``O``.

    Attributes:
        weight: ``[O, I]`` int8.
        scale: ``[O]`` float32, whatever the type of the inputs.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self._packed: Any = None

    def fill(self, weight: Tensor) -> None:
        """Take over weights.

        Args:
            weight: ``[O, I]`` of a floating type, on any device.

        Raises:
            ValueError: a weight is not finite.
        """
        self.forget()
        self.weight, self.scale = quantize_int8(weight.to(self.scale.device))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[..., I]`` to ``[..., O]``."""
        rows = x.reshape(-1, self.in_features)
        on_cpu = x.device.type == "cpu"
        # Half precision is slow on many CPUs.
        wide = rows.float() if on_cpu else rows
        kernel = _kernel() if on_cpu else None
        if kernel is not None:
            packed, scale = self._laid_out(kernel), self.scale
            parts = [kernel.multiply(part, packed, scale) for part in torch.split(wide, _ROWS)]
            output = parts[0] if len(parts) == 1 else torch.cat(parts)
        else:
            pieces = zip(
                torch.split(self.weight, _ROWS), torch.split(self.scale, _ROWS), strict=True
            )
            output = torch.cat([wide @ dequantize_int8(*p, wide.dtype).T for p in pieces], -1)
        return output.view(*x.shape[:-1], self.out_features).to(x.dtype)

    def forget(self) -> None:
        """Let go of the weights as they are laid out for the kernel, without getting them back."""
        self._packed = None

    def _laid_out(self, kernel: type[_Kernel]) -> Any:
        if self._packed is None:
            # What is made in inference mode could not be saved or moved outside it.
            with torch.inference_mode(False):
                self._packed = kernel.pack(self.weight, self.scale)
                self.weight = self.weight.new_empty(0)
        return self._packed

    def _unpack(self) -> None:
        if self._packed is not None:
            kind = _OneDNN if isinstance(self._packed, Tensor) else _FBGEMM
            with torch.inference_mode(False):
                self.weight = kind.unpack(self._packed, self.in_features)
            self._packed = None

    def __getstate__(self) -> dict[str, Any]:
        self._unpack()
        return self.__dict__.copy()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._unpack()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._unpack()
        scale = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.scale = scale.to(self.weight.device)
        return self

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class _Kernel(Protocol):
    """What multiplies digits of inputs and weights of 8 bits."""

    @staticmethod
    def pack(weight: Tensor, scale: Tensor) -> Any:
        """Weights ``[O, I]`` as the kernel wants them."""

    @staticmethod
    def unpack(packed: Any, inputs: int) -> Tensor:
        """The weights ``[O, I]`` again."""

    @staticmethod
    def multiply(rows: Tensor, packed: Any, scale: Tensor) -> Tensor:
        """``[B, I]`` float32 times the weights, ``[B, O]``."""


class _OneDNN(_Kernel):
    @staticmethod
    def pack(weight: Tensor, scale: Tensor) -> Tensor:
        packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
        return packed

    @staticmethod
    def unpack(packed: Tensor, inputs: int) -> Tensor:
        return packed.to_dense().T.contiguous()

    @staticmethod
    def multiply(rows: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
        digits, step = two_digits(rows)
        whole = digits.flatten(0, 1).to(torch.int8)
        product = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, 0, packed, scale, _ZERO, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return _joined(product, step)


class _FBGEMM(_Kernel):
    @staticmethod
    def pack(weight: Tensor, scale: Tensor) -> Any:
        with warnings.catch_warnings():
            # The only way to say a scale per output; if the type goes one day, _kernel() sees it.
            warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
            quantized = torch._make_per_channel_quantized_tensor(
                F.pad(weight, (0, 2)),  # the two inputs more, see multiply()
                scale.double(),
                torch.zeros(len(scale), dtype=torch.int64),
                0,
            )
        return torch.ops.quantized.linear_prepack(quantized, None)

    @staticmethod
    def unpack(packed: Any, inputs: int) -> Tensor:
        stored, _ = torch.ops.quantized.linear_unpack(packed)
        weight: Tensor = stored.int_repr()[:, :inputs].contiguous()
        return weight

    @staticmethod
    def multiply(rows: Tensor, packed: Any, scale: Tensor) -> Tensor:
        digits, step = two_digits(rows)
        # The kernel maps the smallest and the largest input to 0 and 127. The two inputs more are
        # those, so that its steps are the whole numbers that the digits are.
        ends = digits.new_tensor([-64.0, 63.0]).expand(2, len(rows), 2)
        inputs = torch.cat([digits, ends], -1).flatten(0, 1)
        return _joined(torch.ops.quantized.linear_dynamic(inputs, packed, True), step)


def _joined(product: Tensor, step: Tensor) -> Tensor:
    """``[2 * B, O]`` products of digits, high ones first, to ``[B, O]`` those of the inputs."""
    high, low = product.view(2, len(step), -1).unbind()
    return low.add_(high, alpha=128).mul_(step)


def _adds_up_bytes() -> bool:
    """Whether the CPU has instructions for sums of products of 8 bits."""
    return bool(cpu_capabilities().get("avx512_vnni"))


@functools.cache
def _kernel() -> type[_Kernel] | None:
    """The fastest kernel that PyTorch has here and that multiplies digits exactly."""
    if _adds_up_bytes() and _is_exact(_OneDNN):
        return _OneDNN
    return _FBGEMM if _is_exact(_FBGEMM) else None


def _is_exact(kernel: type[_Kernel]) -> bool:
    with torch.inference_mode(False), torch.no_grad():
        # The largest sums there can be: a kernel that saturates shows here.
        codes = torch.tensor([127, -127, 64], dtype=torch.int8)[:, None].repeat(1, 256)
        scale = torch.tensor([1.0, 0.5, 2.0])
        rows = torch.stack([torch.linspace(-1, 1, 256), torch.ones(256)])
        try:
            packed = kernel.pack(codes, scale)
            found = kernel.multiply(rows, packed, scale)
            again = kernel.unpack(packed, 256)
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        (high, low), step = two_digits(rows)
        wanted = ((128 * high + low) * step) @ dequantize_int8(codes, scale).T
        return torch.equal(again, codes) and torch.allclose(found, wanted, rtol=1e-5, atol=1e-3)
