"""Reading tensors from foreign files without running anything the files contain.

Published checkpoints come as pickled state dicts, numpy and safetensors files. A pickle is read by
PyTorch's restricted unpickler only, and whatever cannot be read that way is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from stepaudio.errors import CheckpointError
from stepaudio.hub import read_json

__all__ = [
    "ShardedTensors",
    "StateDict",
    "read_numpy",
    "read_state_dict",
    "require_file",
]

_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def require_file(path: Path, what: str) -> Path:
    """Check that a file is there.

    Args:
        path: the file.
        what: what it holds, for the error.

    Returns:
        ``path``.

    Raises:
        CheckpointError: it is not a file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} ({what}) is missing; download the published folder again")
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a flat state dict written by ``torch.save``.

    Only tensors and plain containers are unpickled; a file that names anything else is refused
    before that thing is looked up. Tensors of today's format stay on disk until they are used.

    Args:
        path: the file.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: missing, damaged, unsafe, or not a flat dict of tensors.
    """
    require_file(path, "PyTorch weights")
    try:
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # damage shows as many unrelated types
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and was refused: {reason}"
        ) from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path} must hold a dict of tensors, not {type(loaded).__name__}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} must hold tensors by name, but {name!r} is {type(value).__name__}"
            )
    return dict(loaded)


def read_numpy(path: Path) -> Tensor:
    """Read one numeric numpy array.

    Args:
        path: the ``.npy`` file.

    Returns:
        The array as a tensor.

    Raises:
        CheckpointError: missing, damaged, or holding objects instead of numbers.
    """
    require_file(path, "numpy array")
    try:
        array = np.load(path, allow_pickle=False)
        return torch.from_numpy(np.ascontiguousarray(array))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as a numeric numpy array: {error}") from error


class StateDict:
    """Tensors by name, whose sizes are asked for by name.

    Args:
        path: the file they come from.
        tensors: the tensors; None reads the file.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor] | None = None) -> None:
        self.path = path
        self.tensors = read_state_dict(path) if tensors is None else tensors

    def size(self, name: str, axis: int) -> int:
        """Extent of one axis of a tensor.

        Args:
            name: of the tensor.
            axis: counted from 0.

        Returns:
            The extent.

        Raises:
            CheckpointError: there is no such tensor or axis.
        """
        value = self.tensors.get(name)
        if value is None or value.dim() <= axis:
            raise CheckpointError(
                f"{self.path} has no tensor {name!r} of the expected kind; is it the published one?"
            )
        return value.shape[axis]

    def depth(self, pattern: str) -> int:
        """How many layers there are, numbered from 0 without a gap."""
        return next(i for i in count() if pattern.format(i) not in self.tensors)


class ShardedTensors:
    """Tensors of one or several safetensors files, read one at a time.

    With ``model.safetensors.index.json`` the index says which tensor is in which file; without
    it, all ``model*.safetensors`` of the folder are taken.

    Args:
        folder: where the files are.

    Raises:
        CheckpointError: no files, a missing or damaged file, or files that contradict the index.
    """

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            listed = read_json(index).get("weight_map")
            if not isinstance(listed, dict) or not all(
                isinstance(file, str) and Path(file).name == file for file in listed.values()
            ):
                raise CheckpointError(f"{index} has no weight_map of file names in its own folder")
            paths = [folder / file for file in sorted(set(listed.values()))]
        else:
            listed = None
            paths = sorted(folder.glob("model*.safetensors"))
            if not paths:
                raise CheckpointError(f"{folder} has no model*.safetensors (the language model)")
        self._files = {path: _open(path) for path in paths}
        self._where: dict[str, Path] = {}
        for path, file in self._files.items():
            self._where.update(dict.fromkeys(file.keys(), path))
        if listed is not None and {n: p.name for n, p in self._where.items()} != listed:
            wrong = sorted({n for n, p in self._where.items() if listed.get(n) != p.name})
            wrong += sorted(set(listed) - set(self._where))
            raise CheckpointError(f"{index} and the files it lists differ, e.g. at {wrong[0]!r}")

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._where)

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._where[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return tuple(self._files[self._where[name]].get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype | str:
        """Type of a tensor, without reading it; the file's own name for it if it is unusual."""
        stored = str(self._files[self._where[name]].get_slice(name).get_dtype())
        return _DTYPES.get(stored, stored)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor."""
        value: Tensor = self._files[self._where[name]].get_tensor(name)
        return value


def _open(path: Path) -> Any:
    require_file(path, "a shard of the language model")
    try:
        return safetensors.safe_open(path, framework="pt", device="cpu")
    except Exception as error:  # safetensors raises its own type from a compiled module
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
