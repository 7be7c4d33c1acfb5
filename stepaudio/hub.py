"""Saving and finding models: ``config.json`` + ``model.safetensors`` in a folder, or a hub id.

Nothing here unpickles anything. Files appear atomically: a crash leaves the old file or none.
Loading needs the memory of the weights once, in the type and at the place they are wanted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import Self

from stepaudio.configs import build_config
from stepaudio.errors import CheckpointError, ConfigError, OutputExistsError

__all__ = [
    "Pretrained",
    "Uninitialized",
    "fill",
    "load_tensors",
    "read_json",
    "read_tensor",
    "resolve_folder",
    "weights_digest",
    "write_atomic",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

T = TypeVar("T")


def write_atomic(
    path: str | Path,
    write: Callable[[Path], object],
    *,
    force: bool = False,
    private: bool = False,
) -> Path:
    """Write a file through a temporary neighbour and one rename.

    Args:
        path: where the file shall appear; parent folders are made.
        write: called with the temporary path, which has the same suffix as ``path``.
        force: allow replacing an existing file.
        private: only the owner may read and write it, from the first byte on.

    Returns:
        ``path``.

    Raises:
        OutputExistsError: ``path`` exists and ``force`` is False.
    """
    path = Path(path)
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; choose another name or ask to overwrite it")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        if not private:
            # mkstemp makes files private; give the result the permissions any new file would have.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.

    Returns:
        The object.

    Raises:
        CheckpointError: the file is missing, is not JSON or is not an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; is this a stepaudio model folder?") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: the file.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; is this a stepaudio model folder?")
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # safetensors raises its own type from a compiled module
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def resolve_folder(
    name: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    files: Sequence[str] | None = None,
) -> Path:
    """Find a model: an existing folder as it is, anything else as a hub id.

    Args:
        name: a folder, or ``"owner/name"``.
        revision: branch, tag or commit of a hub id.
        local_files_only: do not use the network, only the cache.
        files: patterns of the files to download from the hub, where ``*`` also stands for
            slashes; None is all of them.

    Returns:
        A local folder.

    Raises:
        CheckpointError: neither a folder nor a hub id that can be had.
    """
    if Path(name).is_dir():
        return Path(name)
    text = str(name)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise CheckpointError(f"{text!r} is neither a folder nor a hub id of the form owner/name")
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                text,
                revision=revision,
                local_files_only=local_files_only,
                allow_patterns=None if files is None else list(files),
            )
        )
    except Exception as error:  # network, permission and lookup errors have no common base
        raise CheckpointError(f"cannot get {text!r} from the hub: {error}") from error


class Pretrained(nn.Module):
    """Gives an ``nn.Module`` built from one frozen config ``from_pretrained``/``save_pretrained``.

    A subclass sets ``config_class`` and takes the config as its only constructor argument, kept
    as ``self.config``. Half-precision weights on disk are loaded as float32 by default.

    Attributes:
        folder: where the weights can be read again; None of a module that was not read.
        offload: keep them in memory only while they are needed; see :mod:`stepaudio.offload`.
    """

    config_class: ClassVar[type[Any]]
    config: Any
    folder: Path | None = None
    offload: bool = False
    _unloaded: bool = False

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: torch.dtype | Callable[[str], torch.dtype] | None = None,
        weights: Mapping[str, Tensor] | None = None,
        force: bool = False,
    ) -> Path:
        """Write ``config.json`` and ``model.safetensors``.

        Args:
            folder: made if needed.
            dtype: store floating tensors in this type, or each in the type a function of its name
                gives; None keeps each tensor's own.
            weights: what to write instead of the module's own tensors, such as those a training
                has gathered from several processes.
            force: allow replacing existing files.

        Returns:
            The folder.

        Raises:
            OutputExistsError: a file exists and ``force`` is False.
        """
        folder = Path(folder)
        freed = self._unloaded

        def stored(name: str, value: Tensor) -> Tensor:
            if dtype is None or not value.is_floating_point():
                return value
            return value.to(dtype(name) if callable(dtype) else dtype)

        self.reload()
        tensors = {
            name: stored(name, value).detach().cpu().contiguous().clone()
            for name, value in (self.state_dict() if weights is None else weights).items()
        }
        if freed:
            self.unload()
        config = json.dumps(dataclasses.asdict(self.config), indent=2) + "\n"
        write_atomic(
            folder / WEIGHTS_FILE,
            lambda path: safetensors.torch.save_file(tensors, path, metadata={"format": "pt"}),
            force=force,
        )
        write_atomic(
            folder / CONFIG_FILE,
            lambda path: path.write_text(config, encoding="utf-8"),
            force=force,
        )
        return folder

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        offload: bool = False,
    ) -> Self:
        """Build from a folder written by :meth:`save_pretrained`.

        No weight is initialised first, and each goes from the mapped file straight to its type
        and place. The global random state is not used.

        Args:
            folder: a local folder.
            dtype: floating type to hold the weights in.
            device: where the module shall be.
            offload: do not read the weights now; see :mod:`stepaudio.offload`.

        Returns:
            The module in evaluation mode.

        Raises:
            CheckpointError: missing files, unknown settings, missing or surplus tensors.
        """
        return cls._built(folder)._placed(dtype, device, offload)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory, or have never been in a file."""
        return not self._unloaded

    def unload(self) -> None:
        """Free the weights; :meth:`reload` reads them again from their folder.

        What was changed in memory since they were read is lost. A model that was not read from a
        folder keeps its weights.
        """
        if self.folder is None or self._unloaded:
            return
        for tensor in self.state_dict(keep_vars=True).values():
            tensor.data = tensor.data.new_empty(0)
        self._unloaded = True

    def reload(self) -> None:
        """Read the weights again, if they were freed, to where the module now is.

        Raises:
            CheckpointError: the files are gone or damaged.
        """
        if self.folder is not None and self._unloaded:
            self._fill(self.folder / WEIGHTS_FILE)
            self._unloaded = False

    @classmethod
    def _built(cls, folder: str | Path) -> Self:
        """The module of a folder, its names checked, its parameters not read yet."""
        folder = Path(folder)
        config = config_from_dict(cls.config_class, read_json(folder / CONFIG_FILE), folder)
        path = folder / WEIGHTS_FILE
        with Uninitialized():
            model = cls(config)
        _check_names(model, load_tensors(path), str(path))
        model.folder = folder
        return model

    def _placed(self, dtype: torch.dtype, device: torch.device | str, offload: bool) -> Self:
        """Read the weights to their type and place, or only say where that will be."""
        self.offload = offload
        if offload:
            for tensor in self.state_dict(keep_vars=True).values():
                wanted = dtype if isinstance(tensor, nn.Parameter) else tensor.dtype
                tensor.data = torch.empty(0, dtype=wanted, device=device)
            self._unloaded = True
        else:
            assert self.folder is not None
            self._fill(self.folder / WEIGHTS_FILE, dtype, device)
        return self.to(device, dtype).eval()

    def _fill(
        self,
        path: Path,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Read every tensor, by default to the type and place it already has."""
        fill(self.state_dict(keep_vars=True), path, dtype, device)


def fill(
    targets: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Read tensors of a safetensors file into those of a module.

    The objects stay the same, so what a model shares stays shared.

    Args:
        targets: by their names in the file.
        path: of the file.
        dtype: of floating parameters; None is that of each. Buffers keep theirs.
        device: None is that of each.

    Raises:
        CheckpointError: a tensor cannot be read.
    """
    for name, target in targets.items():
        cast = dtype is not None and isinstance(target, nn.Parameter)
        wanted = dtype if cast and target.is_floating_point() else target.dtype
        value = read_tensor(path, name)
        target.data = value.to(target.device if device is None else device, wanted, copy=True)


def read_tensor(path: Path, name: str) -> Tensor:
    """One tensor of a safetensors file, mapped.

    Args:
        path: the file. It is opened for each, because what was read of a mapped file counts as
            memory of the process until it is closed.
        name: of the tensor.

    Returns:
        The tensor, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged, or lacks it.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            value: Tensor = file.get_tensor(name)
            return value
    except Exception as error:  # safetensors raises its own type from a compiled module
        raise CheckpointError(f"{path}: cannot read {name}: {error}") from error


def weights_digest(module: nn.Module) -> str:
    """Tell apart models of one class.

    Args:
        module: any.

    Returns:
        Twelve hexadecimal digits of the SHA-256 of its parameters and buffers.
    """
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


class Uninitialized(TorchFunctionMode):
    """Leaves the parameters of modules built inside as they are allocated.

    What changes a parameter in place is not done. Memory that nothing has written to costs
    nothing, and buffers, which constructors may compute, are real.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else next(iter(kwargs.values()), None)
        name = getattr(func, "__name__", "")
        fills = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if fills and isinstance(first, nn.Parameter):
            return first
        return func(*args, **kwargs)


def config_from_dict(config_class: type[T], values: Mapping[str, Any], source: object) -> T:
    """Build the frozen config of a model or file from plain JSON values.

    Args:
        config_class: the dataclass.
        values: its fields; nested dataclasses as objects.
        source: named in errors.

    Returns:
        The config.

    Raises:
        CheckpointError: unknown or missing fields, values of another type or that the config
            refuses.
    """
    try:
        return build_config(config_class, values, str(source))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def load_strict(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict and name everything that does not fit.

    Args:
        model: receives the tensors.
        tensors: by name.
        source: named in errors.

    Raises:
        CheckpointError: missing, surplus or wrongly shaped tensors.
    """
    _check_names(model, tensors, source)
    model.load_state_dict(dict(tensors))


def _check_names(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    wanted = model.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    surplus = sorted(set(tensors) - set(wanted))
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(tensors))
        if tensors[name].shape != wanted[name].shape
    ]
    problems = []
    for label, names in (("missing", missing), ("not known", surplus), ("wrong shape", shapes)):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            problems.append(f"{label}: {', '.join(names[:5])}{more}")
    if problems:
        raise CheckpointError(
            f"{source} does not fit {type(model).__name__}; {'; '.join(problems)}"
        )
