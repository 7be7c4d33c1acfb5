"""Two ways to give a voice prompt's mel the number of frames its tokens stand for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["cut_mel", "stretch_mel"]


def stretch_mel(mel: Tensor, frames: int) -> Tensor:
    """Give a mel another number of frames by repeating or dropping some.

    The prompt's tokens are cut to whole units while its mel is not; this hides the difference.

    Args:
        mel: ``[C, T]``.
        frames: wanted.

    Returns:
        ``[C, frames]``; frame ``i`` is frame ``floor(i T / frames)``.
    """
    return functional.interpolate(mel[None], size=frames, mode="nearest")[0]


def cut_mel(mel: Tensor, frames: int) -> Tensor:
    """Give a mel another number of frames by cutting its end or repeating its last frame.

    Args:
        mel: ``[C, T]``, not empty.
        frames: wanted.

    Returns:
        ``[C, frames]``.
    """
    missing = max(0, frames - mel.shape[1])
    return torch.cat([mel[:, :frames], mel[:, -1:].expand(-1, missing)], dim=1)
