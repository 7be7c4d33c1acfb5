"""LoRA through the real peft: only adapters move, and the model written needs no peft."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import assert_close
from training_debug import debug_lm, losses, write_completions, write_pairs

pytest.importorskip("peft", reason="the extra lora is not installed")

from stepaudio.errors import ConfigError
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.rl.train_reward import RewardConfig, RewardTraining
from stepaudio.training.checkpoint import latest_checkpoint
from stepaudio.training.loop import train
from stepaudio.training.lora import LoraSettings, add_lora
from stepaudio.training.sft import SFT, SFTConfig

SETTINGS = LoraSettings(rank=4, targets=("q_proj", "down_proj"))


def test_sft_with_adapters(tmp_path: Path) -> None:
    config = SFTConfig(
        output=str(tmp_path / "run"), data=str(write_completions(tmp_path / "rows.jsonl")),
        learning_rate=3e-2, pack_tokens=128, packs_per_step=2, epochs=3, lora=SETTINGS,
        device="cpu",
    )  # fmt: skip
    stage = SFT(config, debug_lm())
    model = train(stage)
    course = losses(tmp_path / "run")
    assert course[-1] < course[0] - 0.2
    before, after = debug_lm(), Step1LM.from_pretrained(model)
    moved = {
        name.split(".")[-2]
        for name, value in after.named_parameters()
        if not torch.equal(value, before.get_parameter(name))
    }
    assert moved == {"q_proj", "down_proj"}
    ids = torch.arange(40)[None]
    assert_close(after(ids), stage.model.lm.eval()(ids).detach(), 1e-4)
    kept = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert kept is not None
    assert (kept / "model.safetensors").stat().st_size < 40_000


def test_reward_with_adapters_also_trains_its_head(tmp_path: Path) -> None:
    config = RewardConfig(
        output=str(tmp_path / "run"), data=str(write_pairs(tmp_path / "pairs.jsonl")),
        learning_rate=1e-2, pack_tokens=256, packs_per_step=2, epochs=2, lora=SETTINGS,
        device="cpu",
    )  # fmt: skip
    model = TokenRewardModel.from_pretrained(train(RewardTraining(config, debug_lm())))
    assert model.score_head.weight.any()
    assert losses(tmp_path / "run")[-1] < math.log(2)


def test_targets_the_model_does_not_have() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        add_lora(debug_lm(), LoraSettings(targets=("nowhere",)), 0)
