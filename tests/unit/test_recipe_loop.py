"""The training loop of the recipes: resuming, its log, who draws the batches, Muon."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recipes.nano.loop import run
from recipes.nano.machine import ACCELERATOR_SCALE, Machine
from recipes.nano.muon import Muon, orthogonalize
from recipes.nano.prefetch import Batch, Batches

STEP_SECONDS = 0.5


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every step takes as long."""
    pytest.importorskip("matplotlib", reason="curves are drawn with matplotlib")
    ticks = itertools.count()
    monkeypatch.setattr(Machine, "clock", lambda _: next(ticks) * STEP_SECONDS)


class Toy:
    """Learns the sum of its inputs; drops out, so it needs PyTorch's random numbers too."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
        self.seen: list[float] = []
        self.stop_after = 10**9

    def draw(self, rng: np.random.Generator, progress: float) -> Batch:
        rows = 16 if progress < 0.5 else 32
        return {"x": torch.from_numpy(rng.standard_normal((rows, 4)).astype(np.float32))}

    def loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        if len(self.seen) == self.stop_after:
            raise KeyboardInterrupt
        self.seen.append(progress)
        error = self.model(batch["x"]) - batch["x"].sum(1, keepdim=True)
        return {"loss": error.square().mean(), "error": error.abs().mean()}

    def train(self, out: Path, steps: int, *, save_every: float = 1e9) -> None:
        run(
            out=out, models={"model": self.model}, draw=self.draw, loss=self.loss,
            minutes=steps * STEP_SECONDS / 60, lr=0.02, muon=("model.0.",), save_every=save_every,
        )  # fmt: skip


@pytest.mark.usefixtures("steady")
def test_stopped_and_resumed_is_as_never_stopped(tmp_path: Path) -> None:
    whole, stopped, resumed = Toy(), Toy(), Toy(seed=1)
    whole.train(tmp_path / "whole", 20)
    stopped.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        stopped.train(tmp_path / "parts", 20, save_every=-1.0)
    resumed.train(tmp_path / "parts", 20)
    assert stopped.seen + resumed.seen == whole.seen
    assert len(resumed.seen) == 13
    states = [
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts")
    ]
    assert states[0]["step"] == states[1]["step"] == 20
    for name, value in states[0]["models"]["model"].items():
        assert torch.equal(value, states[1]["models"]["model"][name]), name


@pytest.mark.usefixtures("steady")
def test_the_log_and_the_curve_show_the_training(tmp_path: Path) -> None:
    toy, saved = Toy(), []
    toy.train(tmp_path, 120)
    assert toy.seen == sorted(toy.seen)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100, 120]
    assert set(rows[0]) == {"step", "minutes", "norm", "loss", "error"}
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert (tmp_path / "curve.png").stat().st_size > 1000
    # Nothing is left to do; the model is still written.
    run(
        out=tmp_path, models={"model": toy.model}, draw=toy.draw, loss=toy.loss, minutes=1.0,
        lr=0.02, muon=("model.0.",), on_save=lambda: saved.append(len(toy.seen)),
    )  # fmt: skip
    assert saved == [120]


@pytest.mark.usefixtures("steady")
def test_muon_trains_the_matrices_asked_for_and_adamw_the_rest(tmp_path: Path) -> None:
    Toy().train(tmp_path, 2)
    by_adamw, by_muon = torch.load(tmp_path / "state.pt", weights_only=True)["optimizers"]
    assert [state["momentum"].shape for state in by_muon["state"].values()] == [(8, 4)]
    assert {tuple(state["exp_avg"].shape) for state in by_adamw["state"].values()} == {
        (8,), (1, 8), (1,),
    }  # fmt: skip


@pytest.mark.usefixtures("steady")
def test_a_step_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    toy = Toy()
    weights: list[Tensor] = []

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        weights.append(toy.model[0].weight.detach().clone())
        value = toy.loss(batch, progress)["loss"]
        return {"loss": value * float("nan") if len(weights) == 3 else value}

    run(
        out=tmp_path, models={"model": toy.model}, draw=toy.draw, loss=loss,
        minutes=5 * STEP_SECONDS / 60, lr=0.02, muon=("model.0.",),
    )  # fmt: skip
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert moved == [True, True, False, True]
    assert all(p.isfinite().all() for p in toy.model.parameters())


def test_processor_time_is_a_budget(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="curves are drawn with matplotlib")
    toy = Toy()
    for minutes in (0.003, 0.006):
        run(
            out=tmp_path, models={"model": toy.model}, draw=toy.draw, loss=toy.loss,
            minutes=minutes, lr=0.02,
        )  # fmt: skip
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        assert minutes * 60 <= state["used"] < minutes * 60 + 1
        assert state["step"] == len(toy.seen)


def test_who_draws_does_not_matter() -> None:
    toy = Toy()
    alone = Batches(toy.draw, 0, Machine())
    expected = [alone.next(0.0)["x"] for _ in range(6)]
    ahead = Batches(toy.draw, 2, Machine(workers=2))
    for x in expected[2:]:
        assert torch.equal(ahead.next(0.0)["x"], x)
    assert not torch.equal(expected[0], expected[1])


def test_an_accelerator_gets_more_to_do() -> None:
    parser = argparse.ArgumentParser()
    Machine.add_arguments(parser)
    threads = ["--threads", str(torch.get_num_threads())]

    def machine(*arguments: str) -> Machine:
        return Machine.from_arguments(parser.parse_args([*arguments, *threads]))

    assert machine("--device", "cpu") == Machine()
    assert machine("--device", "cpu", "--batch-scale", "3", "--workers", "2") == Machine(
        scale=3, workers=2
    )
    # "meta" stands for a device that is not a CPU.
    chosen = machine("--device", "meta")
    assert (chosen.device.type, chosen.scale) == ("meta", ACCELERATOR_SCALE)
    assert 1 <= chosen.workers <= 8
    assert machine("--device", "meta", "--batch-scale", "1", "--workers", "0").scale == 1


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (3, 12, 24)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for scale in (1e-3, 1.0, 1e3):
        result = orthogonalize(scale * matrices)
        assert result.shape == shape
        values = torch.linalg.svdvals(result)
        assert values.min() > 0.3
        assert values.max() < 1.3
    one = matrices.reshape(-1, *shape[-2:])[0]
    assert torch.allclose(orthogonalize(one), orthogonalize(one[None])[0], atol=1e-5)


def test_muon_steps_are_orthogonal_whatever_the_gradient() -> None:
    matrix = nn.Parameter(torch.zeros(8, 16))
    unused = nn.Parameter(torch.ones(8, 16))
    optimizer = Muon([matrix, unused], lr=0.1, weight_decay=0.0)
    matrix.grad = 1e-4 * torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    step = torch.linalg.svdvals(matrix.detach()) / (0.2 * 0.1 * 16**0.5)
    assert ((step > 0.3) & (step < 1.3)).all()
    assert torch.equal(unused, torch.ones(8, 16))
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)
