"""``stepaudio tokenize`` of a manifest: a whole corpus to codes, here or on a cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stepaudio.cli.options import check_device
from stepaudio.cli.screen import Screen, tell

__all__ = ["tokenize_manifest"]


def tokenize_manifest(
    manifest: Path,
    folder: Path,
    *,
    model: str | None,
    device: str,
    per_shard: int,
    batch_size: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Tokenize a corpus; what is there already is kept.

    Args:
        manifest: of the recordings.
        folder: receives the shards.
        model: folder or hub id; None is the embedded one.
        device: where to run.
        per_shard: recordings of a shard.
        batch_size: recordings given to the tokenizer together.
        workers: processes on a Ray cluster; None does without Ray.
        as_json: what to print.
    """
    from stepaudio.data.manifest import read_manifest
    from stepaudio.data.ray_tokenize import tokenize_on_ray
    from stepaudio.data.tokenize import tokenize_corpus
    from stepaudio.devices import resolve_device
    from stepaudio.locate import locate
    from stepaudio.parts import load_part

    check_device(device)
    utterances = read_manifest(manifest)
    build = partial(load_part, locate(model), "tokenizer", device=resolve_device(device))
    with Screen() as screen:
        follow = partial(screen.count, "recordings to codes")
        if workers is None:
            screen.wait("loading the model")
            codes = tokenize_corpus(
                utterances,
                build(),
                folder,
                per_shard=per_shard,
                batch_size=batch_size,
                progress=follow,
            )
        else:
            screen.wait("starting the workers")
            codes = tokenize_on_ray(
                utterances,
                build,
                folder,
                workers=workers,
                per_shard=per_shard,
                batch_size=batch_size,
                progress=follow,
            )
    values = {
        "command": "tokenize",
        "input": str(manifest),
        "output": str(folder),
        "recordings": len(codes),
        "failed": len(codes.errors),
        "seconds": round(codes.seconds, 2),
    }
    failed = f", {len(codes.errors)} failed (see index.jsonl)" if codes.errors else ""
    tell(values, f"wrote {folder}: {len(codes)} recordings, {codes.seconds:.1f} s{failed}", as_json)
