"""What is signed, as bytes: one spelling of every JSON value, and a reader that trusts nothing.

The spelling is that of RFC 8785 for the values used here: keys sorted, no spaces, UTF-8. Numbers
are written as Python writes them, which is the shortest form that reads back the same.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from stepaudio.errors import RecordError

__all__ = ["MAX_BYTES", "Fields", "canonical", "digest", "parse"]

#: Larger files are refused before they are read as JSON.
MAX_BYTES = 1 << 20


def canonical(value: Mapping[str, Any]) -> bytes:
    """The bytes that are signed and hashed.

    Args:
        value: plain JSON values.

    Returns:
        UTF-8 without a newline.

    Raises:
        RecordError: values that JSON does not have, such as NaN or half a surrogate pair.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"this cannot be written as canonical JSON: {error}") from error


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of :func:`canonical`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse(content: bytes, name: str) -> dict[str, Any]:
    """Read one JSON object that anybody may have written.

    Args:
        content: of a file.
        name: of the file, for errors.

    Returns:
        The object.

    Raises:
        RecordError: too large, not UTF-8, not JSON, not an object, too deep, a key twice, or a
            number that is not finite.
    """
    if len(content) > MAX_BYTES:
        raise RecordError(f"{name} has {len(content)} bytes, more than the {MAX_BYTES} allowed")
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one of them
        raise RecordError(f"{name} is not the JSON it should be: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{name} must hold a JSON object, not a {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers that keep the first and readers that keep the last would see different records.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands there twice")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number of JSON")


class Fields:
    """Takes a parsed object apart; whatever is not as expected is a :class:`RecordError`.

    Args:
        values: the object.
        name: of the file, for errors.
        keys: all it must hold, and nothing else.
    """

    def __init__(self, values: object, name: str, keys: Sequence[str]) -> None:
        if not isinstance(values, dict):
            raise RecordError(f"{name}: an object is missing, there is {_kind(values)}")
        missing = [key for key in keys if key not in values]
        surplus = sorted(set(values) - set(keys))
        if missing or surplus:
            said = [f"lacks {missing[0]!r}"] if missing else []
            said += [f"has the unknown field {surplus[0]!r}"] if surplus else []
            raise RecordError(f"{name} {' and '.join(said)}")
        self._values = values
        self._name = name

    def text(self, key: str, *, longest: int = 1000) -> str:
        """A string of at most ``longest`` characters."""
        value = self._values[key]
        if not isinstance(value, str) or len(value) > longest:
            raise self._wrong(key, f"a text of at most {longest} characters")
        return value

    def hexadecimal(self, key: str, digits: int) -> str:
        """A string of exactly so many lower-case hexadecimal digits."""
        value = self.text(key, longest=digits)
        if len(value) != digits or set(value) - set("0123456789abcdef"):
            raise self._wrong(key, f"{digits} hexadecimal digits")
        return value

    def integer(self, key: str) -> int:
        """A whole number of any size and sign."""
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number")
        return value

    def whole(self, key: str) -> int:
        """A whole number from 0 to 2**53."""
        value = self.integer(key)
        if not 0 <= value <= 1 << 53:
            raise self._wrong(key, "a whole number from 0 to 2**53")
        return value

    def numbers(self, key: str, *, longest: int = 4096) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(self._number(key, value) for value in self.items(key, longest=longest))

    def texts(self, key: str, *, longest: int = 100) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(key, longest=longest)
        if not all(isinstance(value, str) and len(value) <= 1000 for value in values):
            raise self._wrong(key, "a list of texts")
        return tuple(values)

    def items(self, key: str, *, longest: int = 1000) -> list[Any]:
        """A list of anything."""
        value = self._values[key]
        if not isinstance(value, list) or len(value) > longest:
            raise self._wrong(key, f"a list of at most {longest} entries")
        return value

    def part(self, key: str, keys: Sequence[str]) -> Fields:
        """An object within."""
        return Fields(self._values[key], f"{self._name}: {key}", keys)

    def has(self, key: str) -> bool:
        """Whether the field is not null."""
        return self._values[key] is not None

    def _number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong(key, "a finite number")
        return number

    def _wrong(self, key: str, wanted: str) -> RecordError:
        return RecordError(
            f"{self._name}: {key!r} must be {wanted}, not {_kind(self._values[key])}"
        )


def _kind(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
