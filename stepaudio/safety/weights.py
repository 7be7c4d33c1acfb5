"""Which weights a part runs with, told by a digest that takes no time however large it is."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from stepaudio.offload import working

__all__ = ["sampled_digest"]

# Of every tensor its first, middle and last values are read: enough to tell trainings apart.
_VALUES = 4096


def sampled_digest(*parts: object) -> str:
    """Name the weights of some parts.

    Two trainings differ in it; that a single value was changed on purpose it need not show. It is
    the same on every device, and for weights loaded in a wider type than they were stored in.

    Args:
        *parts: modules; of anything else only the class counts.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{type(part).__name__}\n".encode())
        if not isinstance(part, nn.Module):
            continue
        with working(part):
            for name, value in part.state_dict().items():
                digest.update(f"{name} {tuple(value.shape)}\n".encode())
                flat = value.detach().reshape(-1)
                for start in (0, len(flat) // 2, max(0, len(flat) - _VALUES)):
                    piece = flat[start : start + _VALUES].to("cpu", torch.float32)
                    digest.update(piece.numpy().tobytes())
    return digest.hexdigest()[:32]
