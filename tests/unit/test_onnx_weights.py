"""Reading ONNX weights: every storage form, aliases, and what is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from stepaudio.convert.onnx_weights import OnnxWeights
from stepaudio.errors import CheckpointError


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def data(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def tensor(name: str, dims: tuple[int, ...], kind: int, body: bytes) -> bytes:
    return data(5, b"".join(number(1, d) for d in dims) + number(2, kind) + data(8, name) + body)


def node(name: str, op: str, inputs: list[str], outputs: list[str]) -> bytes:
    parts = [data(1, i) for i in inputs] + [data(2, o) for o in outputs]
    return data(1, b"".join(parts) + data(3, name) + data(4, op))


@pytest.fixture
def write(tmp_path):
    def write_graph(*parts: bytes):
        path = tmp_path / "model.onnx"
        path.write_bytes(number(1, 8) + data(2, "test") + data(7, b"".join(parts)))
        return path

    return write_graph


def test_every_storage_form(write):
    f32 = np.array([[1.5, -2.0, 3.25]], dtype="<f4")
    f16 = np.array([0.5, -1.0], dtype="<f2")
    i64 = np.array([-3, 1 << 40], dtype="<i8")
    halves = b"".join(varint(int(bits)) for bits in f16.view("<u2"))
    weights = OnnxWeights(
        write(
            tensor("f32.raw", (1, 3), 1, data(9, f32.tobytes())),
            tensor("f32.packed", (1, 3), 1, data(4, f32.tobytes())),
            tensor(
                "f32.single",
                (1, 3),
                1,
                b"".join(varint(4 << 3 | 5) + struct.pack("<f", v) for v in f32[0]),
            ),
            tensor("f16.raw", (2,), 10, data(9, f16.tobytes())),
            tensor("f16.typed", (2,), 10, data(5, halves)),
            tensor("i64.raw", (2,), 7, data(9, i64.tobytes())),
            tensor("i64.typed", (2,), 7, data(7, b"".join(varint(int(v)) for v in i64))),
            tensor("scalar", (), 1, data(9, f32[0, :1].tobytes())),
            tensor("empty", (0,), 1, b""),
        )
    )
    for name in weights.names():
        expected = {"f32": f32, "f16": f16, "i64": i64}.get(name.split(".")[0])
        if expected is not None:
            value = weights.tensor(name)
            assert value.dtype == torch.from_numpy(expected.copy()).dtype
            assert value.tolist() == expected.tolist()
            assert weights.shape(name) == expected.shape
    assert weights.tensor("scalar").shape == ()
    assert weights.tensor("empty").shape == (0,)


def test_nodes_find_anonymous_tensors_through_identities(write):
    one = data(9, struct.pack("<f", 1.0))
    weights = OnnxWeights(
        write(
            node("", "Identity", ["onnx::W"], ["alias"]),
            node("/a/MatMul", "MatMul", ["x", "onnx::W"], ["y"]),
            node("/b/Add", "Add", ["onnx::B", "y"], ["z"]),
            node("/c/MatMul", "MatMul", ["z", "alias"], ["out"]),
            tensor("onnx::W", (1,), 1, one),
            tensor("onnx::B", (1,), 1, one),
        )
    )
    assert weights.read_by("/a/MatMul") == ["onnx::W"]
    assert weights.read_by("/b/Add") == ["onnx::B"]
    assert weights.read_by("/c/MatMul") == ["onnx::W"]
    assert [n.op for n in weights.nodes()] == ["MatMul", "Add", "MatMul"]
    with pytest.raises(CheckpointError, match="no node '/d/MatMul'"):
        weights.read_by("/d/MatMul")
    with pytest.raises(CheckpointError, match="no tensor 'w'"):
        weights.tensor("w")


def test_identity_cycle_ends(write):
    weights = OnnxWeights(
        write(
            node("/i/Identity", "Identity", ["a"], ["b"]),
            node("/j/Identity", "Identity", ["b"], ["a"]),
            tensor("w", (1,), 1, data(9, b"\0" * 4)),
        )
    )
    assert weights.resolve("a") is None


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (tensor("w", (1,), 1, data(13, b"")), "external data"),
        (tensor("w", (1,), 1, number(14, 1)), "external data"),
        (tensor("w", (1,), 11, data(10, b"\0" * 8)), "data type 11"),
        (tensor("w", (2,), 1, data(9, b"\0" * 4)), "damaged"),
        (tensor("w", (1,), 1, data(9, b"\0" * 3)), "damaged"),
        (tensor("w", (-1,), 1, data(9, b"")), "damaged"),
    ],
)
def test_refused_tensors(write, part, message):
    with pytest.raises(CheckpointError, match=message) as error:
        OnnxWeights(write(part)).tensor("w")
    assert "model.onnx" in str(error.value)


def test_refused_files(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        OnnxWeights(path)
    for content in (b"", b"not a model", number(1, 8)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.onnx"):
            OnnxWeights(path)
