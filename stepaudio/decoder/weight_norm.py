"""Weight normalisation is a training aid: loaders fold it away.

Published vocoders store a convolution as a magnitude ``g`` and a direction ``v`` with
``weight = g * v / |v|``, the norm taken over all axes but the first, for transposed convolutions
too. Two generations of names exist for the pair.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stepaudio.errors import CheckpointError

__all__ = ["fold_weight_norm"]

_PAIRS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace every magnitude and direction pair by the plain weight.

    Args:
        tensors: a state dict, with weight normalisation under either naming or without any.

    Returns:
        The state dict under plain names; other tensors are passed on.

    Raises:
        CheckpointError: half of a pair is missing.
    """
    folded: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for g_name, v_name in _PAIRS:
            if name.endswith("." + v_name):
                stem = name.removesuffix(v_name)
                g = tensors.get(stem + g_name)
                if g is None:
                    raise CheckpointError(f"{name} has no partner {stem + g_name}")
                axes = tuple(range(1, value.dim()))
                norm = torch.linalg.vector_norm(value, dim=axes, keepdim=True)
                folded[stem + "weight"] = value * (g / norm)
                break
            if name.endswith("." + g_name):
                partner = name.removesuffix(g_name) + v_name
                if partner not in tensors:
                    raise CheckpointError(f"{name} has no partner {partner}")
                break
        else:
            folded[name] = value
    return folded
