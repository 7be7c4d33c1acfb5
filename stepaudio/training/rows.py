"""Rows of token ids, one JSON object per line, with the column names of TRL.

Fine-tuning: ``{"prompt": [ids], "completion": [ids]}``. Preferences: ``{"prompt": [ids],
"chosen": [ids], "rejected": [ids], "margin": 4.0, "origin": "human"}``, the last two optional.
Ids are taken as they are: an answer that shall end must end with the model's end id. A file is
checked whole when it is opened, then read row by row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, overload

import torch
from torch import Tensor

from stepaudio.errors import DataError
from stepaudio.types import LMSpec

__all__ = [
    "ORIGINS",
    "CompletionRow",
    "PairRow",
    "Rows",
    "completion_rows",
    "pair_rows",
    "token_ids",
]

#: Who preferred an answer: people on a scale of 1 to 5, a judging model on 1 to 10, or unknown.
ORIGINS = ("human", "judge", "")


class CompletionRow(NamedTuple):
    """What to say to a prompt.

    Attributes:
        prompt: ``[T]`` int64.
        completion: ``[R]`` int64, the assistant's turn with its end.
    """

    prompt: Tensor
    completion: Tensor

    @property
    def tokens(self) -> int:
        """Tokens of the text this row becomes."""
        return len(self.prompt) + len(self.completion)


class PairRow(NamedTuple):
    """Two answers to a prompt, one of them preferred.

    Attributes:
        prompt: ``[T]`` int64.
        chosen: ``[R]`` int64, the better answer.
        rejected: ``[Q]`` int64, the worse.
        margin: how much better, in points of the scale it was rated on; 0 if unknown.
        origin: one of :data:`ORIGINS`.
    """

    prompt: Tensor
    chosen: Tensor
    rejected: Tensor
    margin: float = 0.0
    origin: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of the two texts this row becomes."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


class _Row(Protocol):
    @property
    def tokens(self) -> int:
        """Tokens of the text this row becomes."""


R = TypeVar("R", bound=_Row)


class Rows(Sequence[R], Generic[R]):
    """Rows of a file that is read where it lies.

    Args:
        path: a JSONL file; empty lines are passed over.
        parse: one object to one row; a ValueError says what is wrong with it.

    Attributes:
        lengths: tokens of each row.
        digest: 32 hexadecimal digits of the SHA-256 of the file.

    Raises:
        DataError: the file cannot be read, has no rows, or a row is wrong; the message names the
            line.
    """

    def __init__(self, path: str | Path, parse: Callable[[Mapping[str, Any]], R]) -> None:
        self.path = Path(path)
        self._parse: Callable[[Mapping[str, Any]], R] = parse
        self._lines: list[tuple[int, int]] = []
        self.lengths: list[int] = []
        offset, digest = 0, hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    digest.update(line)
                    if line.strip():
                        self.lengths.append(self._row(line, number).tokens)
                        self._lines.append((number, offset))
                    offset += len(line)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        if not self._lines:
            raise DataError(f"{path} has no rows")
        self.digest = digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        """Read one row, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number, offset = self._lines[index]
        with self.path.open("rb") as file:
            file.seek(offset)
            return self._row(file.readline(), number)

    def _row(self, line: bytes, number: int) -> R:
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"must be an object, not a {type(value).__name__}")
            return self._parse(value)
        except ValueError as error:  # the errors of JSON and of UTF-8 are ValueErrors too
            raise DataError(f"{self.path}, line {number}: {error}") from error


def completion_rows(path: str | Path, spec: LMSpec) -> Rows[CompletionRow]:
    """Open rows for fine-tuning.

    Args:
        path: a JSONL file.
        spec: of the model that shall learn them.

    Returns:
        The rows.

    Raises:
        DataError: a row is wrong; the message names the line.
    """

    def parse(row: Mapping[str, Any]) -> CompletionRow:
        prompt, completion = (token_ids(row, name, spec) for name in CompletionRow._fields)
        _check_room(spec, prompt, completion)
        return CompletionRow(prompt, completion)

    return Rows(path, parse)


def pair_rows(path: str | Path, spec: LMSpec) -> Rows[PairRow]:
    """Open preferences.

    Args:
        path: a JSONL file.
        spec: of the model that shall learn them.

    Returns:
        The rows.

    Raises:
        DataError: a row is wrong; the message names the line.
    """

    def parse(row: Mapping[str, Any]) -> PairRow:
        prompt, chosen, rejected = (token_ids(row, name, spec) for name in PairRow._fields[:3])
        _check_room(spec, prompt, chosen)
        _check_room(spec, prompt, rejected)
        if torch.equal(chosen, rejected):
            raise ValueError("'chosen' and 'rejected' are the same")
        margin, origin = row.get("margin", 0.0), row.get("origin", "")
        if isinstance(margin, bool) or not isinstance(margin, int | float):
            raise ValueError(f"'margin' must be a number, not {margin!r}")
        if not (math.isfinite(margin) and margin >= 0):
            raise ValueError(f"'margin' is {margin} but must be 0 or more")
        if origin not in ORIGINS:
            raise ValueError(f"'origin' must be 'human' or 'judge', not {origin!r}")
        return PairRow(prompt, chosen, rejected, float(margin), origin)

    return Rows(path, parse)


def token_ids(row: Mapping[str, Any], name: str, spec: LMSpec) -> Tensor:
    """Ids in one column of a row.

    Args:
        row: as read.
        name: of the column.
        spec: of the model that shall read them.

    Returns:
        ``[T]`` int64, at least one.

    Raises:
        ValueError: no such column, or not ids of this model.
    """
    value = row.get(name)
    if value is None:
        raise ValueError(f"has no {name!r}")
    if not (isinstance(value, list) and value and all(type(one) is int for one in value)):
        raise ValueError(f"{name!r} must be a list of at least one token id")
    if min(value) < 0 or max(value) >= spec.vocab_size:
        raise ValueError(f"{name!r} has ids outside 0..{spec.vocab_size - 1}")
    return torch.tensor(value)


def _check_room(spec: LMSpec, prompt: Tensor, answer: Tensor) -> None:
    length = len(prompt) + len(answer)
    if length > spec.context_length:
        raise ValueError(f"has {length} tokens, the model reads {spec.context_length}")
