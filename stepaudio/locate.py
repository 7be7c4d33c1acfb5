"""Where a model is: embedded, in a folder, on the hub, or still in the published layout.

A model in the published layout is two folders or hub repositories. It is converted once, into the
cache, and loaded from there ever after.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from stepaudio.convert.published import (
    DECODER,
    EDIT_FILES,
    TOKENIZER_FILES,
    convert_published,
)
from stepaudio.errors import CheckpointError
from stepaudio.hub import resolve_folder
from stepaudio.parts import PIPELINE_FILE, ROLES

__all__ = [
    "EMBEDDED",
    "PUBLISHED_EDIT",
    "PUBLISHED_TOKENIZER",
    "cache_folder",
    "locate",
    "published_pair",
    "short_name",
]

#: The model that comes with the package.
EMBEDDED = Path(__file__).parent / "assets" / "nano"

#: The two hub repositories of the published model.
PUBLISHED_EDIT = "stepfun-ai/Step-Audio-EditX"
PUBLISHED_TOKENIZER = "stepfun-ai/Step-Audio-Tokenizer"

# A hub repository may be in our layout or in the published one; nothing else of it is downloaded.
_FILES = (PIPELINE_FILE, *(f"{role}/*" for role in ROLES), *EDIT_FILES)


def cache_folder() -> Path:
    """Where converted models are kept: ``$STEPAUDIO_CACHE``, or ``~/.cache/stepaudio``."""
    chosen = os.environ.get("STEPAUDIO_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "stepaudio"


def short_name(name: str | os.PathLike[str] | None) -> str:
    """What is written down of a model's name.

    Args:
        name: as of :func:`locate`.

    Returns:
        Of a folder only the last part, which says enough; else the name itself.
    """
    if name is None:
        return "embedded"
    return Path(name).resolve().name if Path(name).is_dir() else str(name)


def locate(
    name: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """Find a model and bring it into our layout if need be.

    Args:
        name: a folder, a hub id, or None for the embedded model. The published model may be
            named by either of its hub ids, by its folder ``Step-Audio-EditX`` with
            ``Step-Audio-Tokenizer`` beside it, or by the folder that holds both.
        revision: branch, tag or commit of the hub id named; the other repository of the
            published model is taken as it is now.
        local_files_only: do not use the network, only the cache.

    Returns:
        A pipeline folder.

    Raises:
        CheckpointError: there is no such model, or it cannot be converted.
    """
    if name is None:
        if not (EMBEDDED / PIPELINE_FILE).is_file():
            raise CheckpointError(
                f"this installation has no embedded model ({EMBEDDED / PIPELINE_FILE} is missing); "
                "name a folder or a hub id"
            )
        return EMBEDDED
    local = Path(name)
    if local.is_dir():
        if (local / PIPELINE_FILE).is_file():
            return local
        pair = published_pair(local)
        if pair is None:
            raise CheckpointError(
                f"{local} holds neither {PIPELINE_FILE} nor the published layout "
                f"({DECODER}/); give the folder of a model"
            )
        return _converted(*pair)
    revisions = {os.fspath(name): revision}
    hub_id = PUBLISHED_EDIT if name == PUBLISHED_TOKENIZER else os.fspath(name)
    folder = resolve_folder(
        hub_id,
        revision=revisions.get(hub_id),
        local_files_only=local_files_only,
        files=_FILES,
    )
    if (folder / PIPELINE_FILE).is_file():
        return folder
    if not (folder / DECODER).is_dir():
        raise CheckpointError(
            f"{name} holds neither {PIPELINE_FILE} nor the published layout ({DECODER}/); "
            "is it a stepaudio model?"
        )
    tokenizer = resolve_folder(
        PUBLISHED_TOKENIZER,
        revision=revisions.get(PUBLISHED_TOKENIZER),
        local_files_only=local_files_only,
        files=TOKENIZER_FILES,
    )
    return _converted(folder, tokenizer)


def published_pair(folder: Path) -> tuple[Path, Path] | None:
    """Both folders of the published layout.

    Args:
        folder: either of them, or the one that holds both.

    Returns:
        ``Step-Audio-EditX`` and ``Step-Audio-Tokenizer``; None if this is another layout.

    Raises:
        CheckpointError: the first is there but not the second.
    """
    edit_name, tokenizer_name = (
        repository.split("/")[1] for repository in (PUBLISHED_EDIT, PUBLISHED_TOKENIZER)
    )
    folder = folder.resolve()
    for edit in (folder, folder / edit_name, folder.parent / edit_name):
        if not (edit / DECODER).is_dir():
            continue
        tokenizer = edit.parent / tokenizer_name
        if not tokenizer.is_dir():
            raise CheckpointError(
                f"{edit} is the published model but {tokenizer} is missing; put the published "
                f"{tokenizer_name} beside it"
            )
        return edit, tokenizer
    return None


def _converted(edit: Path, tokenizer: Path) -> Path:
    """Our form of the published model, made on first use."""
    out = cache_folder() / "converted" / _fingerprint(edit, tokenizer)
    if (out / PIPELINE_FILE).is_file():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the last step is one rename even with two at work.
    with tempfile.TemporaryDirectory(prefix=".", dir=out.parent) as temporary:
        made = Path(temporary) / "model"
        convert_published(edit, tokenizer, made)
        try:
            made.rename(out)
        except OSError:
            if not (out / PIPELINE_FILE).is_file():
                raise
    return out


def _fingerprint(*folders: Path) -> str:
    """Changes with the place, the names, the sizes and the times of the files."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(f"{folder.resolve()}\n".encode())
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                state = path.stat()
                line = f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}\n"
                digest.update(line.encode())
    return digest.hexdigest()[:16]
