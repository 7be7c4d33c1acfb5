"""The trainings as settings files that ``stepaudio train`` reads, and running one of them.

Rates and sizes are those of :class:`~recipes.nano.posttrain.plan.Plan`; what it does not name is
the library's default, and with it the paper's: Bradley-Terry, one epoch, clip 0.2, KL coefficient
0.05, hardest prompts first, a critic that is warmed up and begins as the reward model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.nano.posttrain.plan import Plan
from stepaudio.hub import write_atomic
from stepaudio.rl.dpo import DPO, DPOConfig
from stepaudio.rl.from_settings import grpo_from_settings, ppo_from_settings
from stepaudio.rl.grpo import GRPOConfig
from stepaudio.rl.ppo import PPOConfig
from stepaudio.rl.train_reward import RewardConfig, RewardTraining
from stepaudio.training.config import TrainingConfig, load_config
from stepaudio.training.loop import train
from stepaudio.training.sft import SFT, SFTConfig
from stepaudio.training.stage import Stage

__all__ = [
    "Folders", "online_settings", "packed_settings", "reward_choices", "run_training", "to_toml",
    "write_settings",
]  # fmt: skip

_STAGES: Mapping[str, tuple[type[TrainingConfig], Callable[[Any], Stage[Any]]]] = {
    "sft": (SFTConfig, SFT),
    "reward": (RewardConfig, RewardTraining),
    "dpo": (DPOConfig, DPO),
    "ppo": (PPOConfig, ppo_from_settings),
    "grpo": (GRPOConfig, grpo_from_settings),
}
#: On a CPU long rows cost their square in attention.
_PACK = {"pack_tokens": 1536, "packs_per_step": 2, "device": "cpu", "save_every": 20}
_STEPS_PER_ROUND = 4


@dataclass(frozen=True)
class Folders:
    """Where things are.

    Attributes:
        out: of the experiment.
        lm: the model to start from.
        pipeline: whose codebook is read; None is the embedded one.
    """

    out: Path
    lm: Path
    pipeline: str | None

    def run(self, name: str) -> Path:
        """Folder of a training."""
        return self.out / "runs" / name

    def model(self, name: str) -> Path:
        """What a training made; ``"sft"`` is the model to start from."""
        return self.lm if name == "sft" else self.run(name) / "model"

    def settings(self, name: str) -> Path:
        """Settings of a training."""
        return self.out / "configs" / f"{name}.toml"

    def data(self, name: str) -> Path:
        """A file of rows."""
        return self.out / "data" / f"{name}.jsonl"


def packed_settings(folders: Folders, plan: Plan) -> dict[str, tuple[str, dict[str, Any]]]:
    """Settings of all trainings that read rows: the arms, the reward model, DPO.

    Args:
        folders: of the experiment.
        plan: sizes and rates.

    Returns:
        Stage and settings by the name of the training. The sets of large and of small margins are
        seen twice, both together once, so that every arm reads as many pairs.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}

    def add(name: str, stage: str, data: str, rate: float, **more: Any) -> None:
        found[name] = stage, {
            "output": str(folders.run(name)), "model": str(folders.lm),
            "data": str(folders.data(data)), "learning_rate": rate,
            "final_learning_rate": rate / 10, **_PACK, **more,
        }  # fmt: skip

    for seed in range(plan.seeds):
        for arm, epochs in (("large", 2), ("small", 2), ("both", 1)):
            add(f"{arm}-{seed}", "sft", arm, plan.sft_rate, seed=seed, epochs=epochs)
    add("reward", "reward", "preferences", plan.reward_rate)
    add("dpo", "dpo", "preferences", plan.dpo_rate)
    return found


def online_settings(
    folders: Folders, plan: Plan, weights: Mapping[str, float]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Settings of PPO and GRPO.

    Args:
        folders: of the experiment.
        plan: sizes and rates.
        weights: of the rewards ``preference``, ``words`` and ``length``.

    Returns:
        Stage and settings by the name of the training.
    """
    rewards = reward_choices(folders, weights)
    common = {
        "model": str(folders.lm), "data": str(folders.data("prompts")), "device": "cpu",
        "learning_rate": plan.online_rate, "final_learning_rate": plan.online_rate / 5,
        "hardest": 0.5, "minibatches": _STEPS_PER_ROUND, "micro_batch": 8, "draw_batch": 64,
        "max_new_tokens": plan.answer_tokens, "save_every": 2 * _STEPS_PER_ROUND,
        "rewards": rewards,
    }  # fmt: skip
    if folders.pipeline is not None:
        common["pipeline"] = folders.pipeline
    warm = max(1, plan.ppo_rounds // 6) * _STEPS_PER_ROUND
    ppo = {
        **common, "output": str(folders.run("ppo")), "rounds": plan.ppo_rounds,
        "prompts_per_round": plan.ppo_prompts, "critic": str(folders.model("reward")),
        "critic_steps": warm, "critic_learning_rate": plan.critic_rate,
    }  # fmt: skip
    grpo = {
        **common, "output": str(folders.run("grpo")), "rounds": plan.grpo_rounds,
        "prompts_per_round": plan.groups, "group_size": plan.group,
    }  # fmt: skip
    return {"ppo": ("ppo", ppo), "grpo": ("grpo", grpo)}


def reward_choices(folders: Folders, weights: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The rewards as a settings file names them.

    Args:
        folders: of the experiment.
        weights: by the names of the rewards.

    Returns:
        Tables for :class:`stepaudio.rl.reward_choice.RewardChoice`.
    """
    folder = str(folders.model("reward"))
    return {
        "preference": {
            "kind": "reward_model", "folder": folder, "weight": weights["preference"]
        },
        "words": {"kind": "content", "weight": weights["words"]},
        "length": {"kind": "duration", "tolerance": 0.2, "weight": weights["length"]},
    }  # fmt: skip


def to_toml(values: Mapping[str, Any]) -> str:
    """Settings as TOML: numbers, texts and truth values first, then tables.

    Args:
        values: of one file.

    Returns:
        The text; JSON writes numbers, texts and truth values as TOML does.
    """
    flat = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in flat.items()]
    for name, table in values.items():
        if isinstance(table, Mapping):
            for inner, entries in table.items():
                lines += ["", f"[{name}.{inner}]"]
                lines += [f"{key} = {json.dumps(value)}" for key, value in entries.items()]
    return "\n".join(lines) + "\n"


def write_settings(path: Path, values: Mapping[str, Any]) -> Path:
    """Write settings, in the place of those of an earlier start.

    Args:
        path: of the file.
        values: of one training.

    Returns:
        ``path``.
    """
    text = to_toml(values)
    return write_atomic(path, lambda place: place.write_text(text, encoding="utf-8"), force=True)


def run_training(stage: str, settings: Path) -> None:
    """What ``stepaudio train STAGE SETTINGS`` does; goes on where it stopped.

    Args:
        stage: ``"sft"``, ``"reward"``, ``"dpo"``, ``"ppo"`` or ``"grpo"``.
        settings: written by :func:`write_settings`.
    """
    config_class, build = _STAGES[stage]
    config = load_config(config_class, settings)
    if not (Path(config.output) / "model").exists():
        train(build(config))
