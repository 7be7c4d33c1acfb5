"""Checkpoints: folders of safetensors that appear whole or not at all.

A checkpoint holds the parameters that move, what the optimizer knows of each, by name and
gathered from all processes, and the state of the stage. So it fits any number of processes.
Neither random state nor a place in the data is kept: both follow from the seed and the step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from stepaudio.errors import CheckpointError
from stepaudio.hub import load_tensors, read_json

__all__ = [
    "clear_unfinished",
    "latest_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "whole_weights",
    "write_folder",
]

_MODEL, _OPTIMIZER, _STAGE = "model.safetensors", "optimizer.safetensors", "stage.safetensors"
_ABOUT = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8})")
_UNFINISHED = ".unfinished-"
# Between the name of a parameter, which has dots, and that of a moment.
_OF = "//"


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a folder that appears complete or not at all, whenever the process ends.

    Args:
        path: must not exist; its parents are made.
        fill: called with an empty folder beside ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{_UNFINISHED}{path.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    fill(temporary)
    # A rename can reach the disk before what it renames: a power cut would leave empty files.
    for file in (*temporary.rglob("*"), temporary):
        _flush(file)
    temporary.rename(path)
    _flush(path.parent)


def clear_unfinished(folder: Path) -> None:
    """Remove what a run that was killed left half written.

    Args:
        folder: that :func:`write_folder` has written into; it need not exist.
    """
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder, None without any."""
    return max((p for p in folder.glob("step-*") if _NAME.fullmatch(p.name)), default=None)


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Tensor],
    *,
    writes: bool,
    keep: int,
) -> None:
    """Write a checkpoint and remove old ones. Every process must call it.

    Args:
        folder: of all checkpoints.
        step: steps done.
        model: as prepared for this machine.
        optimizer: of the model.
        state: of the stage.
        writes: whether this is the process that writes.
        keep: how many of the newest to keep.
    """
    gathered = _gathered(ignore_frozen_params=True)
    weights = _weights(model, gathered)
    known = _moments(model, optimizer, gathered)
    if not writes:
        return
    moments = {
        f"{name}{_OF}{moment}": value
        for name, values in known["state"].items()
        for moment, value in values.items()
    }

    def fill(path: Path) -> None:
        for name, tensors in ((_MODEL, weights), (_OPTIMIZER, moments), (_STAGE, state)):
            plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            safetensors.torch.save_file(plain, path / name, metadata={"format": "pt"})
        about = json.dumps({"format": 1, "step": step})
        (path / _ABOUT).write_text(about + "\n", encoding="utf-8")

    path = folder / f"step-{step:08d}"
    if not path.exists():
        write_folder(path, fill)
    for old in sorted(p for p in folder.glob("step-*") if _NAME.fullmatch(p.name))[:-keep]:
        # First out of the names that count, because removing a folder takes several steps.
        doomed = folder / f"{_UNFINISHED}{old.name}"
        old.rename(doomed)
        shutil.rmtree(doomed)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Tensor]]:
    """Put a model and its optimizer where they were. Every process must call it.

    Args:
        path: of one checkpoint.
        model: as prepared for this machine.
        optimizer: of the model; its rates stay those of the run.

    Returns:
        Steps done, and the state of the stage.

    Raises:
        CheckpointError: the checkpoint is damaged or of another model.
    """
    about = read_json(path / _ABOUT)
    if about.get("format") != 1 or not isinstance(about.get("step"), int):
        raise CheckpointError(f"{path / _ABOUT} is not of this version of stepaudio")
    weights = load_tensors(path / _MODEL)
    # What this process holds: gathering would leave the others without even the names.
    own = StateDictOptions(ignore_frozen_params=True)
    different = sorted(set(weights) ^ set(_weights(model, own)))
    if different:
        raise CheckpointError(f"{path} is of another model: {', '.join(different[:5])} not in both")
    # Not strict: frozen parameters are not in it.
    whole = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, cast("dict[str, Any]", weights), options=whole)
    kept = load_tensors(path / _OPTIMIZER)
    moments = _moments(model, optimizer, own)
    # What the optimizer had never touched is as at the beginning: zeros, step 0.
    moments["state"] = {
        name: {
            moment: kept.get(f"{name}{_OF}{moment}", torch.zeros(value.shape, dtype=value.dtype))
            for moment, value in values.items()
        }
        for name, values in moments["state"].items()
    }
    set_optimizer_state_dict(model, optimizer, moments, options=whole)
    return about["step"], load_tensors(path / _STAGE)


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights of a model, gathered from all processes. Every process must call it.

    Args:
        model: as prepared for this machine.

    Returns:
        Tensors on the CPU by their names in the unprepared model; empty in all processes but the
        first, where the model is shared out.
    """
    return _weights(model, _gathered())


def _weights(model: nn.Module, options: StateDictOptions) -> dict[str, Tensor]:
    return cast("dict[str, Tensor]", get_model_state_dict(model, options=options))


def _moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, options: StateDictOptions
) -> dict[str, Any]:
    """``{"state": {parameter: {moment: tensor}}, "param_groups": ...}``."""
    return cast("dict[str, Any]", get_optimizer_state_dict(model, optimizer, options=options))


def _gathered(*, ignore_frozen_params: bool = False) -> StateDictOptions:
    return StateDictOptions(
        full_state_dict=True, cpu_offload=True, ignore_frozen_params=ignore_frozen_params
    )


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
