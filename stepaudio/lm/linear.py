"""A linear layer that is fast where few rows meet a matrix: a token that is written.

Its time is that of reading the weights. PyTorch gives such products to MKL, which on a CPU reads
the weights of a single row with one thread however many there are (torch 2.13), and those of a few
rows twice as slowly as it could. oneDNN, which PyTorch brings along too, uses all threads and reads
the same weights where they lie; for small matrices its calls are dear, and asking MKL for the
transposed product is enough.

A single row in bfloat16 PyTorch gives to oneDNN, on a CPU with instructions for bfloat16, which
reads the weights half as fast as memory could; asked for a vector, PyTorch reads them itself, at
the speed of memory.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Linear", "multiply_rows"]

#: Most rows that count as few.
_FEW = 8
#: Fewest weights for which oneDNN is the fastest, with several rows and with one.
_MANY, _MANY_FOR_ONE = 2**20, 2**19


class Linear(nn.Linear):
    """Like :class:`torch.nn.Linear`, faster where few rows meet the weights in inference."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[..., I]`` to ``[..., O]``."""
        weight = self.weight
        rows = x.numel() // self.in_features
        if (
            rows > _FEW
            or torch.is_grad_enabled()
            or x.dtype != weight.dtype
            or not x.device.type == weight.device.type == "cpu"
        ):
            return super().forward(x)
        if x.dtype == torch.bfloat16 and rows == 1 and self.bias is None:
            return torch.mv(weight, x.reshape(-1)).view(*x.shape[:-1], -1)
        if x.dtype != torch.float32:
            return super().forward(x)
        large = weight.numel() >= (_MANY if rows > 1 else _MANY_FOR_ONE)
        if large and torch.get_num_threads() > 1 and _onednn_works():
            return multiply_rows(x, weight, self.bias)
        if rows < 2:
            return super().forward(x)
        product = torch.mm(weight, x.reshape(rows, -1).T).T.reshape(*x.shape[:-1], -1)
        return product if self.bias is None else product + self.bias


def multiply_rows(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply with all threads; not differentiable.

    Args:
        x: ``[..., I]`` float32 on the CPU.
        weight: ``[O, I]``.
        bias: ``[O]``, or None.

    Returns:
        ``[..., O]``.
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@functools.cache
def _onednn_works() -> bool:
    """Whether PyTorch here has this kernel, and it is right."""
    with torch.inference_mode(False), torch.no_grad():
        weight = torch.linspace(-1, 1, 60).view(5, 12)
        x, bias = torch.linspace(0, 2, 24).view(2, 1, 12), torch.linspace(3, 4, 5)
        try:
            found = multiply_rows(x, weight, bias)
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        return torch.allclose(found, F.linear(x, weight, bias), atol=1e-5)
