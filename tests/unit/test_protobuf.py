"""The wire-format reader: hand-encoded messages, and refusal of everything malformed."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from stepaudio.errors import CheckpointError
from stepaudio.protobuf import FIXED32, LENGTH_DELIMITED, VARINT, fields


def test_scalars_by_hand() -> None:
    data = b"\x08\x96\x01" + b"\x12\x03abc" + b"\x1d" + struct.pack("<f", 1.5)
    first, second, third = fields(data, "f")
    assert (first.number, first.wire_type, first.unsigned()) == (1, VARINT, 150)
    assert (second.number, second.wire_type, second.text()) == (2, LENGTH_DELIMITED, "abc")
    assert (third.number, third.wire_type, third.float32()) == (3, FIXED32, 1.5)


def test_negative_int64_is_ten_bytes() -> None:
    (field,) = fields(b"\x08" + b"\xff" * 9 + b"\x01", "f")
    assert field.signed() == -1
    assert field.unsigned() == 2**64 - 1
    assert field.integers() == [-1]


def test_sixty_four_bit_field_is_kept_as_bytes() -> None:
    (field,) = fields(b"\x09" + struct.pack("<d", 2.5), "f")
    assert not isinstance(field.value, int)
    assert struct.unpack("<d", field.value) == (2.5,)


def test_packed() -> None:
    (ints,) = fields(b"\x0a\x04\x01\x96\x01\x02", "f")
    assert ints.integers() == [1, 150, 2]
    payload = np.array([1.0, -2.0], dtype="<f4").tobytes()
    (floats,) = fields(b"\x0a\x08" + payload, "f")
    np.testing.assert_array_equal(floats.floats(), np.array([1.0, -2.0], dtype=np.float32))
    (single,) = fields(b"\x0d" + struct.pack("<f", 3.0), "f")
    np.testing.assert_array_equal(single.floats(), np.array([3.0], dtype=np.float32))


def test_embedded_message_and_empty() -> None:
    (outer,) = fields(b"\x0a\x02\x08\x07", "f")
    (inner,) = outer.message()
    assert inner.unsigned() == 7
    assert list(fields(b"", "f")) == []


def test_payload_is_a_view() -> None:
    data = b"\x0a\x02xy"
    (field,) = fields(data, "f")
    assert field.payload().obj is data


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # ends inside a number
        b"\x08\x80",
        b"\x0a\x05ab",  # fewer bytes than announced
        b"\x0d\x00\x00",
        b"\x09\x00",
        b"\x0b",  # groups are not supported
        b"\x0f",
        b"\x00\x01",  # field number 0
        b"\x08" + b"\xff" * 11,  # overlong number
    ],
)
def test_malformed_data_names_the_file(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"some\.file"):
        list(fields(data, "some.file"))


def test_wrong_kind_of_field() -> None:
    (number,) = fields(b"\x08\x01", "some.file")
    (data,) = fields(b"\x0a\x01\xff", "some.file")
    for read in (number.payload, number.text, number.float32, number.floats, number.message):
        with pytest.raises(CheckpointError, match=r"some\.file"):
            read()
    for read in (data.unsigned, data.signed, data.float32, data.floats, data.text, data.integers):
        with pytest.raises(CheckpointError, match=r"some\.file"):
            read()
