"""A linear layer that is fast where few rows meet a matrix: a token that is written.

Its time is that of reading the weights, and how near a library of products comes to it depends on
the CPU (all of torch 2.13):

- float32, CPUs of Intel: MKL, which PyTorch asks, reads at the speed of memory for up to three
  rows, but twice for four and three times for eight; from a million and a half weights on oneDNN,
  which PyTorch brings along too, is up to twice as fast there.
- float32, other CPUs: MKL reads the weights of a single row with one thread however many there
  are, and those of a few rows twice as slowly as it could. oneDNN takes all threads; for small
  matrices its calls are dear, and asking MKL for the transposed product is enough.
- bfloat16: PyTorch gives products to oneDNN, which reads the weights of a single row half as fast
  as memory could; asked for a vector, PyTorch reads them itself, at the speed of memory. With
  matrix units (AMX) the transposed product of up to a hundred rows is up to twice as fast as the
  straight one.
"""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.devices import cpu_capabilities

__all__ = ["Linear", "multiply_rows", "way_to_multiply"]

#: As PyTorch does it, the weights times a vector, the weights times columns, or by oneDNN.
Way: TypeAlias = Literal["plain", "vector", "transposed", "onednn"]


class Linear(nn.Linear):
    """Like :class:`torch.nn.Linear`, faster where few rows meet the weights in inference."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[..., I]`` to ``[..., O]``."""
        # Of a small model, asking takes as long as multiplying; so each thing is asked once.
        weight, bias = self.weight, self.bias
        rows = x.numel() // self.in_features
        if (
            rows > 128
            or torch.is_grad_enabled()
            or not (x.is_cpu and weight.is_cpu)
            or x.dtype != weight.dtype
        ):
            return F.linear(x, weight, bias)
        way = way_to_multiply(rows, weight.numel(), x.dtype)
        if way == "onednn":
            return multiply_rows(x, weight, bias)
        if way == "vector" and bias is None:
            return torch.mv(weight, x.reshape(-1)).view(*x.shape[:-1], -1)
        if way == "transposed":
            product = torch.mm(weight, x.reshape(rows, -1).T).T.reshape(*x.shape[:-1], -1)
            return product if bias is None else product + bias
        return F.linear(x, weight, bias)


def way_to_multiply(rows: int, weights: int, dtype: torch.dtype) -> Way:
    """What is fastest on this CPU.

    Args:
        rows: how many meet the matrix, up to 128.
        weights: numbers in the matrix.
        dtype: of both.

    Returns:
        A way whose kernel PyTorch has here.
    """
    if dtype == torch.bfloat16:
        if rows == 1:
            return "vector"
        return "transposed" if rows and _has_matrix_units() else "plain"
    if dtype != torch.float32:
        return "plain"
    if _of_intel():
        large = 4 <= rows <= 16 and weights >= 3 * 2**19
        return "onednn" if large and _onednn_works() else "plain"
    if not 1 <= rows <= 8:
        return "plain"
    large = weights >= (2**19 if rows == 1 else 2**20)
    if large and torch.get_num_threads() > 1 and _onednn_works():
        return "onednn"
    return "plain" if rows == 1 else "transposed"


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
def _of_intel() -> bool:
    """Whether MKL, which is Intel's, knows this CPU as its own."""
    return "intel" in str(cpu_capabilities().get("cpu_name", "")).lower()


@functools.cache
def _has_matrix_units() -> bool:
    return bool(cpu_capabilities().get("amx_bf16"))


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
