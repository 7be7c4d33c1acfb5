"""Words kept as a reward, told from linguistic codes alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from debug_parts import TOKENS, debug_parts

from stepaudio.errors import ConfigError
from stepaudio.parts import save_parts
from stepaudio.rl.content import ContentReward
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.reward_choice import RewardChoice, build_rewards
from stepaudio.types import LMSpec, TokenSpec

#: Ids 0..9 text with the end at 3, 10..12 linguistic, 13..16 semantic.
SPEC = LMSpec(20, 10, TokenSpec(3, 4), (3,), 100)
#: On a line: pairs are 1, 3 and 2 apart, the root mean square is sqrt(14 / 3) = 2.16.
LINE = torch.tensor([[0.0], [1.0], [3.0]])
NEAR = 1 / math.sqrt(14 / 3)


def unit(first: int, second: int, semantic: int = 13) -> list[int]:
    return [10 + first, 10 + second, semantic, semantic, semantic]


def kept(source: list[int], answer: list[int]) -> float:
    row = PromptRow(torch.tensor([1, *source, 2]))
    return float(ContentReward(SPEC, LINE)([row], [torch.tensor(answer, dtype=torch.int64)])[0])


def test_by_hand() -> None:
    assert kept(unit(0, 1), unit(0, 1, semantic=16)) == 1.0
    # One near code at the end, reached along one sequence: once its cost, of four frames in all.
    assert kept(unit(0, 0), unit(0, 1)) == pytest.approx(1 - NEAR / 4)
    # Twice as slow is the same words.
    assert kept(unit(0, 2), unit(0, 0) + unit(2, 2)) == 1.0
    # In the other order: the first pair twice 1, the second one nothing, the last one 1.
    assert kept(unit(0, 2), unit(2, 0)) == pytest.approx(1 - 3 / 4)
    assert kept(unit(0, 1), []) == kept([], unit(0, 1)) == 0.0
    assert kept(unit(0, 1), [*unit(0, 1), 10]) == 1.0


def test_the_codebook_of_the_pipeline_is_read(tmp_path: Path) -> None:
    parts = debug_parts()
    save_parts(parts, tmp_path / "debug")
    spec = parts.lm.spec
    offset = spec.audio_offset
    source = [offset + i for i in (1, 2, 13, 14, 15)]
    choices = {"words": RewardChoice("content")}
    reward = build_rewards(choices, spec, pipeline=str(tmp_path / "debug"))
    row = PromptRow(torch.tensor([5, *source, 6]))
    same, other = torch.tensor(source), torch.tensor([offset + 7, offset + 9, *source[2:]])
    values = reward([row, row], [same, other])
    assert values[0] == 1.0
    assert 0 <= values[1] < 1
    other_codes = LMSpec(100, 10, TokenSpec(3, 4), (3,), 100)
    with pytest.raises(ConfigError, match="name the pipeline"):
        build_rewards(choices, other_codes, pipeline=str(tmp_path / "debug"))
    with pytest.raises(ValueError, match="codebook has 3 codes"):
        ContentReward(spec, LINE)
    assert spec.tokens == TOKENS
