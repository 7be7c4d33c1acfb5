"""The training loop every stage of this recipe shares: schedule, checkpoints, log and curve."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stepaudio.hub import write_atomic

__all__ = ["run"]


def run(
    *,
    out: str | Path,
    models: Mapping[str, nn.Module],
    loss: Callable[[np.random.Generator, float], dict[str, Tensor]],
    minutes: float,
    lr: float,
    weight_decay: float = 0.01,
    warmup: float = 0.03,
    clip: float = 1.0,
    save_every: float = 120.0,
    no_decay: Iterable[str] = (),
    on_save: Callable[[], object] | None = None,
) -> None:
    """Train for a budget of minutes, resuming from ``out/state.pt`` if it is there.

    The learning rate follows the share of the budget used (linear warm-up, cosine to 2 %). The
    clock counts processor time per thread, so a busy machine trains as much as an idle one. The
    clock, the step, the optimizer and the data generator are part of the checkpoint.

    Args:
        out: folder for ``state.pt``, ``log.jsonl`` and ``curve.png``.
        models: trained together; named in the checkpoint.
        loss: called with the data generator and the share of the budget used; returns named
            losses, of which ``"loss"`` is minimised.
        minutes: processor time per thread.
        lr: peak learning rate of AdamW.
        weight_decay: of matrices.
        warmup: share of the budget with a rising learning rate.
        clip: largest gradient norm.
        save_every: seconds between checkpoints.
        no_decay: parts of parameter names that are never decayed.
        on_save: called after each checkpoint, e.g. to export a model.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    named = [
        (f"{k}.{n}", p)
        for k, m in models.items()
        for n, p in m.named_parameters()
        if p.requires_grad
    ]
    flat = [p for n, p in named if p.dim() < 2 or any(part in n for part in no_decay)]
    matrices = [p for n, p in named if not (p.dim() < 2 or any(part in n for part in no_decay))]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": weight_decay}, {"params": flat, "weight_decay": 0.0}],
        lr=lr, betas=(0.9, 0.98),
    )  # fmt: skip
    rng, step, used = np.random.default_rng(0), 0, 0.0
    state_file = out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        for name, model in models.items():
            model.load_state_dict(state["models"][name])
        optimizer.load_state_dict(state["optimizer"])
        step, used = state["step"], state["used"]
        rng.bit_generator.state = json.loads(state["rng"])

    def save() -> None:
        state = {
            "models": {name: model.state_dict() for name, model in models.items()},
            "optimizer": optimizer.state_dict(),
            "step": step,
            "used": used,
            "rng": json.dumps(rng.bit_generator.state),
        }
        write_atomic(state_file, lambda path: torch.save(state, path), force=True)
        _plot(out)
        if on_save is not None:
            on_save()

    sums: dict[str, float] = {}
    count, last_save, budget = 0, time.monotonic(), minutes * 60
    while used < budget:
        began = time.process_time()
        progress = used / budget
        scale = min(1.0, progress / warmup) if warmup else 1.0
        scale *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        for group in optimizer.param_groups:
            group["lr"] = lr * max(scale, 1e-3)
        losses = loss(rng, progress)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_([p for _, p in named], clip)
        if torch.isfinite(norm):
            optimizer.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        count, step = count + 1, step + 1
        used += (time.process_time() - began) / torch.get_num_threads()
        if count == 50 or used >= budget:
            row = {"step": step, "minutes": round(used / 60, 2), "norm": round(float(norm), 3)}
            row |= {name: round(value / count, 4) for name, value in sums.items()}
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
