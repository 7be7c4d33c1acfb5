"""PPO and GRPO from settings alone: load the model, the prompts, the critic and the rewards."""

from __future__ import annotations

from stepaudio.errors import ConfigError
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.grpo import GRPOConfig, GRPOStage
from stepaudio.rl.online import OnlineConfig
from stepaudio.rl.policy import LMPolicy, ValueModel
from stepaudio.rl.ppo import PPOConfig, PPOStage
from stepaudio.rl.prompt_rows import PromptRow, prompt_rows
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.rl.reward_choice import build_rewards
from stepaudio.rl.rewards import WeightedRewards
from stepaudio.rl.row_needs import check_known, check_said
from stepaudio.training.language_model import load_language_model

__all__ = ["grpo_from_settings", "ppo_from_settings"]


def ppo_from_settings(config: PPOConfig) -> PPOStage:
    """A PPO stage, ready for :func:`stepaudio.training.loop.train`.

    Args:
        config: names everything.

    Returns:
        The stage.

    Raises:
        ConfigError: no data or rewards are named, or the critic does not fit.
        CheckpointError: a model is missing or damaged.
        DataError: a prompt is wrong, or lacks what a reward needs.
        MissingExtraError: a reward needs a package that is not installed.
    """
    lm, rows, reward = _load(config)
    if config.critic is None:
        critic = ValueModel.beside(lm)
    else:
        scorer = TokenRewardModel.from_pretrained(config.critic)
        if scorer.spec != lm.spec:
            raise ConfigError(
                f"critic: the reward model in {config.critic} reads other ids than the language "
                "model; use one trained on the same tokens"
            )
        critic = ValueModel.beside(scorer)
    return PPOStage(config, LMPolicy(lm, critic), rows, reward)


def grpo_from_settings(config: GRPOConfig) -> GRPOStage:
    """A GRPO stage, ready for :func:`stepaudio.training.loop.train`.

    Args:
        config: names everything.

    Returns:
        The stage.

    Raises:
        ConfigError: no data or rewards are named.
        CheckpointError: a model is missing or damaged.
        DataError: a prompt is wrong, or lacks what a reward needs.
        MissingExtraError: a reward needs a package that is not installed.
    """
    lm, rows, reward = _load(config)
    return GRPOStage(config, LMPolicy(lm), rows, reward)


def _load(config: OnlineConfig) -> tuple[Step1LM, list[PromptRow], WeightedRewards]:
    if not config.data:
        raise ConfigError("data is empty; name a JSONL file of prompts")
    lm = load_language_model(config.model)
    rows = list(prompt_rows(config.data, lm.spec))
    check_said(rows, config.data, config.rewards)
    # The device of this process is known when the training starts, which moves the rewards there.
    reward = build_rewards(config.rewards, lm.spec, pipeline=config.pipeline, device="cpu")
    check_known(rows, config.data, reward.rewards)
    return lm, rows, reward
