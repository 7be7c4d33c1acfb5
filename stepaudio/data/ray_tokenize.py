"""The same tokenization on Ray Data: many machines, each making whole shards of one corpus.

All machines must see the recordings and the folder of the shards under the same paths, as on a
network file system. A shard comes out the same wherever it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stepaudio.data.manifest import Utterance
from stepaudio.data.shards import TokenShards
from stepaudio.data.tokenize import ShardPlan, tokenizer_name
from stepaudio.errors import DataError, MissingExtraError
from stepaudio.interfaces import Tokenizer

__all__ = ["tokenize_on_ray"]


class _ShardMaker:
    """One worker: its own tokenizer, shard after shard.

    Args:
        plan: which recordings go where.
        build: makes the tokenizer, on the machine of the worker.
    """

    def __init__(self, plan: ShardPlan, build: Callable[[], Tokenizer]) -> None:
        self.plan = plan
        self.tokenizer = build()
        self.name = tokenizer_name(self.tokenizer)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make one shard unless it is there; a refusal travels back as text."""
        number = int(row["number"])
        try:
            if not self.plan.is_done(number, self.name):
                self.plan.make(number, self.tokenizer, self.name)
        except DataError as error:
            return {"number": number, "problem": str(error)}
        return {"number": number, "problem": ""}


def tokenize_on_ray(
    utterances: Sequence[Utterance],
    build: Callable[[], Tokenizer],
    folder: str | Path,
    *,
    workers: int,
    per_shard: int = 256,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> TokenShards:
    """Turn a corpus into codes on a Ray cluster: the one that is connected, else a local one.

    Args:
        utterances: recordings, in the order of the manifest.
        build: makes the tokenizer on each worker; must be picklable, e.g. a ``functools.partial``
            of ``from_pretrained``.
        folder: where the shards go, seen by all machines.
        workers: processes with a tokenizer each.
        per_shard: recordings of a shard; as in :func:`stepaudio.data.tokenize.tokenize_corpus`.
        batch_size: recordings given to a tokenizer together.
        progress: told after every shard how many recordings are done, and of how many.

    Returns:
        The codes, as :func:`stepaudio.data.tokenize.tokenize_corpus` makes them.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: no recording, or the folder holds shards of another run.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            f"tokenizing on a cluster needs Ray Data ({error}); "
            "install it with: pip install 'stepaudio[ray]'"
        ) from error
    plan = ShardPlan(tuple(utterances), Path(folder).resolve(), per_shard, batch_size)
    rows = ray.data.from_items(
        [{"number": number} for number in range(len(plan))], override_num_blocks=len(plan)
    )
    results = rows.map(
        _ShardMaker,
        fn_constructor_kwargs={"plan": plan, "build": build},
        concurrency=min(workers, len(plan)),
    )
    done = 0
    for result in results.iter_rows():
        if result["problem"]:
            raise DataError(result["problem"])
        done += len(plan.part(int(result["number"])))
        if progress is not None:
            progress(done, len(utterances))
    return plan.finish()
