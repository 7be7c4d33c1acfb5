"""What is signed has one spelling, and what is read is checked field by field."""

from __future__ import annotations

import hashlib

import pytest

from stepaudio.errors import RecordError
from stepaudio.safety.canonical import MAX_BYTES, Fields, canonical, digest, parse


def test_one_spelling() -> None:
    assert canonical({"b": 1, "a": ["é", 0.5, None]}) == '{"a":["é",0.5,null],"b":1}'.encode()
    assert canonical({"a": {"y": 1, "x": 2}}) == canonical({"a": {"x": 2, "y": 1}})
    assert digest({}) == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1}, object()])
def test_what_json_does_not_have(value: object) -> None:
    with pytest.raises(RecordError, match="canonical"):
        canonical({"a": value})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not the JSON"),
        (b"{", "not the JSON"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b"[]", "must hold a JSON object"),
        (b"[" * 100_000, "not the JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not the JSON"),
        (b" " * (MAX_BYTES + 1), "more than"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse(content, "x.json")


def test_fields() -> None:
    fields = Fields(
        {"t": "x", "n": 3, "l": [1, 2.5], "h": "0f", "z": None}, "x.json", ("t", "n", "l", "h", "z")
    )
    assert (fields.text("t"), fields.whole("n"), fields.hexadecimal("h", 2)) == ("x", 3, "0f")
    assert fields.numbers("l") == (1.0, 2.5)
    assert not fields.has("z")
    wrong = [
        lambda: fields.text("n"),
        lambda: fields.whole("t"),
        lambda: fields.hexadecimal("t", 1),
        lambda: fields.numbers("t"),
        lambda: fields.texts("l"),
        lambda: fields.part("t", ()),
        lambda: Fields({"n": True}, "x", ("n",)).whole("n"),
        lambda: Fields({"n": -1}, "x", ("n",)).whole("n"),
        lambda: Fields({"l": [10**400]}, "x", ("l",)).numbers("l"),
        lambda: Fields({}, "x", ("n",)),
        lambda: Fields({"n": 1, "m": 1}, "x", ("n",)),
    ]
    for call in wrong:
        with pytest.raises(RecordError):
            call()
