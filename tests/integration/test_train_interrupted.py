"""Real processes: killed at any moment, two instead of one, sharing a model out."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_debug import losses, run_sft, write_completions

from stepaudio.training.metrics import read_metrics

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


def torchrun(script: Path, *arguments: str) -> None:
    """Two processes on this machine, which find the library and the files of the tests."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    done = subprocess.run(
        [*launch, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_are_one(whole: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom training_debug import run_sft\nrun_sft(sys.argv[1], sys.argv[2])\n"
    )
    torchrun(script, str(whole / "two"), str(whole / "rows.jsonl"))
    one, two = (read_metrics(whole / name / "metrics.jsonl") for name in ("whole", "two"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    # Where a step has an odd number of packs, one process learns one of them without counting it.
    assert [(row["step"], row["weight"]) for row in two] == [
        (row["step"], row["weight"]) for row in one
    ]


def test_a_model_that_is_shared_out(tmp_path: Path) -> None:
    torchrun(TESTS / "sharded_run.py", str(tmp_path))
    assert (tmp_path / "whole.safetensors").exists()
