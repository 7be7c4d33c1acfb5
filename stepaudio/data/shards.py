"""Codes of a corpus on disk: safetensors files that each hold many recordings, and an index.

A shard is whole or not there. It says itself which recordings it holds, which could not be
tokenized and why, and which tokenizer made it; ``index.jsonl`` repeats that for people and other
programs. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from stepaudio.data.manifest import read_jsonl, write_jsonl
from stepaudio.errors import DataError
from stepaudio.hub import write_atomic
from stepaudio.types import SpeechTokens, TokenSpec

__all__ = [
    "INDEX_FILE",
    "ShardHeader",
    "TokenShards",
    "read_header",
    "shard_path",
    "write_index",
    "write_shard",
]

INDEX_FILE = "index.jsonl"
_HEADER_KEY = "stepaudio"


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        ids: of the recordings, in the order of the manifest.
        errors: why a recording has no codes, by id.
        tokenizer: name and digest of what made the codes.
        linguistic_size: codes of the first codebook.
        semantic_size: codes of the second codebook.
    """

    ids: tuple[str, ...]
    errors: Mapping[str, str]
    tokenizer: str
    linguistic_size: int
    semantic_size: int


def shard_path(folder: str | Path, number: int) -> Path:
    """Where a shard lies.

    Args:
        folder: of the corpus.
        number: of the shard, from zero.

    Returns:
        Its path.
    """
    return Path(folder) / f"{number:05d}.safetensors"


def write_shard(path: Path, header: ShardHeader, tokens: Sequence[SpeechTokens]) -> None:
    """Write a shard; an existing one is replaced.

    Args:
        path: of the shard.
        header: of the shard.
        tokens: whole units of the recordings without errors, in their order.
    """
    empty = torch.zeros(0, dtype=torch.int32)
    tensors = {
        "linguistic": torch.cat([empty, *(t.linguistic.int() for t in tokens)]),
        "semantic": torch.cat([empty, *(t.semantic.int() for t in tokens)]),
        "units": torch.tensor([t.num_units for t in tokens], dtype=torch.int32),
    }
    # One JSON text under one key: the order of several would not be the same in every process.
    metadata = {_HEADER_KEY: json.dumps(vars(header), ensure_ascii=False, sort_keys=True)}
    write_atomic(
        path, lambda part: safetensors.torch.save_file(tensors, part, metadata=metadata), force=True
    )


def read_header(path: str | Path) -> ShardHeader:
    """What a shard says of itself, without reading its codes.

    Args:
        path: of the shard.

    Returns:
        The header.

    Raises:
        DataError: it is damaged, or no shard.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            values: dict[str, Any] = json.loads((file.metadata() or {})[_HEADER_KEY])
        return ShardHeader(**{**values, "ids": tuple(values["ids"])})
    except Exception as error:  # safetensors raises its own type from a compiled module
        raise DataError(
            f"{path} is not a shard of codes or is damaged ({error}); remove it and run again"
        ) from error


class TokenShards(Mapping[str, SpeechTokens]):
    """Codes of a corpus by the ids of its recordings, read from disk when asked for.

    Args:
        folder: with shards and their index.

    Raises:
        DataError: there is no index, it is malformed, or the shards are of several tokenizers.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        #: Why recordings have no codes, by id.
        self.errors: dict[str, str] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._units: dict[str, list[int]] = {}
        index = self.folder / INDEX_FILE
        for number, row in read_jsonl(index):
            try:
                if row.get("error"):
                    self.errors[row["id"]] = row["error"]
                    continue
                starts = self._units.setdefault(row["shard"], [0])
                self._places[row["id"]] = (row["shard"], len(starts) - 1)
                starts.append(starts[-1] + row["units"])
            except (KeyError, TypeError) as error:
                raise DataError(f"{index}:{number}: not a line of an index: {error}") from error
        headers = {
            (header.tokenizer, header.linguistic_size, header.semantic_size)
            for header in (read_header(self.folder / name) for name in self._units)
        }
        if len(headers) > 1:
            raise DataError(f"{self.folder} holds codes of several tokenizers: {sorted(headers)}")
        tokenizer, *sizes = headers.pop() if headers else ("", 1024, 4096)
        #: Name and digest of what made the codes.
        self.tokenizer = tokenizer
        #: The codebooks.
        self.spec = TokenSpec(*sizes)

    def __getitem__(self, key: str) -> SpeechTokens:
        """Codes of one recording."""
        name, number = self._places[key]
        first, last = self._units[name][number : number + 2]
        with safetensors.safe_open(self.folder / name, framework="pt") as file:

            def codes(stream: str, per_unit: int) -> Tensor:
                part: Tensor = file.get_slice(stream)[per_unit * first : per_unit * last]
                return part.long()

            return SpeechTokens(
                codes("linguistic", self.spec.linguistic.per_unit),
                codes("semantic", self.spec.semantic.per_unit),
                self.spec,
            )

    def __iter__(self) -> Iterator[str]:
        """Ids of the recordings that have codes, in the order of the manifest."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many recordings have codes."""
        return len(self._places)

    @property
    def seconds(self) -> float:
        """Duration of all codes."""
        units = sum(starts[-1] for starts in self._units.values())
        return float(units * self.spec.unit_seconds)


def write_index(folder: str | Path, shards: int) -> None:
    """Write the index of shards that are all there; an existing one is replaced.

    Args:
        folder: of the corpus.
        shards: how many there are.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(shards):
            path = shard_path(folder, number)
            header = read_header(path)
            with safetensors.safe_open(path, framework="pt") as file:
                units = iter(file.get_tensor("units").tolist())
            for key in header.ids:
                error = header.errors.get(key)
                about = {"units": next(units)} if error is None else {"error": error}
                yield {"id": key, "shard": path.name, **about}

    write_jsonl(Path(folder) / INDEX_FILE, rows(), force=True)
