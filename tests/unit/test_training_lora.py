from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from stepaudio.errors import ConfigError, MissingExtraError
from stepaudio.training.lora import LoraSettings, add_lora, merge_lora


def test_merging_by_hand() -> None:
    weights = {
        "q.base_layer.weight": torch.eye(2),
        "q.lora_A.default.weight": torch.tensor([[1.0, 2.0]]),
        "q.lora_B.default.weight": torch.tensor([[3.0], [0.0]]),
        "norm.weight": torch.ones(2),
    }
    merged = merge_lora(weights, LoraSettings(rank=1, alpha=2.0))
    assert sorted(merged) == ["norm.weight", "q.weight"]
    # 2 / 1 * [3, 0]^T [1, 2] added to the identity.
    assert merged["q.weight"].tolist() == [[7.0, 12.0], [0.0, 1.0]]


def test_settings_that_make_no_sense() -> None:
    for change in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}):
        with pytest.raises(ConfigError, match=r"\[lora\]"):
            LoraSettings(**change)


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"stepaudio\[train,lora\]"):
        add_lora(nn.Linear(2, 2), LoraSettings(), 0)
