"""PPO and GRPO on a model of a thousandth of a second, with a reward that was planted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rl_debug import grpo, log, ppo, run_ppo
from safetensors.torch import load_file
from training_debug import debug_lm

from stepaudio.lm.step1 import Step1LM
from stepaudio.training.loop import train

ROOT = Path(__file__).parents[2]


def run_grpo(output: str) -> None:
    """Two short rounds of answers that count the same, in micro-batches of unequal size."""
    sizes: dict[str, Any] = {"prompts_per_round": 3, "group_size": 3, "micro_batch": 2}
    train(grpo(Path(output), rounds=2, normalize="response", **sizes))


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing curves takes longer than these trainings."""
    monkeypatch.setattr("stepaudio.training.loop.draw_curves", lambda rows, path: None)


@pytest.mark.parametrize("build", [ppo, grpo])
def test_a_planted_reward_rises(build: Any, tmp_path: Path) -> None:
    folder = train(build(tmp_path / "run", rounds=10))
    rows = log(tmp_path / "run")
    # Of ten slots four are linguistic, with twelve codes each: a third of a hit by chance.
    assert rows[0]["score"] < 0.8
    assert rows[-1]["score"] > 2.5
    assert rows[-1]["kl"] > rows[0]["kl"] == 0
    trained = Step1LM.from_pretrained(folder)
    assert not torch.equal(trained.lm_head.weight, debug_lm().lm_head.weight)


def test_the_first_step_of_a_round_is_on_policy(tmp_path: Path) -> None:
    train(ppo(tmp_path / "run", rounds=4, critic_steps=0))
    rows = log(tmp_path / "run")
    for row in rows[::4]:
        # Whitened advantages over a half of the round: near zero, and no ratio is clipped.
        assert row["clip_fraction"] == 0
        assert abs(row["step_kl"]) < 1e-6
    assert all(row["step_kl"] > 1e-6 for row in rows[1::4])


def test_the_actor_rests_while_the_critic_warms_up(tmp_path: Path) -> None:
    stage = ppo(tmp_path / "run", rounds=3, critic_steps=8)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    same: list[bool] = []

    def compare(done: int, total: int, row: Any) -> None:
        now = stage.model.state_dict()
        same.append(all(torch.equal(now[n], v) for n, v in before.items() if "actor" in n))
        assert not torch.equal(now["critic.value_head.weight"], before["critic.value_head.weight"])

    train(stage, progress=compare)
    assert same == [True] * 8 + [False] * 4
    rows = log(tmp_path / "run")
    assert [row["learning_rate"] for row in rows[:9]] == [0.0] * 8 + [3e-3]
    assert rows[-1]["learning_rate"] == pytest.approx(1e-3)
    assert rows[7]["value_loss"] < rows[0]["value_loss"]


def test_the_price_orders_the_divergence(tmp_path: Path) -> None:
    found = []
    for beta in (0.0, 0.3, 1.0):
        folder = tmp_path / str(beta)
        train(ppo(folder, kl_beta=beta, rounds=8))
        found.append(sum(row["kl"] for row in log(folder)[-16:]))
    assert found[0] > 1.1 * found[1] > 1.1 * 1.1 * found[2] > 0


def test_an_interrupted_run_goes_on_the_same(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int, row: Any) -> None:
        if done == 11:
            raise Killed

    settings: dict[str, Any] = {"rounds": 4, "critic_steps": 4, "save_every": 3}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(ppo(whole, **settings))
    # Killed after step 11; the newest checkpoint is of step 9, within the third round.
    with pytest.raises(Killed):
        train(ppo(parts, **settings), progress=kill)
    train(ppo(parts, **settings))
    assert log(parts) == log(whole)
    one, other = (load_file(f / "model" / "model.safetensors") for f in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_hardest_prompts_first(tmp_path: Path) -> None:
    stage = grpo(tmp_path / "run", prompts_per_round=3, group_size=2, hardest=0.5)
    firsts = []
    for number in range(3):
        pieces = stage.batches(number * stage.steps_per_round)
        ids = torch.cat([piece["ids"][:, 2] for piece in pieces])
        firsts.append(sorted({int(i) - 6 for i in ids}, reverse=True))
    # Six of twelve prompts are kept, the hardest come first, and then from the beginning.
    drawn = [set(group) for group in firsts]
    assert all(group <= {11, 10, 9} for group in (drawn[0], drawn[2]))
    assert drawn[1] <= {8, 7, 6}


def test_two_processes_draw_and_learn_as_one(tmp_path: Path) -> None:
    run_ppo(str(tmp_path / "one"))
    run_grpo(str(tmp_path / "one-grpo"))
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom test_rl_training import run_grpo\nfrom rl_debug import run_ppo\n"
        "run_ppo(sys.argv[1])\nrun_grpo(sys.argv[1] + '-grpo')\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path / "two")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
            ),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("", "-grpo"):
        one, two = log(tmp_path / f"one{kind}"), log(tmp_path / f"two{kind}")
        assert len(one) == len(two) == 8
        for a, b in zip(one, two, strict=True):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-5)
