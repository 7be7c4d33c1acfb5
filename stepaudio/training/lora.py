"""Low-rank adapters (LoRA, Hu et al. 2021) through peft, merged away when a model is written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stepaudio.errors import ConfigError, MissingExtraError
from stepaudio.seeds import derive_seed, scoped_seed

__all__ = ["LoraSettings", "add_lora", "merge_lora"]

_ADAPTED = re.compile(r"(.+)\.base_layer\.weight")


@dataclass(frozen=True)
class LoraSettings:
    """Size and place of the adapters.

    Attributes:
        rank: inner width.
        alpha: an adapter counts ``alpha / rank`` times.
        dropout: before the adapters, while training.
        targets: names of the linear layers that get one.

    Raises:
        ConfigError: a number outside its range, or no targets.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip

    def __post_init__(self) -> None:
        good = self.rank >= 1 and 0 < self.alpha < math.inf and 0 <= self.dropout < 1
        if not (good and self.targets):
            raise ConfigError(f"[lora] makes no sense: {self}")


def add_lora(model: nn.Module, settings: LoraSettings, seed: int) -> None:
    """Put adapters into a model and freeze all else; at first they change nothing.

    Args:
        model: changed in place.
        settings: of the adapters.
        seed: of the run.

    Raises:
        MissingExtraError: peft is not installed.
        ConfigError: the model has none of the targets.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError(
            "LoRA needs peft; install it with: pip install 'stepaudio[train,lora]'"
        ) from error
    # alpha is a whole number in peft's signature only.
    alpha: Any = settings.alpha
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
    )
    try:
        with scoped_seed(derive_seed(seed, "lora"), torch.device("cpu")):
            inject_adapter_in_model(config, model)
    except ValueError as error:
        raise ConfigError(f"[lora] targets {list(settings.targets)}: {error}") from error


def merge_lora(weights: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Add every adapter to the weight it adapts.

    Args:
        weights: of a model with adapters.
        settings: of the adapters.

    Returns:
        Weights of the plain model: ``W + alpha / rank * B A`` under the name of ``W``.
    """
    merged = {}
    for name, value in weights.items():
        adapted = _ADAPTED.fullmatch(name)
        if adapted:
            down = weights[f"{adapted[1]}.lora_A.default.weight"]
            up = weights[f"{adapted[1]}.lora_B.default.weight"]
            merged[f"{adapted[1]}.weight"] = value + settings.alpha / settings.rank * up @ down
        elif ".lora_" not in name:
            merged[name] = value
    return merged
