"""Real processes: killed at any moment, or two instead of one, they train the same."""

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

ROOT = Path(__file__).parents[2]


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


def test_two_processes_are_one(whole: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom training_debug import run_sft\nrun_sft(sys.argv[1], sys.argv[2])\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(script), str(whole / "two"), str(whole / "rows.jsonl")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(whole / "two") == pytest.approx(losses(whole / "whole"), rel=1e-4)
    one, two = (read_metrics(whole / name / "metrics.jsonl") for name in ("whole", "two"))
    # Sixteen packs in steps of two, the last one alone: one process then learns nothing new.
    assert [row["weight"] for row in one] == [row["weight"] for row in two]
    assert [row["step"] for row in two] == list(range(1, len(one) + 1))
