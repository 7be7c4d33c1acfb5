"""A corpus to codes, in shards: a run that was killed goes on where it was.

Which recording goes into which shard follows from the manifest alone, so shards can be made in any
order, by anybody, and come out the same byte for byte; :mod:`stepaudio.data.ray_tokenize` does so
on many machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stepaudio.audio import Audio
from stepaudio.data.manifest import Utterance
from stepaudio.data.shards import (
    ShardHeader,
    TokenShards,
    read_header,
    shard_path,
    write_index,
    write_shard,
)
from stepaudio.errors import AudioError, DataError
from stepaudio.hub import weights_digest
from stepaudio.interfaces import Tokenizer
from stepaudio.tokenizers.interleave import truncate
from stepaudio.types import SpeechTokens

__all__ = ["ShardPlan", "tokenize_corpus", "tokenizer_name"]


def tokenizer_name(tokenizer: Tokenizer) -> str:
    """Class, and a digest of weights and settings, so that codes of two models are never mixed.

    Args:
        tokenizer: any implementation.

    Returns:
        The name; without a digest if it is no ``nn.Module``.
    """
    name = type(tokenizer).__name__
    if not isinstance(tokenizer, nn.Module):
        return name
    settings = hashlib.sha256(repr(getattr(tokenizer, "config", None)).encode()).hexdigest()[:8]
    return f"{name} {weights_digest(tokenizer)} {settings}"


@dataclass(frozen=True)
class ShardPlan:
    """A corpus dealt out to shards.

    Attributes:
        utterances: recordings, in the order of the manifest.
        folder: where the shards go.
        per_shard: recordings of a shard.
        batch_size: recordings given to the tokenizer together.

    Raises:
        DataError: no recording, or sizes below one.
    """

    utterances: tuple[Utterance, ...]
    folder: Path
    per_shard: int = 256
    batch_size: int = 8

    def __post_init__(self) -> None:
        if not self.utterances or self.per_shard < 1 or self.batch_size < 1:
            raise DataError(
                "tokenizing needs at least one recording, one per shard and one per batch; got "
                f"{len(self.utterances)}, {self.per_shard} and {self.batch_size}"
            )

    def __len__(self) -> int:
        """Number of shards."""
        return -(-len(self.utterances) // self.per_shard)

    def part(self, number: int) -> tuple[Utterance, ...]:
        """Recordings of a shard.

        Args:
            number: of the shard.

        Returns:
            The recordings.
        """
        return self.utterances[number * self.per_shard : (number + 1) * self.per_shard]

    def is_done(self, number: int, tokenizer: str) -> bool:
        """Whether a shard is there.

        Args:
            number: of the shard.
            tokenizer: name of what makes the codes.

        Returns:
            True if it need not be made.

        Raises:
            DataError: there is a shard of other recordings or of another tokenizer.
        """
        path = shard_path(self.folder, number)
        if not path.exists():
            return False
        header = read_header(path)
        wanted = tuple(utterance.id for utterance in self.part(number))
        if header.ids != wanted or header.tokenizer != tokenizer:
            what = "recordings" if header.ids != wanted else f"tokenizer ({header.tokenizer})"
            raise DataError(
                f"{path} was made from other {what}; choose an empty folder, or remove the shards "
                "of the old run"
            )
        return True

    def make(self, number: int, tokenizer: Tokenizer, name: str) -> None:
        """Tokenize the recordings of a shard and write it.

        A recording that cannot be read or is too short is noted with its reason, so that one bad
        file does not end a long run.

        Args:
            number: of the shard.
            tokenizer: makes the codes.
            name: of the tokenizer.
        """
        utterances = self.part(number)
        tokens: list[SpeechTokens] = []
        errors: dict[str, str] = {}
        for start in range(0, len(utterances), self.batch_size):
            loaded: dict[str, Audio] = {}
            for utterance in utterances[start : start + self.batch_size]:
                try:
                    loaded[utterance.id] = Audio.load(utterance.path)
                except AudioError as error:
                    errors[utterance.id] = str(error)
            found = _encode(tokenizer, loaded)
            for key, result in found.items():
                if isinstance(result, AudioError):
                    errors[key] = str(result)
                else:
                    tokens.append(truncate(result))
        spec = tokenizer.spec.tokens
        header = ShardHeader(
            tuple(utterance.id for utterance in utterances),
            errors,
            name,
            spec.linguistic_size,
            spec.semantic_size,
        )
        write_shard(shard_path(self.folder, number), header, tokens)

    def finish(self) -> TokenShards:
        """Write the index once every shard is there.

        Returns:
            The codes.
        """
        write_index(self.folder, len(self))
        return TokenShards(self.folder)


def tokenize_corpus(
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    per_shard: int = 256,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> TokenShards:
    """Turn a corpus into codes; shards that are there already are kept.

    Args:
        utterances: recordings, in the order of the manifest.
        tokenizer: makes the codes.
        folder: where the shards go.
        per_shard: recordings of a shard, and what is lost at most when the run is killed.
        batch_size: recordings given to the tokenizer together; does not change the codes.
        progress: told after every shard how many recordings are done, and of how many.

    Returns:
        The codes.

    Raises:
        DataError: no recording, or the folder holds shards of another run.
    """
    plan = ShardPlan(tuple(utterances), Path(folder), per_shard, batch_size)
    name = tokenizer_name(tokenizer)
    for number in range(len(plan)):
        if not plan.is_done(number, name):
            plan.make(number, tokenizer, name)
        if progress is not None:
            progress(min((number + 1) * per_shard, len(utterances)), len(utterances))
    return plan.finish()


@torch.no_grad()
def _encode(
    tokenizer: Tokenizer, recordings: dict[str, Audio]
) -> dict[str, SpeechTokens | AudioError]:
    """Codes by id; if the batch is refused, each recording by itself shows which one it was."""
    if not recordings:
        return {}
    try:
        codes = tokenizer.encode(list(recordings.values()))
        return dict(zip(recordings, codes, strict=True))
    except AudioError as error:
        if len(recordings) == 1:
            return dict.fromkeys(recordings, error)
    results: dict[str, SpeechTokens | AudioError] = {}
    for key, audio in recordings.items():
        results |= _encode(tokenizer, {key: audio})
    return results
