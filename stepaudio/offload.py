"""Weights in memory only while they are needed.

The shelf is the file a part was read from: a part that is not working frees its weights, and reads
them again when its turn comes. The object stays, and with it its spec, so that the pipeline notices
nothing but time. Parts that are not read from a folder of ours keep what they have.

A part works within :func:`working`. Outside it, a freed part can only be asked for its spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from stepaudio.hub import Pretrained

__all__ = ["resident_bytes", "working"]


@contextmanager
def working(*parts: object) -> Iterator[None]:
    """See to it that parts have their weights.

    Blocks may be nested: what an outer one has read, an inner one leaves alone.

    Args:
        *parts: of a pipeline; anything that is no :class:`~stepaudio.hub.Pretrained` is left alone.

    Yields:
        Nothing, while the parts can be used.

    Raises:
        CheckpointError: the files of a part are gone or damaged.
    """
    read: list[Pretrained] = []
    try:
        for part in parts:
            if isinstance(part, Pretrained) and not part.loaded:
                read.append(part)
                part.reload()
        yield
    finally:
        for part in read:
            if part.offload:
                part.unload()


def resident_bytes(*parts: object) -> int:
    """Bytes of parameters and buffers in memory.

    Args:
        *parts: of a pipeline; what is no module counts nothing.

    Returns:
        The sum over all parts, what they share counted once.
    """
    modules = [part for part in parts if isinstance(part, nn.Module)]
    tensors = {
        id(tensor): tensor.numel() * tensor.element_size()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensors.values())
