"""Codebooks at the size that the published ids leave room for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from stepaudio.errors import CheckpointError

__all__ = ["fill_codebook"]

# Coordinates this large are never nearest to anything an encoder puts out.
_UNREACHABLE = 1e4


def fill_codebook(codebook: Tensor, size: int, path: Path) -> Tensor:
    """Give a codebook its published size.

    The ids of semantic codes start where 1024 linguistic codes end, however many of those a model
    uses. A smaller codebook, of a reduced model, is filled up with entries too far away to be
    chosen: its codes stay what they are and all ids keep their place.

    Args:
        codebook: ``[N, D]``.
        size: number of entries wanted.
        path: named in errors.

    Returns:
        ``[size, D]``, the first ``N`` entries unchanged.

    Raises:
        CheckpointError: not a table, or more entries than there are ids.
    """
    if codebook.dim() != 2 or len(codebook) > size:
        raise CheckpointError(
            f"{path} must hold a codebook [codes, width] of at most {size} codes, "
            f"not {tuple(codebook.shape)}"
        )
    missing = codebook.new_full((size - len(codebook), codebook.shape[1]), _UNREACHABLE)
    return torch.cat([codebook, missing])
