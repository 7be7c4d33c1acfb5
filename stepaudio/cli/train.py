"""``stepaudio train``: one command per stage, each a configuration file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.options import AsJson
from stepaudio.cli.screen import Screen, tell

if TYPE_CHECKING:
    from stepaudio.training.config import TrainingConfig
    from stepaudio.training.stage import Stage

__all__ = ["dpo", "grpo", "ppo", "reward", "run_stage", "sft"]

Config = Annotated[
    Path | None,
    typer.Argument(metavar="[CONFIG]", help="Settings, a TOML file.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A setting, before those of the file; repeatable."
    ),
]
Anew = Annotated[
    bool, typer.Option("--force", "-f", help="Start anew over another run in the same folder.")
]


def sft(
    config: Config = None, settings: Settings = None, as_json: AsJson = False, force: Anew = False
) -> None:
    """Fine-tune the language model on prompts and completions."""
    from stepaudio.training.sft import SFT, SFTConfig

    run_stage("sft", SFTConfig, SFT, config, settings, as_json=as_json, force=force)


def reward(
    config: Config = None, settings: Settings = None, as_json: AsJson = False, force: Anew = False
) -> None:
    """Train a reward model on preferences."""
    from stepaudio.rl.train_reward import RewardConfig, RewardTraining

    run_stage(
        "reward", RewardConfig, RewardTraining, config, settings, as_json=as_json, force=force
    )


def dpo(
    config: Config = None, settings: Settings = None, as_json: AsJson = False, force: Anew = False
) -> None:
    """Train the language model on preferences directly (DPO)."""
    from stepaudio.rl.dpo import DPO, DPOConfig

    run_stage("dpo", DPOConfig, DPO, config, settings, as_json=as_json, force=force)


def ppo(
    config: Config = None, settings: Settings = None, as_json: AsJson = False, force: Anew = False
) -> None:
    """Train the language model by reinforcement, with a critic (PPO)."""
    from stepaudio.rl.from_settings import ppo_from_settings
    from stepaudio.rl.ppo import PPOConfig

    run_stage("ppo", PPOConfig, ppo_from_settings, config, settings, as_json=as_json, force=force)


def grpo(
    config: Config = None, settings: Settings = None, as_json: AsJson = False, force: Anew = False
) -> None:
    """Train the language model by reinforcement, relative to groups of answers (GRPO)."""
    from stepaudio.rl.from_settings import grpo_from_settings
    from stepaudio.rl.grpo import GRPOConfig

    run_stage(
        "grpo", GRPOConfig, grpo_from_settings, config, settings, as_json=as_json, force=force
    )


def run_stage(
    name: str,
    config_class: type[TrainingConfig],
    build: Callable[[Any], Stage[Any]],
    path: Path | None,
    settings: list[str] | None,
    *,
    as_json: bool,
    force: bool,
) -> None:
    """Train one stage and tell how it ended.

    Args:
        name: of the command.
        config_class: its settings.
        build: settings to stage.
        path: file of settings.
        settings: ``key=value`` each.
        as_json: for programs.
        force: start anew.
    """
    from stepaudio.training.config import load_config
    from stepaudio.training.loop import train
    from stepaudio.training.metrics import read_metrics

    config = load_config(config_class, path, settings or ())
    with Screen() as screen:
        screen.wait("loading model and rows")

        def show(done: int, total: int, row: Mapping[str, float]) -> None:
            note = f", loss {row['loss']:.4f}" if "loss" in row else ""
            screen.count("training, step", done, total, note)

        model = train(build(config), force=force, progress=show)
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes has spoken for all
    last = read_metrics(Path(config.output) / "metrics.jsonl")[-1]
    values = {"command": f"train {name}", "output": str(model), **last}
    line = f"wrote {model} after {last['step']} steps"
    if "loss" in last:
        line += f" (loss {last['loss']:.4f})"
    tell(values, line, as_json)
