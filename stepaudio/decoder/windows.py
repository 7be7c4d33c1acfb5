"""Streaming for vocoders whose output depends on a bounded neighbourhood of frames.

Each window carries enough context on both sides that the samples of its own frames come out as
in the whole recording; at the true ends there is no context to carry and none is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["stream_windows"]


def stream_windows(
    mels: Iterator[Tensor],
    synthesize: Callable[[Tensor], Tensor],
    *,
    context: int,
    hop_length: int,
) -> Iterator[Tensor]:
    """Vocode consecutive pieces so that their sum equals the whole.

    Args:
        mels: ``[C, t]`` pieces, without overlap.
        synthesize: ``[1, C, T]`` frames to ``[1, T * hop_length]`` samples.
        context: frames before and after a frame that its samples depend on.
        hop_length: samples per frame.

    Yields:
        ``[s]`` pieces; a piece is held back until its right context has arrived.
    """
    held: Tensor | None = None
    done = 0  # frames at the start of ``held`` that have been emitted and stay as left context

    def emit(frames: Tensor, start: int, stop: int) -> Tensor:
        return synthesize(frames[None])[0, start * hop_length : stop * hop_length]

    for piece in mels:
        held = piece if held is None else torch.cat([held, piece], dim=-1)
        ready = held.shape[-1] - context
        if ready > done:
            yield emit(held, done, ready)
            drop = max(0, ready - context)
            held, done = held[:, drop:], ready - drop
    if held is not None and held.shape[-1] > done:
        yield emit(held, done, held.shape[-1])
