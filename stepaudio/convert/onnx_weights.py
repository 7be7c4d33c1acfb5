"""Weights of an ONNX file, read without executing or importing anything.

Two published parts come as ONNX graphs. Some of their weights keep the name they had in training;
the rest, changed by the exporter (transposed for a matrix product, or merged with the batch norm
that follows), have numbers for names and are found through the node that reads them, whose name
still tells the module: ``/blocks.0/attn/query/MatMul``. Field numbers are those of the public
``onnx.proto`` schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stepaudio.errors import CheckpointError
from stepaudio.protobuf import Field, fields

__all__ = ["OnnxNode", "OnnxWeights"]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP = 1, 2, 3, 4
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_FLOATS, _TENSOR_INT32, _TENSOR_INT64 = 4, 5, 7
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_FLOAT, _INT64, _FLOAT16 = 1, 7, 10
_RAW_TYPES = {_FLOAT: "<f4", _INT64: "<i8", _FLOAT16: "<f2"}


@dataclass(frozen=True)
class OnnxNode:
    """One operation of the graph.

    Attributes:
        name: e.g. ``/head/conv1/Conv``.
        op: e.g. ``Conv``.
        inputs: names of what it reads, in order; initializers and results of other nodes.
        outputs: names of what it writes.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Initializer:
    """A stored tensor, decoded only when asked for."""

    fields: tuple[Field, ...]
    source: str

    @property
    def name(self) -> str:
        return next((f.text() for f in self.fields if f.number == _TENSOR_NAME), "")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size for f in self.fields if f.number == _TENSOR_DIMS for size in f.integers())

    def decode(self) -> Tensor:
        name, shape = self.name, self.shape
        kind = next((f.unsigned() for f in self.fields if f.number == _TENSOR_TYPE), 0)
        numbers = {f.number for f in self.fields}
        located = [f.unsigned() for f in self.fields if f.number == _TENSOR_LOCATION]
        if _TENSOR_EXTERNAL in numbers or any(located):
            raise CheckpointError(
                f"{self.source}: tensor {name!r} is stored in another file (ONNX external data); "
                "save the model as one file"
            )
        if kind not in _RAW_TYPES:
            raise CheckpointError(
                f"{self.source}: tensor {name!r} has ONNX data type {kind}; only float32 (1), "
                "int64 (7) and float16 (10) are read"
            )
        if _TENSOR_RAW in numbers:
            raw = next(f.payload() for f in self.fields if f.number == _TENSOR_RAW)
            if len(raw) % np.dtype(_RAW_TYPES[kind]).itemsize:
                raise CheckpointError(
                    f"{self.source} is damaged: tensor {name!r} has {len(raw)} bytes"
                )
            values = np.frombuffer(raw, dtype=_RAW_TYPES[kind])
        else:
            values = self._typed(kind)
        if any(size < 0 for size in shape) or values.size != int(np.prod(shape, dtype=np.int64)):
            raise CheckpointError(
                f"{self.source} is damaged: tensor {name!r} of shape {shape} has {values.size} "
                "values"
            )
        # A copy: the file stays mapped read-only, tensors are writable.
        native = values.astype(values.dtype.newbyteorder("="), copy=True)
        return torch.from_numpy(native.reshape(shape))

    def _typed(self, kind: int) -> np.ndarray:
        """Values from the typed fields; half floats are stored as bit patterns in int32."""
        if kind == _FLOAT:
            parts = [f.floats() for f in self.fields if f.number == _TENSOR_FLOATS]
            return np.concatenate([np.empty(0, np.float32), *parts])
        field_number = _TENSOR_INT64 if kind == _INT64 else _TENSOR_INT32
        integers = [i for f in self.fields if f.number == field_number for i in f.integers()]
        if kind == _INT64:
            return np.array(integers, dtype=np.int64)
        return (np.array(integers, dtype=np.int64) & 0xFFFF).astype(np.uint16).view(np.float16)


class OnnxWeights:
    """The initializers of one ONNX file and the nodes that read them.

    Args:
        path: the file. It is mapped, not loaded; tensors are copied out when asked for.

    Raises:
        CheckpointError: the file is missing, damaged, or not an ONNX model.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        source = str(path)
        try:
            data = np.memmap(self.path, dtype=np.uint8, mode="r").data
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise CheckpointError(f"{source} cannot be read: {error}") from error
        self._initializers: dict[str, _Initializer] = {}
        self._nodes: dict[str, OnnxNode] = {}
        nodes: list[OnnxNode] = []
        graphs = [f for f in fields(data, source) if f.number == _MODEL_GRAPH]
        for field in (f for graph in graphs for f in graph.message()):
            if field.number == _GRAPH_INITIALIZER:
                tensor = _Initializer(tuple(field.message()), source)
                self._initializers[tensor.name] = tensor
            elif field.number == _GRAPH_NODE:
                nodes.append(_node(field.message()))
        if not self._initializers:
            raise CheckpointError(f"{source} is not an ONNX model with weights")
        self._nodes = {node.name: node for node in nodes if node.name}
        # The exporter stores equal tensors once and reads the others through Identity nodes.
        self._aliases = {
            node.outputs[0]: node.inputs[0]
            for node in nodes
            if node.op == "Identity" and node.inputs and node.outputs
        }

    def names(self) -> list[str]:
        """Names of all initializers, in file order."""
        return list(self._initializers)

    def nodes(self) -> list[OnnxNode]:
        """All named nodes, in file order."""
        return list(self._nodes.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an initializer, without reading its values.

        Args:
            name: of the initializer.

        Returns:
            Its shape.

        Raises:
            CheckpointError: there is none of that name.
        """
        return self._get(name).shape

    def tensor(self, name: str) -> Tensor:
        """Read an initializer.

        Args:
            name: of the initializer.

        Returns:
            Its values, float32, float16 or int64.

        Raises:
            CheckpointError: there is none of that name, or it cannot be decoded.
        """
        return self._get(name).decode()

    def resolve(self, name: str) -> str | None:
        """The initializer behind a node input.

        Args:
            name: a node input.

        Returns:
            Name of the initializer, or None for a computed value.
        """
        for _ in range(len(self._aliases) + 1):
            if name in self._initializers:
                return name
            if name not in self._aliases:
                return None
            name = self._aliases[name]
        return None

    def read_by(self, node: str) -> list[str]:
        """Initializers that a node reads.

        Args:
            node: name of the node, e.g. ``/blocks.0/attn/query/MatMul``.

        Returns:
            Names of initializers in the order of the node's inputs; computed inputs left out.

        Raises:
            CheckpointError: there is no such node.
        """
        if node not in self._nodes:
            raise CheckpointError(f"{self.path} has no node {node!r}; is it the published file?")
        found = (self.resolve(name) for name in self._nodes[node].inputs)
        return [name for name in found if name is not None]

    def _get(self, name: str) -> _Initializer:
        if name not in self._initializers:
            raise CheckpointError(f"{self.path} has no tensor {name!r}; is it the published file?")
        return self._initializers[name]


def _node(message: Iterable[Field]) -> OnnxNode:
    texts: dict[int, list[str]] = {}
    for field in message:
        if field.number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP):
            texts.setdefault(field.number, []).append(field.text())
    return OnnxNode(
        name="".join(texts.get(_NODE_NAME, [])),
        op="".join(texts.get(_NODE_OP, [])),
        inputs=tuple(texts.get(_NODE_INPUT, [])),
        outputs=tuple(texts.get(_NODE_OUTPUT, [])),
    )
