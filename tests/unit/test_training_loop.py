from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from accelerate.state import AcceleratorState
from torch import nn
from training_debug import Toy, losses

from stepaudio.errors import CheckpointError, ConfigError, OutputExistsError, TrainingError
from stepaudio.training import checkpoint, loop
from stepaudio.training.config import TrainingConfig
from stepaudio.training.loop import train
from stepaudio.training.metrics import read_metrics
from stepaudio.training.stage import Group, Mean


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training here; one test looks at the picture."""
    if "leaves" not in request.node.name:
        monkeypatch.setattr(loop, "draw_curves", lambda rows, path: None)


def config(folder: Path, **chosen: Any) -> TrainingConfig:
    return TrainingConfig(
        **{"output": str(folder), "learning_rate": 0.05, "save_every": 2, "device": "cpu", **chosen}
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model" / "weights.safetensors")


def test_a_run_leaves_model_metrics_curves_and_one_checkpoint(tmp_path: Path) -> None:
    told = []
    stage = Toy(config(tmp_path / "run"))
    model = train(stage, progress=lambda done, total, row: told.append((done, total, row)))
    assert model == tmp_path / "run" / "model"
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert told == [(row["step"], 6, row) for row in rows]
    assert {row["weight"] for row in rows} == {8.0}
    assert rows[-1]["learning_rate"] == pytest.approx(1e-6)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000006"]
    torch.testing.assert_close(weights(tmp_path / "run")["0.weight"], stage.model[0].weight.data)


def test_the_loss_is_the_mean_over_the_whole_step(tmp_path: Path) -> None:
    """One plain AdamW step on all rows at once, by hand."""
    stage = Toy(config(tmp_path / "run", max_grad_norm=1e9))
    stage.steps = 1
    plain = Toy(config(tmp_path / "none"))
    (rows,) = [torch.cat(plain.batches(0))]
    optimizer = torch.optim.AdamW(plain.model.parameters(), lr=0.05, weight_decay=0.0)
    loss = (plain.model(rows)[:, 0] - rows.sum(1)).square().mean()
    loss.backward()
    optimizer.step()
    train(stage)
    assert losses(tmp_path / "run") == [pytest.approx(loss.item(), rel=1e-6)]
    for ours, theirs in zip(stage.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("sizes", [(8,), (2, 2, 2, 2), (1, 7)])
def test_accumulation_does_not_change_the_losses(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    train(Toy(config(tmp_path / "a")))
    train(Toy(config(tmp_path / "b"), sizes))
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), rel=1e-5)


class Crash(BaseException):
    """Stands for a kill: nothing in the library catches it."""


def test_dying_anywhere_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write, rename and removal is once the last thing a run does."""
    monkeypatch.setattr(checkpoint.os, "fsync", lambda handle: None)
    train(Toy(config(tmp_path / "whole")))
    left = [0]

    def dies(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    dies(checkpoint.safetensors.torch, "save_file")
    dies(checkpoint.shutil, "rmtree")
    dies(Path, "rename")
    crashes = 0
    while True:
        left[0] = crashes + 1
        run = tmp_path / f"run{crashes}"
        try:
            train(Toy(config(run, save_every=4)))
        except Crash:
            crashes += 1
            left[0] = 0
            train(Toy(config(run, save_every=4)))
            assert losses(run) == losses(tmp_path / "whole")
            found = weights(run)
            for name, value in weights(tmp_path / "whole").items():
                assert torch.equal(found[name], value), name
            left_over = [p for p in run.rglob("*") if "unfinished" in p.name]
            assert not left_over
        else:
            break
    # Three files and a rename for each of two checkpoints, a file and a rename for the model.
    assert crashes >= 10


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    train(Toy(config(tmp_path / "run")))
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert train(Toy(config(tmp_path / "run"))).is_dir()
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_rows_of_steps_no_checkpoint_has_are_dropped(tmp_path: Path) -> None:
    train(Toy(config(tmp_path / "run")))
    whole = losses(tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    lines = log.read_text().splitlines()
    (tmp_path / "run" / "model" / "weights.safetensors").unlink()
    (tmp_path / "run" / "model").rmdir()
    log.write_text("\n".join([*lines, json.dumps({"step": 7, "loss": 0.0}), '{"step": 8, "lo']))
    train(Toy(config(tmp_path / "run")))
    assert losses(tmp_path / "run") == whole


def test_other_settings_are_refused_and_force_starts_anew(tmp_path: Path) -> None:
    train(Toy(config(tmp_path / "run")))
    other = config(tmp_path / "run", learning_rate=0.1)
    with pytest.raises(OutputExistsError, match=r"learning_rate was 0\.05, now 0\.1"):
        train(Toy(other))
    train(Toy(other), force=True)
    train(Toy(dataclasses.replace(other, output=str(tmp_path / "fresh"))))
    assert losses(tmp_path / "run") == losses(tmp_path / "fresh")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("all my work")
    for force in (False, True):
        with pytest.raises(OutputExistsError, match=r"no training run .*no run\.json"):
            train(Toy(config(tmp_path)), force=force)
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "thesis.txt"]


def test_starting_anew_may_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is still a run that may be overwritten."""
    train(Toy(config(tmp_path / "run")))

    def dies(*args: Any, **kwargs: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_atomic", dies)
        with pytest.raises(Crash):
            train(Toy(config(tmp_path / "run")), force=True)
    train(Toy(config(tmp_path / "run", learning_rate=0.1)), force=True)
    assert len(losses(tmp_path / "run")) == 6


class Reader(Toy):
    """Begins with a file of which the config tells only the name."""

    text = "first"

    def fingerprint(self) -> dict[str, str]:
        return {"text": self.text}


def stopped(stage: Toy) -> None:
    def look(done: int, total: int, row: object) -> None:
        if done == 3:
            raise Crash

    with pytest.raises(Crash):
        train(stage, progress=look)


def test_a_run_that_began_with_something_else_is_refused(tmp_path: Path) -> None:
    stopped(Reader(config(tmp_path / "run")))
    before = (tmp_path / "run" / "run.json").read_bytes()
    other = Reader(config(tmp_path / "run"))
    other.text, other.steps = "second", 4
    with pytest.raises(OutputExistsError, match=r"steps \(6, now 4\), text \(first, now second\)"):
        train(other)
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    train(Reader(config(tmp_path / "run")))
    with pytest.raises(OutputExistsError, match="began with something else"):
        train(other)
    train(other, force=True)
    assert len(losses(tmp_path / "run")) == 4


def test_a_run_that_does_not_tell_what_it_began_with_goes_on(tmp_path: Path) -> None:
    stopped(Reader(config(tmp_path / "run")))
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    assert told.pop("began_with") == {"steps": 6, "text": "first"}
    file.write_text(json.dumps(told))
    train(Reader(config(tmp_path / "run")))
    train(Toy(config(tmp_path / "whole")))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    # From now on it does.
    assert json.loads(file.read_text())["began_with"] == {"steps": 6, "text": "first"}


def test_a_warm_up_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="warmup_steps is 6 but the training has only 6 steps"):
        train(Toy(config(tmp_path / "run", warmup_steps=6)))
    assert not (tmp_path / "run").exists()
    train(Toy(config(tmp_path / "run", warmup_steps=5)))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(Toy(config(tmp_path / "run")))
    stage = Toy(config(tmp_path / "run"))
    stage.model = nn.Sequential(nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(stage.model.parameters())
    latest = checkpoint.latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert latest is not None
    with pytest.raises(CheckpointError, match=r"of another model: .*2\.weight"):
        checkpoint.load_checkpoint(latest, stage.model, optimizer)


class Resting(Toy):
    """The second half of the model moves first; the first half rests for three steps."""

    def groups(self) -> list[Group]:
        one, two = (list(self.model[i].parameters()) for i in (0, 2))
        return [
            Group(one, lambda step: 0.0 if step < 3 else 0.01, weight_decay=0.5),
            Group(two, lambda step: 0.05),
        ]


def test_a_resting_group_stays_bit_identical_and_resumes(tmp_path: Path) -> None:
    stage = Resting(config(tmp_path / "run"))
    before = [p.detach().clone() for p in stage.model[0].parameters()]
    second = stage.model[2].weight.detach().clone()

    def look(done: int, total: int, row: object) -> None:
        rests = all(map(torch.equal, stage.model[0].parameters(), before))
        assert rests == (done <= 3)
        if done == 3:
            raise Crash

    with pytest.raises(Crash):
        train(stage, progress=look)
    assert not torch.equal(stage.model[2].weight, second)
    train(Resting(config(tmp_path / "run")))
    train(Resting(config(tmp_path / "whole")))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    row = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert (row["learning_rate"], row["learning_rate_2"]) == (0.0, 0.05)


class Idle(Toy):
    """Has nothing to learn in one step."""

    def batches(self, step: int) -> list[torch.Tensor]:
        return [] if step == 2 else super().batches(step)


def test_a_step_without_batches_moves_nothing(tmp_path: Path) -> None:
    train(Idle(config(tmp_path / "run")))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [("loss" in row) for row in rows] == [True, True, False, True, True, True]


class Broken(Toy):
    """Its loss is a division by zero."""

    def losses(self, model: nn.Module, batch: torch.Tensor) -> dict[str, Mean]:
        return {"loss": Mean((model(batch) / 0.0).sum() * math.inf, 1.0)}


def test_divergence_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="step 0: the gradient is not finite"):
        train(Broken(config(tmp_path / "run")))


def test_bfloat16_and_one_precision_in_a_process(tmp_path: Path) -> None:
    train(Toy(config(tmp_path / "float32")))
    half = Toy(config(tmp_path / "half", precision="bf16"))
    with pytest.raises(TrainingError, match="one process can train in one precision"):
        train(half)
    AcceleratorState._reset_state()
    try:
        train(half)
    finally:
        AcceleratorState._reset_state()
    assert losses(tmp_path / "half") != losses(tmp_path / "float32")
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "float32"), rel=0.1)
    assert half.model[0].weight.dtype == torch.float32
