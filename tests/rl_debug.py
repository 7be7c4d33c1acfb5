"""PPO and GRPO on a debug model with a planted reward, for tests and for processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from training_debug import debug_lm

from stepaudio.rl.grpo import GRPOConfig, GRPOStage
from stepaudio.rl.guards import GuardConfig
from stepaudio.rl.policy import LMPolicy, ValueModel
from stepaudio.rl.ppo import PPOConfig, PPOStage
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.training.loop import train
from stepaudio.training.metrics import read_metrics

#: A linguistic code, so that the grammar offers it in two slots of five.
WANTED = 85
ROWS = [PromptRow(torch.tensor([4, 5, 6 + i]), difficulty=float(i)) for i in range(12)]
QUICK: dict[str, Any] = {
    "device": "cpu", "seed": 1, "learning_rate": 3e-3, "final_learning_rate": 1e-3,
    "rounds": 20, "passes": 2, "minibatches": 2, "max_new_tokens": 10,
    "guards": GuardConfig(missing_end=0.0, length=0.0),
}  # fmt: skip
PPO: dict[str, Any] = {
    **QUICK, "prompts_per_round": 32, "critic_steps": 8, "critic_learning_rate": 3e-3,
}  # fmt: skip


def planted(prompts: Sequence[PromptRow], responses: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.tensor([float((response == WANTED).sum()) for response in responses])


def ppo(folder: Path, **changes: Any) -> PPOStage:
    lm = debug_lm()
    config = PPOConfig(output=str(folder), **{**PPO, **changes})
    return PPOStage(config, LMPolicy(lm, ValueModel.beside(lm)), ROWS, planted)


def grpo(folder: Path, **changes: Any) -> GRPOStage:
    config = GRPOConfig(output=str(folder), **{**QUICK, **changes})
    return GRPOStage(config, LMPolicy(debug_lm()), ROWS, planted)


def log(folder: Path) -> list[dict[str, float]]:
    """Metrics without what the clock says."""
    rows = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


def run_ppo(output: str) -> None:
    """Two short rounds, difficulties measured too."""
    stage = ppo(Path(output), rounds=2, critic_steps=4, prompts_per_round=7)
    stage.rows = [PromptRow(row.ids) for row in stage.rows]
    train(stage)
