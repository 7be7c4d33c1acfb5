"""The one training loop, on accelerate: every stage runs through :func:`train`.

A step takes all micro-batches of the stage, shared out among the processes, and minimises their
weighted mean. Gradients are sums until the last micro-batch and are then divided by the weight of
the whole step; so accumulation and several processes give what one large batch would, whatever
the sizes of its parts.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stepaudio.devices import resolve_device
from stepaudio.errors import ConfigError, MissingExtraError, OutputExistsError, TrainingError
from stepaudio.hub import read_json, write_atomic
from stepaudio.plotting import require_matplotlib
from stepaudio.seeds import derive_seed, scoped_seed
from stepaudio.training.checkpoint import (
    clear_unfinished,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    whole_weights,
    write_folder,
)
from stepaudio.training.config import TrainingConfig
from stepaudio.training.metrics import MetricsLog, draw_curves, read_metrics
from stepaudio.training.stage import Group, Stage

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["StepProgress", "train"]

#: Called after every step with the steps done, the steps in all, and the row of the log.
StepProgress = Callable[[int, int, Mapping[str, float]], None]

#: Seconds between two pictures of a run that goes on.
_DRAW_EVERY = 60.0
_RUN, _MODEL, _CHECKPOINTS = "run.json", "model", "checkpoints"
#: In ``run.json``, beside the settings: what they led to when the run began.
_BEGAN = "began_with"


def train(stage: Stage[Any], *, force: bool = False, progress: StepProgress | None = None) -> Path:
    """Train, or go on where a run with the same settings, data and start stopped.

    In a program started by ``torchrun`` or ``accelerate launch`` every process calls it.

    Args:
        stage: what to train and how; ``stage.config.output`` is the folder of the run.
        force: start anew in a folder that holds another run.
        progress: told of every step, in the first process.

    Returns:
        Folder of the trained model, ``output/model``.

    Raises:
        ConfigError: the warm-up is not over before the last step.
        MissingExtraError: accelerate or matplotlib is not installed.
        OutputExistsError: the folder holds something else, or a run with other settings, other
            data or another model to start from.
        TrainingError: the training diverged, or this process cannot run it.
    """
    warmup = stage.config.warmup_steps
    if warmup >= stage.steps:
        raise ConfigError(
            f"warmup_steps is {warmup} but the training has only {stage.steps} steps: the rate "
            "would never fall; warm up for fewer steps, or train for more"
        )
    require_matplotlib()
    accelerator = _accelerator(stage.config)
    out = Path(stage.config.output)
    settings = _settings(stage)
    _check_folder(out, settings, anew=force)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _open_folder(out, settings, anew=force)
    accelerator.wait_for_everyone()
    model_folder = out / _MODEL
    if not model_folder.exists():
        _run(stage, accelerator, out, progress)
    return model_folder


def _run(
    stage: Stage[Any], accelerator: Accelerator, out: Path, progress: StepProgress | None
) -> None:
    config, groups = stage.config, stage.groups()
    optimizer = torch.optim.AdamW(
        [{"params": list(g.parameters), "weight_decay": g.weight_decay} for g in groups],
        lr=config.learning_rate,
        betas=config.adam_betas,
        eps=config.adam_epsilon,
    )
    model, prepared = accelerator.prepare(stage.model, optimizer)
    stage.start(accelerator, model)
    done = 0
    checkpoint = latest_checkpoint(out / _CHECKPOINTS)
    if checkpoint is not None:
        done, state = load_checkpoint(checkpoint, model, optimizer)
        stage.load_state(state)
    first = accelerator.is_main_process
    log = MetricsLog(out, done, tensorboard=config.tensorboard) if first else None
    model.train()
    drawn = time.monotonic()
    while done < stage.steps:
        began = time.perf_counter()
        row = _step(stage, accelerator, model, prepared, groups, done)
        done += 1
        row = {"step": done, **row, "seconds": round(time.perf_counter() - began, 4)}
        if log is not None:
            log.write(row)
            if progress is not None:
                progress(done, stage.steps, row)
        if done % config.save_every == 0 or done == stage.steps:
            save_checkpoint(
                out / _CHECKPOINTS, done, model, optimizer, stage.state(),
                writes=first, keep=config.keep_checkpoints,
            )  # fmt: skip
            due = done == stage.steps or time.monotonic() - drawn > _DRAW_EVERY
            if log is not None and due:
                draw_curves(read_metrics(log.path), out / "curves.png")
                drawn = time.monotonic()
    weights = whole_weights(model)
    if first:
        write_folder(out / _MODEL, lambda folder: stage.export(weights, folder))
    accelerator.wait_for_everyone()


def _step(
    stage: Stage[Any],
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: Any,
    groups: list[Group],
    step: int,
) -> dict[str, float]:
    from accelerate.utils import send_to_device

    rates = [group.rate(step) for group in groups]
    for settings, rate in zip(optimizer.param_groups, rates, strict=True):
        settings["lr"] = rate
    batches = stage.batches(step)
    if not batches:
        return {f"learning_rate{_number(i)}": rate for i, rate in enumerate(rates)}
    processes = accelerator.num_processes
    rounds = math.ceil(len(batches) / processes)
    sums: dict[str, Tensor] = {}
    for turn in range(rounds):
        index = turn * processes + accelerator.process_index
        counts = float(index < len(batches))
        batch = send_to_device(batches[index % len(batches)], accelerator.device)
        last = turn == rounds - 1
        seed = derive_seed(stage.config.seed, f"step {step} micro-batch {index}")
        silent = nullcontext() if last else accelerator.no_sync(model)
        with silent, scoped_seed(seed, accelerator.device):
            means = stage.losses(model, batch)
            accelerator.backward(means["loss"].total * counts)
        for name, mean in means.items():
            total = mean.total.detach().double()
            pair = counts * torch.stack([total, torch.as_tensor(mean.weight).to(total)])
            sums[name] = sums[name] + pair if name in sums else pair
    stacked = accelerator.reduce(torch.stack(list(sums.values())), reduction="sum").tolist()
    found = dict(zip(sums, stacked, strict=True))
    weight = found["loss"][1]
    if weight <= 0:
        raise TrainingError(f"step {step}: no micro-batch has anything to learn from")
    for settings, rate in zip(optimizer.param_groups, rates, strict=True):
        for parameter in settings["params"]:
            if rate == 0:
                parameter.grad = None  # a group at rest must not even gather momentum
            elif parameter.grad is not None:
                parameter.grad.mul_(processes / weight)  # sums to means
    clipped = accelerator.clip_grad_norm_(model.parameters(), stage.config.max_grad_norm)
    # Where the model is shared out, so is the norm.
    norm = float(clipped.full_tensor() if hasattr(clipped, "full_tensor") else clipped)
    if not math.isfinite(norm):
        raise TrainingError(
            f"step {step}: the gradient is not finite (loss {found['loss'][0] / weight:.4g}); "
            "lower learning_rate, or look at the rows of this step"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    row = {name: total / count if count else math.nan for name, (total, count) in found.items()}
    row |= {"weight": weight, "grad_norm": norm}
    return row | {f"learning_rate{_number(i)}": rate for i, rate in enumerate(rates)}


def _number(group: int) -> str:
    return "" if group == 0 else f"_{group + 1}"


def _accelerator(config: TrainingConfig) -> Accelerator:
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingExtraError(
            "training needs accelerate; install it with: pip install 'stepaudio[train]'"
        ) from error
    # accelerate looks for several processes of a CPU only when told that it is one.
    cpu = config.device == "cpu" or resolve_device().type == "cpu"
    try:
        return Accelerator(mixed_precision="bf16" if config.precision == "bf16" else "no", cpu=cpu)
    except ValueError as error:
        raise TrainingError(
            f"accelerate cannot run this here ({error}); one process can train in one precision "
            "and on one kind of device only"
        ) from error


def _settings(stage: Stage[Any]) -> dict[str, Any]:
    """What a run is known by, as JSON would give it back."""
    began = {"steps": stage.steps, **stage.fingerprint()}
    said = {"stage": type(stage).__name__, **dataclasses.asdict(stage.config), _BEGAN: began}
    loaded: dict[str, Any] = json.loads(json.dumps(said))
    return loaded


def _check_folder(out: Path, settings: Mapping[str, Any], *, anew: bool) -> None:
    if not (out / _RUN).exists():
        # Not even anew: only what a run has written may be removed for another.
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputExistsError(
                f"{out} exists and is no training run (it has no {_RUN}), so it is never "
                "overwritten; choose another output"
            )
        return
    if anew:
        return
    before = read_json(out / _RUN)
    names = {*before, *settings} - {_BEGAN}
    other = sorted(k for k in names if before.get(k) != settings.get(k))
    if other:
        name = other[0]
        raise OutputExistsError(
            f"{out} holds a run with other settings: {', '.join(other)} "
            f"({name} was {before.get(name)!r}, now {settings.get(name)!r}); "
            "choose another output, or ask to overwrite it"
        )
    # Runs of earlier versions do not tell what they began with.
    began, now = before.get(_BEGAN, {}), settings[_BEGAN]
    changed = sorted(k for k in began.keys() & now.keys() if began[k] != now[k])
    if changed:
        told = [f"{k} ({settings.get(k) or f'{began[k]}, now {now[k]}'})" for k in changed]
        raise OutputExistsError(
            f"{out} holds a run that began with something else: {', '.join(told)}; bring back what "
            "it began with, choose another output, or ask to overwrite it"
        )


def _open_folder(out: Path, settings: Mapping[str, Any], *, anew: bool) -> None:
    if anew and (out / _RUN).exists():
        for name in (_MODEL, _CHECKPOINTS, "tensorboard"):
            shutil.rmtree(out / name, ignore_errors=True)
        # Not the settings, which are replaced below: a folder without them counts as no run.
        for name in ("metrics.jsonl", "curves.png"):
            (out / name).unlink(missing_ok=True)
    text = json.dumps(settings, indent=2) + "\n"
    write_atomic(out / _RUN, lambda path: path.write_text(text, encoding="utf-8"), force=True)
    for folder in (out, out / _CHECKPOINTS):
        clear_unfinished(folder)
