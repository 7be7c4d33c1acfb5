"""Keys and values of the positions already seen, in buffers that are written in place."""

from __future__ import annotations

from torch import Tensor

__all__ = ["KVCache"]


class KVCache:
    """Key/value cache of a decoder stack.

    The buffers are made at the first append, for ``capacity`` positions, and double when full, so
    a token costs one small copy. For inference only: writing in place is not differentiable.

    Attributes:
        length: positions held, the same for every sample.
        padding: ``[B]`` positions at the head of each sample that are padding, None without any.

    Args:
        layers: decoder layers.
        capacity: positions to make room for at first.
    """

    def __init__(self, layers: int, capacity: int = 256) -> None:
        self.length = 0
        self.padding: Tensor | None = None
        self._capacity = max(capacity, 1)
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions of one layer; :meth:`advance` makes them count.

        Args:
            layer: which layer.
            keys: ``[B, G, T, D]``.
            values: ``[B, G, T, D]``.

        Returns:
            Keys and values of all positions, ``[B, G, length + T, D]`` views of the buffers.
        """
        stop = self.length + keys.shape[2]
        return (
            self._write(self._keys, layer, keys, stop),
            self._write(self._values, layer, values, stop),
        )

    def advance(self, positions: int) -> None:
        """Count positions that every layer has appended.

        Args:
            positions: how many.
        """
        self.length += positions

    def select(self, rows: Tensor) -> None:
        """Keep some samples of the batch, in the order given.

        Args:
            rows: ``[B']`` int64 sample numbers.
        """
        self._keys = [None if k is None else k.index_select(0, rows) for k in self._keys]
        self._values = [None if v is None else v.index_select(0, rows) for v in self._values]
        if self.padding is not None:
            self.padding = self.padding.index_select(0, rows)

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer.

        Args:
            layer: which layer.

        Returns:
            Two ``[B, G, length, D]`` views.

        Raises:
            ValueError: nothing has been appended yet.
        """
        keys, values = self._keys[layer], self._values[layer]
        if keys is None or values is None:
            raise ValueError("the cache is empty; run the model on a prompt first")
        return keys[:, :, : self.length], values[:, :, : self.length]

    def _write(self, buffers: list[Tensor | None], layer: int, new: Tensor, stop: int) -> Tensor:
        buffer = buffers[layer]
        if buffer is None or buffer.shape[2] < stop:
            while self._capacity < stop:
                self._capacity *= 2
            batch, groups, _, dim = new.shape
            grown = new.new_empty(batch, groups, self._capacity, dim)
            if buffer is not None:
                grown[:, :, : self.length] = buffer[:, :, : self.length]
            buffer = buffers[layer] = grown
        buffer[:, :, self.length : stop] = new
        return buffer[:, :, :stop]
