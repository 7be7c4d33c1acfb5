from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from stepaudio.errors import ConfigError
from stepaudio.rl.grpo import GRPOConfig
from stepaudio.rl.ppo import PPOConfig
from stepaudio.rl.train_reward import RewardConfig
from stepaudio.training.config import TrainingConfig, load_config
from stepaudio.training.lora import LoraSettings
from stepaudio.training.schedule import cosine_rate
from stepaudio.training.sft import SFTConfig


@dataclass(frozen=True)
class Inner:
    size: int = 4
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    data: str
    mode: Literal["fast", "slow"] = "fast"
    inner: Inner | None = None
    share: float | None = 0.5
    weights: dict[str, float] = field(default_factory=dict)


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_and_settings_before_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'output = "out"\ndata = "rows"\nlearning_rate = 1\nadam_betas = [0.8, 0.9]\n'
        'mode = "slow"\n[inner]\nsize = 8\n[weights]\nwer = 1\n',
    )
    sets = ["data=2024", 'inner.names=["x", "y"]', "share=none", "seed=7", "tensorboard=true"]
    config = load_config(Config, path, sets)
    assert config == Config(
        output="out", data="2024", learning_rate=1.0, adam_betas=(0.8, 0.9), mode="slow",
        inner=Inner(8, ("x", "y")), share=None, seed=7, tensorboard=True, weights={"wer": 1.0},
    )  # fmt: skip
    assert isinstance(config.learning_rate, float)


def test_settings_alone_are_enough() -> None:
    config = load_config(Config, None, ["output=a b", "data=c=d", "learning_rate=2e-5"])
    assert (config.output, config.data, config.learning_rate) == ("a b", "c=d", 2e-5)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["learning_rat=1"], "unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        (["inner.sise=1"], "did you mean 'size'?"),
        (["zzz=1"], "known are output, seed"),
        (["seed=1.5"], "seed must be int, not 1.5"),
        (["seed=true"], "seed must be int, not True"),
        (["mode=quick"], "mode must be 'fast' or 'slow', not 'quick'"),
        (["adam_betas=[0.9]"], "adam_betas must be"),
        (["inner=3"], "inner must be a table or none"),
        (["output.deep=3"], "output is not a table"),
        (["seed"], "not of the form key=value"),
        (["learning_rate=0"], "learning_rate is 0.0 but must be above 0"),
        (["learning_rate=nan"], "learning_rate is nan"),
        (["warmup_steps=-1"], "warmup_steps is -1 but must be finite and 0 or more"),
        (["final_learning_rate=nan"], "final_learning_rate is nan"),
        (["weight_decay=nan"], "weight_decay is nan"),
        (["weight_decay=inf"], "weight_decay is inf"),
        (["adam_betas=[0.9, 1.0]"], "adam_betas is [0.9, 1.0] but each must be 0 or more"),
        (["adam_betas=[-0.1, 0.9]"], "adam_betas is [-0.1, 0.9]"),
        (["adam_betas=[nan, 0.9]"], "adam_betas is [nan, 0.9]"),
        (["adam_epsilon=-1"], "adam_epsilon is -1.0 but must be above 0"),
        (["adam_epsilon=nan"], "adam_epsilon is nan"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, sets: list[str], words: str) -> None:
    path = written(tmp_path, 'output = "out"\ndata = "rows"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(Config, path, sets)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "-0.1", "inf"])
@pytest.mark.parametrize(
    ("config_class", "name"),
    [
        (SFTConfig, "lora.alpha"),
        (RewardConfig, "human_margin"),
        (RewardConfig, "judge_margin"),
        (GRPOConfig, "kl_beta"),
        (GRPOConfig, "guards.missing_end"),
        (GRPOConfig, "guards.length"),
        (PPOConfig, "entropy_weight"),
    ],
)
def test_numbers_of_the_stages_are_in_range(
    config_class: type[TrainingConfig], name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{name.rpartition('.')[2]}\b.*{value}"):
        load_config(config_class, None, ["output=out", "data=rows", f"{name}={value}"])


def test_the_settings_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    config = load_config(SFTConfig, written(tmp_path, block))
    named = {"data": "rows.jsonl", "output": "runs/sft", "model": "runs/lm"}
    # What it calls defaults are defaults.
    assert config == SFTConfig(**named, precision="bf16", lora=LoraSettings(rank=16))


def test_what_must_be_set_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'data' is not set"):
        load_config(Config, None, ["output=a"])
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load_config(Config, written(tmp_path, "a = = 1"))
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load_config(Config, tmp_path / "missing.toml")


def test_the_schedule_by_hand() -> None:
    def rate(step: int) -> float:
        return cosine_rate(step, total=7, start=1.0, end=0.2, warmup=2)

    # Two steps of warm-up, then a quarter of the way is cos 45 degrees.
    expected = [0.5, 1.0, 1.0, 0.2 + 0.4 * (1 + 0.5**0.5), 0.6, 0.2 + 0.4 * (1 - 0.5**0.5), 0.2]
    assert [rate(step) for step in range(7)] == pytest.approx(expected)
    assert rate(100) == pytest.approx(0.2)
    assert cosine_rate(0, total=1, start=1e-5, end=1e-6) == 1e-5
