"""The training loop every stage of this recipe shares: schedule, checkpoints, log and curve."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from recipes.nano.machine import Machine
from recipes.nano.muon import Muon
from recipes.nano.prefetch import Batch, Batches, Draw
from stepaudio.hub import write_atomic

__all__ = ["run"]

#: Steps between two rows of the log.
LOG_EVERY = 50


def run(
    *,
    out: str | Path,
    models: Mapping[str, nn.Module],
    draw: Draw,
    loss: Callable[[Batch, float], dict[str, Tensor]],
    minutes: float,
    lr: float,
    machine: Machine | None = None,
    exact: bool = False,
    weight_decay: float = 0.01,
    warmup: float = 0.03,
    clip: float = 1.0,
    save_every: float = 120.0,
    no_decay: Iterable[str] = (),
    muon: tuple[str, ...] = (),
    on_save: Callable[[], object] | None = None,
) -> None:
    """Train for a budget of minutes, resuming from ``out/state.pt`` if it is there.

    The learning rate follows the share of the budget used (linear warm-up, cosine to 2 %). What
    counts as time is the machine's to say. The clock, the step and the optimizers are part of the
    checkpoint, which does not depend on the device it was written on; batches and PyTorch's own
    random numbers depend on the step alone.

    Args:
        out: folder for ``state.pt``, ``log.jsonl`` and ``curve.png``.
        models: trained together; named in the checkpoint.
        draw: makes a batch, on the CPU and perhaps in another process, from a generator and the
            share of the budget used; so it must not touch the models.
        loss: called with a batch on the device and the share of the budget used; returns named
            losses, of which ``"loss"`` is minimised.
        minutes: the budget.
        lr: peak learning rate.
        machine: where to train; one thread of a CPU by default. The models stay there.
        exact: whether the losses need float32 throughout, as spectra and angles do.
        weight_decay: of matrices.
        warmup: share of the budget with a rising learning rate.
        clip: largest gradient norm.
        save_every: seconds between checkpoints.
        no_decay: parts of parameter names that are never decayed.
        muon: how the names of the matrices and kernels begin that Muon trains; AdamW trains the
            rest.
        on_save: called after each checkpoint, e.g. to export a model.
    """
    out, machine = Path(out), machine or Machine()
    out.mkdir(parents=True, exist_ok=True)
    for model in models.values():
        model.to(machine.device)
    named = [
        (f"{k}.{n}", p)
        for k, m in models.items()
        for n, p in m.named_parameters()
        if p.requires_grad
    ]
    plain: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    by_muon: list[nn.Parameter] = []
    for name, p in named:
        if p.dim() < 2 or any(part in name for part in no_decay):
            plain.append(p)
        elif name.startswith(muon):
            by_muon.append(p)
        else:
            decayed.append(p)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=lr, betas=(0.9, 0.98),
        )
    ]  # fmt: skip
    if by_muon:
        optimizers.append(Muon(by_muon, lr=lr, weight_decay=weight_decay))
    step, used = 0, 0.0
    state_file = out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location="cpu", weights_only=True)
        for name, model in models.items():
            model.load_state_dict(state["models"][name])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        step, used = state["step"], state["used"]

    def save() -> None:
        state = {
            "models": {name: model.state_dict() for name, model in models.items()},
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
            "used": used,
        }
        write_atomic(state_file, lambda path: torch.save(state, path), force=True)
        _plot(out)
        if on_save is not None:
            on_save()

    products = nullcontext if exact else machine.autocast
    batches = Batches(draw, step, machine)
    sums: dict[str, Tensor] = {}
    count, last_save, budget = 0, time.monotonic(), minutes * 60
    while used < budget:
        began = machine.clock()
        progress = used / budget
        scale = min(1.0, progress / warmup) if warmup else 1.0
        scale *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * max(scale, 1e-3)
            optimizer.zero_grad(set_to_none=True)
        batch = batches.next(progress)
        torch.manual_seed(step)
        with products():
            losses = loss(batch, progress)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_([p for _, p in named], clip)
        # The one value read from the device at every step: it leaves a step that went wrong
        # undone, and makes the clock count work that is finished, not work that is ordered.
        if torch.isfinite(norm):
            with products():
                for optimizer in optimizers:
                    optimizer.step()
        for name, value in losses.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        count, step = count + 1, step + 1
        used += machine.clock() - began
        if count == LOG_EVERY or used >= budget:
            row = {"step": step, "minutes": round(used / 60, 2), "norm": round(float(norm), 3)}
            row |= {name: round(float(value) / count, 4) for name, value in sums.items()}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
            sums, count = {}, 0
        if time.monotonic() - last_save > save_every:
            save()
            last_save = time.monotonic()
    save()


def _plot(out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    log = out / "log.jsonl"
    if not log.exists():
        return
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = [n for n in rows[-1] if n not in ("step", "minutes", "norm")]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name in names:
        axes.plot([r["minutes"] for r in rows], [r.get(name, math.nan) for r in rows], label=name)
    axes.set_xlabel("minutes")
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out / "curve.png", dpi=110)
    pyplot.close(figure)
