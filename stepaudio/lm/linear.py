"""A linear layer that multiplies one row with all cores.

A token that is written is one row, and its time is that of reading the weights. PyTorch gives few
rows of float32 to MKL, which on a CPU works on them with one thread however many there are (torch
2.13, by the computing time of each thread); oneDNN, which PyTorch brings along too, uses all of
them and reads the same weights where they lie.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Linear", "multiply_rows"]

#: Most rows that MKL multiplies with one thread.
_FEW = 4
#: Fewest weights whose reading takes longer than the call of another library.
_MANY = 2**20


class Linear(nn.Linear):
    """Like :class:`torch.nn.Linear`, faster where few rows meet many weights in inference."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[..., I]`` to ``[..., O]``."""
        few = x.numel() <= _FEW * self.in_features and self.weight.numel() >= _MANY
        if (
            few
            and x.dtype == self.weight.dtype == torch.float32
            and x.device.type == self.weight.device.type == "cpu"
            and not torch.is_grad_enabled()
            and torch.get_num_threads() > 1
            and _onednn_works()
        ):
            return multiply_rows(x, self.weight, self.bias)
        return super().forward(x)


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
