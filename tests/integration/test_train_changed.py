"""A run goes on only with the data and the model it began with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rl_debug import ROWS, grpo, ppo
from training_debug import debug_lm, losses, sft_config, write_completions, write_pairs

from stepaudio.errors import OutputExistsError
from stepaudio.rl.dpo import DPO, DPOConfig
from stepaudio.rl.online import OnlineStage
from stepaudio.rl.policy import LMPolicy
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.train_reward import RewardConfig, RewardTraining
from stepaudio.training.loop import train
from stepaudio.training.sft import SFT
from stepaudio.training.stage import Stage


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepaudio.training.loop.draw_curves", lambda rows, path: None)


class Killed(Exception):
    pass


def stopped(stage: Stage[Any], after: int = 5) -> None:
    def look(done: int, total: int, row: Mapping[str, float]) -> None:
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        train(stage, progress=look)


def test_rows_that_were_cut(tmp_path: Path) -> None:
    data = write_completions(tmp_path / "rows.jsonl")
    config = sft_config(str(tmp_path / "run"), str(data))
    stopped(SFT(config, debug_lm()))
    write_completions(data, 4)
    with pytest.raises(OutputExistsError) as caught:
        train(SFT(config, debug_lm()))
    assert f"began with something else: data ({data}), steps (" in str(caught.value)
    write_completions(data)
    train(SFT(config, debug_lm()))


def test_the_same_stage_goes_on_although_its_model_moved(tmp_path: Path) -> None:
    data = str(write_completions(tmp_path / "rows.jsonl"))
    stage = SFT(sft_config(str(tmp_path / "run"), data), debug_lm())
    stopped(stage)
    train(stage)
    train(stage)
    train(SFT(sft_config(str(tmp_path / "whole"), data), debug_lm()))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("config_class", "build"), [(DPOConfig, DPO), (RewardConfig, RewardTraining)]
)
def test_a_model_that_was_trained_again(
    config_class: type[Any], build: Callable[[Any], Stage[Any]], tmp_path: Path
) -> None:
    start = tmp_path / "sft"
    config = config_class(
        output=str(tmp_path / "run"), data=str(write_pairs(tmp_path / "pairs.jsonl")),
        model=str(start), pack_tokens=128, packs_per_step=2, save_every=2, device="cpu",
    )  # fmt: skip
    debug_lm().save_pretrained(start)
    stopped(build(config), after=3)
    debug_lm(seed=1).save_pretrained(start, force=True)
    with pytest.raises(OutputExistsError) as caught:
        train(build(config))
    assert f"began with something else: model ({start}); bring back" in str(caught.value)
    debug_lm().save_pretrained(start, force=True)
    train(build(config))


@pytest.mark.parametrize("build", [ppo, grpo])
def test_prompts_and_reference_of_reinforcement(
    build: Callable[..., OnlineStage], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"rounds": 3, "prompts_per_round": 4, "save_every": 2}
    settings |= {"critic_steps": 2} if build is ppo else {"group_size": 2}
    stopped(build(tmp_path, **settings))
    reworded, held_elsewhere = build(tmp_path, **settings), build(tmp_path, **settings)
    reworded.rows = [*ROWS[:-1], PromptRow(ROWS[-1].ids, text="other", difficulty=11.0)]
    policy = held_elsewhere.model
    held_elsewhere.model = LMPolicy(policy.actor, policy.critic, debug_lm(seed=1))
    for name, stage in (("data", reworded), ("model", held_elsewhere)):
        with pytest.raises(OutputExistsError, match=rf"something else: {name} \("):
            train(stage)
    train(build(tmp_path, **settings))
