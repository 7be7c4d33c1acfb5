"""Real processes: killed at any moment, two instead of one, sharing a model out."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
from training_debug import SPEC, debug_lm, losses, run_sft, sft_config, write_completions

from stepaudio.training.metrics import read_metrics
from stepaudio.training.packed_stage import plan_epochs
from stepaudio.training.rows import completion_rows

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("runs")
    write_completions(folder / "rows.jsonl")
    run_sft(str(folder / "whole"), str(folder / "rows.jsonl"))
    return folder


def test_killed_again_and_again(whole: Path) -> None:
    """SIGKILL after every third step or so, at once or a moment later, until it is done."""
    # A server that has imported everything forks the processes, so that each starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_debug", "accelerate", "matplotlib.figure"])
    run, data = whole / "killed", str(whole / "rows.jsonl")
    kills, steps = 0, len(losses(whole / "whole"))
    while not (run / "model").exists():
        process = context.Process(target=run_sft, args=(str(run), data))
        process.start()
        seen = len(read_metrics(run / "metrics.jsonl"))
        goal = min(seen + 3, steps) + kills % 2
        while process.is_alive() and len(read_metrics(run / "metrics.jsonl")) < goal:
            time.sleep(0.002)
        time.sleep(0.004 * (kills % 4))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        assert kills < 60, "it never gets any further"
    assert kills >= 3
    assert losses(run) == losses(whole / "whole")
    files = [folder / "model" / "model.safetensors" for folder in (run, whole / "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.fixture(scope="module")
def two(whole: Path) -> Path:
    """The same run by two processes, and more in :mod:`two_processes`."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    done = subprocess.run(
        [*launch, str(TESTS / "two_processes.py"), str(whole)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return whole


def test_two_processes_are_one(two: Path) -> None:
    alone, both = (read_metrics(two / name / "metrics.jsonl") for name in ("whole", "two"))
    assert [row["loss"] for row in both] == pytest.approx([row["loss"] for row in alone], rel=1e-4)
    # In a step of one pack the other process computes it too, without counting it.
    config = sft_config("", str(two / "rows.jsonl"))
    plan = plan_epochs(config, completion_rows(config.data, SPEC).lengths)
    assert {len(packs) for packs in plan} == {1, 2}
    assert [(row["step"], row["weight"]) for row in both] == [
        (row["step"], row["weight"]) for row in alone
    ]


def test_a_model_that_is_shared_out(two: Path) -> None:
    """What the processes assert of it; the last thing they write is the whole model."""
    weights = safetensors.torch.load_file(two / "shared-out" / "whole.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {
        f"lm.{name}": value.shape for name, value in debug_lm().state_dict().items()
    }
