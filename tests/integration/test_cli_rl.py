"""``stepaudio train ppo`` and ``grpo`` from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import refused, told
from training_debug import debug_lm

from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.training.metrics import read_metrics

SETTINGS = """
model = "{folder}/start"
data = "{folder}/prompts.jsonl"
device = "cpu"
rounds = 20
prompts_per_round = 32
minibatches = 2
passes = 2
max_new_tokens = 20
learning_rate = 3e-3
final_learning_rate = 1e-3

[guards]
missing_end = 0.0
length = 0.0

[rewards.length]
kind = "duration"
tolerance = 0.3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("stepaudio.training.loop.draw_curves", lambda rows, path: None)
    lm = debug_lm()
    lm.save_pretrained(tmp_path / "start")
    TokenRewardModel.from_language_model(lm).save_pretrained(tmp_path / "reward")
    # A recording of two units, so the answer shall have ten tokens.
    recording = [80, 81, 95, 96, 97, 82, 83, 98, 99, 100]
    rows = [{"prompt": [4, 5 + i, *recording, 6], "difficulty": i} for i in range(4)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "prompts.jsonl").write_text(lines)
    (tmp_path / "ppo.toml").write_text(SETTINGS.format(folder=tmp_path))
    return tmp_path


def test_ppo_learns_the_length(folder: Path) -> None:
    out = folder / "run"
    values = told(
        "train", "ppo", str(folder / "ppo.toml"), "--set", f"output={out}",
        "--set", f"critic={folder}/reward", "--set", "critic_steps=8",
        "--set", "critic_learning_rate=3e-3",
    )  # fmt: skip
    assert values["step"] == 80
    rows = read_metrics(out / "metrics.jsonl")
    assert rows[0]["reward_length"] == rows[0]["score"] < 0.35
    assert sum(row["score"] for row in rows[-16:]) / 16 > rows[0]["score"] + 0.15
    assert rows[-1]["ended"] > rows[0]["ended"]
    Step1LM.from_pretrained(values["output"])


def test_grpo_and_refusals(folder: Path) -> None:
    out, settings = folder / "run", str(folder / "ppo.toml")
    values = told(
        "train", "grpo", settings, "--set", f"output={out}", "--set", "rounds=1",
        "--set", "group_size=4", "--set", "prompts_per_round=2",
    )  # fmt: skip
    assert values["groups_alike"] <= 1
    said = refused("train", "grpo", settings, "--set", f"output={out}2", "--set", "group_size=1")
    assert "group_size is 1" in said
    said = refused("train", "ppo", settings, "--set", f"output={out}2", "--set", "clipp=0.1")
    assert "'clip'" in said
    said = refused("train", "ppo", settings, "--set", f"output={out}2", "--set", "rounds=2")
    assert "never move" in said
    said = refused(
        "train",
        "ppo",
        settings,
        "--set",
        f"output={out}2",
        "--set",
        "critic_steps=8",
        "--set",
        "rewards.words.kind=wer",
    )
    assert "row 1" in said
    assert not Path(f"{out}2").exists()
