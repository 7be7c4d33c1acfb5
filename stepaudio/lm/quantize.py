"""Language models whose linear layers have weights of 8 or 4 bits.

Only the weights of linear layers are rounded: they are 93 % of the published model and all that a
token has to read of it. The embedding, of which a token reads one row, and the norms stay as they
are. The output layer always has 8 bits: its errors go into the logits as they are, and it is a
fifteenth of what a token reads.

A config says the bits (``Step1Config.bits``), so a folder of a quantized model loads as any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from stepaudio.errors import CheckpointError
from stepaudio.hub import Uninitialized, fill, read_tensor
from stepaudio.lm.int4 import Int4Linear
from stepaudio.lm.int8 import Int8Linear

if TYPE_CHECKING:
    from stepaudio.lm.step1 import Step1LM

__all__ = ["BITS", "Bits", "fill_rounded", "forget_layouts", "quantize", "replace_linears"]

Bits = Literal[8, 4]

#: Bits by the names that people know.
BITS: dict[str, Bits] = {"int8": 8, "int4": 4}

_OUTPUT = "lm_head"


def quantize(lm: Step1LM, bits: Bits) -> Step1LM:
    """Round the weights of a language model.

    To read a large model without ever having it in memory unrounded, give
    :meth:`~stepaudio.lm.step1.Step1LM.from_pretrained` the bits instead.

    Args:
        lm: stays as it is. What is not rounded is shared.
        bits: 8, or 4 (with 8 for the output layer).

    Returns:
        The rounded model, in evaluation mode.

    Raises:
        ValueError: the model is quantized already, or a weight is not finite.
    """
    if lm.config.bits is not None:
        raise ValueError(f"the model already has weights of {lm.config.bits} bits")
    with Uninitialized():
        rounded = type(lm)(dataclasses.replace(lm.config, bits=bits))
    kept = dict(lm.named_parameters())
    for name, layer in _layers(rounded):
        weight = kept[f"{name}.weight"].detach()
        layer.to(weight.device).fill(weight)
    for name, parameter in rounded.named_parameters():
        parameter.data = kept[name].data
    return rounded.eval()


def replace_linears(model: nn.Module, bits: Bits) -> None:
    """Put quantized layers, with zeros for weights, in the place of all linear ones.

    Args:
        model: changed in place. Its linear layers have no bias.
        bits: 8, or 4 (with 8 for the output layer).
    """
    linears = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    for name, linear in linears:
        kind = Int4Linear if bits == 4 and name != _OUTPUT else Int8Linear
        parent, _, child = name.rpartition(".")
        layer = kind(linear.in_features, linear.out_features)
        setattr(model.get_submodule(parent), child, layer)


def fill_rounded(
    model: nn.Module, path: Path, dtype: torch.dtype | None, device: torch.device | str | None
) -> None:
    """Read the weights of a model, rounding those of quantized layers as they come.

    Args:
        model: with quantized layers where the file has linear ones.
        path: a safetensors file.
        dtype: of what is not rounded; None is that of each tensor.
        device: None is that of each tensor.

    Raises:
        CheckpointError: a tensor cannot be read, or not be rounded.
    """
    for name, layer in _layers(model):
        if device is not None:
            layer.to(device)
        try:
            layer.fill(read_tensor(path, f"{name}.weight"))
        except ValueError as error:
            raise CheckpointError(f"{path}, {name}: {error}") from error
    fill(dict(model.named_parameters()), path, dtype, device)


def forget_layouts(model: nn.Module) -> None:
    """Free what layers have laid out for their kernels, which would else be turned back first.

    Args:
        model: whose weights are not needed any more.
    """
    for _, layer in _layers(model):
        layer.forget()


def _layers(model: nn.Module) -> Iterator[tuple[str, Int8Linear | Int4Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, Int8Linear | Int4Linear):
            yield name, module
