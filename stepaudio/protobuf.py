"""A small read-only reader of the protobuf wire format.

Two published files are protobuf messages: the sentencepiece model and the ONNX graphs. Only a few
of their fields are needed, so this reads the format itself (protocol buffers encoding, "wire
format") instead of depending on a runtime that would execute generated classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stepaudio.errors import CheckpointError

__all__ = ["FIXED32", "FIXED64", "LENGTH_DELIMITED", "VARINT", "Field", "fields"]

VARINT = 0
FIXED64 = 1
LENGTH_DELIMITED = 2
FIXED32 = 5

_WIRE_NAMES = {
    VARINT: "a varint",
    FIXED64: "64 bits",
    LENGTH_DELIMITED: "length-delimited bytes",
    FIXED32: "32 bits",
}


class Field(NamedTuple):
    """One field of a message, undecoded; the methods read it as what the caller knows it to be.

    Attributes:
        number: field number of the schema.
        wire_type: :data:`VARINT`, :data:`FIXED64`, :data:`LENGTH_DELIMITED` or :data:`FIXED32`.
        value: an unsigned integer for a varint, otherwise a view of the bytes (nothing is copied).
        source: file name used in errors.

    Every method raises :class:`~stepaudio.errors.CheckpointError` when the field holds something
    else than asked for.
    """

    number: int
    wire_type: int
    value: int | memoryview
    source: str

    def unsigned(self) -> int:
        """A varint as an unsigned integer (uint64, enum, bool)."""
        if not isinstance(self.value, int):
            raise self._unexpected("a varint")
        return self.value

    def signed(self) -> int:
        """A varint as int32 or int64: two's complement in 64 bits."""
        value = self.unsigned()
        return value - (1 << 64) if value >> 63 else value

    def float32(self) -> float:
        """A 32-bit float."""
        if self.wire_type != FIXED32 or isinstance(self.value, int):
            raise self._unexpected("a 32-bit float")
        (number,) = struct.unpack("<f", self.value)
        return float(number)

    def payload(self) -> memoryview:
        """Length-delimited bytes, not copied."""
        if self.wire_type != LENGTH_DELIMITED or isinstance(self.value, int):
            raise self._unexpected("bytes")
        return self.value

    def text(self) -> str:
        """A UTF-8 string."""
        try:
            return bytes(self.payload()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{self.source} is damaged: field {self.number} is not UTF-8 text ({error})"
            ) from error

    def message(self) -> Iterator[Field]:
        """The fields of an embedded message."""
        return fields(self.payload(), self.source)

    def integers(self) -> list[int]:
        """Signed integers of a repeated field: packed, or one element of the unpacked form."""
        if self.wire_type == VARINT:
            return [self.signed()]
        data = self.payload()
        numbers = []
        position = 0
        while position < len(data):
            value, position = _varint(data, position, self.source)
            numbers.append(value - (1 << 64) if value >> 63 else value)
        return numbers

    def floats(self) -> npt.NDArray[np.float32]:
        """Floats of a repeated field ``[N]``: packed, or one element of the unpacked form."""
        if self.wire_type == FIXED32:
            return np.array([self.float32()], dtype=np.float32)
        data = self.payload()
        if len(data) % 4:
            raise CheckpointError(
                f"{self.source} is damaged: field {self.number} holds {len(data)} bytes, "
                "not a whole number of 32-bit floats"
            )
        return np.frombuffer(data, dtype="<f4").astype(np.float32)

    def _unexpected(self, wanted: str) -> CheckpointError:
        return CheckpointError(
            f"{self.source} is not the expected kind of file: field {self.number} should be "
            f"{wanted} but is {_WIRE_NAMES[self.wire_type]}"
        )


def fields(data: bytes | memoryview, source: str) -> Iterator[Field]:
    """Walk over the fields of one message, in file order.

    Args:
        data: the encoded message.
        source: file name used in errors.

    Yields:
        One :class:`Field` per occurrence; repeated fields come one by one.

    Raises:
        CheckpointError: truncated or malformed data.
    """
    view = memoryview(data)
    position = 0
    while position < len(view):
        key, position = _varint(view, position, source)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise CheckpointError(f"{source} is not a protobuf file: field number 0")
        if wire_type == VARINT:
            value, position = _varint(view, position, source)
            yield Field(number, wire_type, value, source)
            continue
        if wire_type == LENGTH_DELIMITED:
            size, position = _varint(view, position, source)
        elif wire_type in (FIXED64, FIXED32):
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise CheckpointError(
                f"{source} is not a protobuf file: wire type {wire_type} at byte {position}"
            )
        end = position + size
        if end > len(view):
            raise CheckpointError(
                f"{source} is truncated: field {number} needs {size} bytes, "
                f"{len(view) - position} are left"
            )
        yield Field(number, wire_type, view[position:end], source)
        position = end


def _varint(data: memoryview, position: int, source: str) -> tuple[int, int]:
    """Unsigned varint at ``position`` and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise CheckpointError(f"{source} is truncated: it ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise CheckpointError(f"{source} is not a protobuf file: a number longer than 10 bytes")
