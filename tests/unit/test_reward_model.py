from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import assert_close
from training_debug import SPEC, debug_lm, write_pairs

from stepaudio.errors import PromptError
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.rl.train_reward import pairwise_accuracy
from stepaudio.testing import check_reward_model
from stepaudio.training.rows import pair_rows


def awake() -> TokenRewardModel:
    model = TokenRewardModel.from_language_model(debug_lm()).eval()
    torch.nn.init.normal_(model.score_head.weight, generator=torch.Generator().manual_seed(5))
    return model


def test_keeps_the_contract() -> None:
    check_reward_model(awake())


def test_starts_from_the_decoder_with_every_score_zero() -> None:
    lm = debug_lm()
    model = TokenRewardModel.from_language_model(lm)
    assert torch.equal(model.model.norm.weight, lm.model.norm.weight)
    assert model.model.norm.weight is not lm.model.norm.weight
    assert model.score([torch.tensor([1, 2])], [torch.tensor([80])]).tolist() == [0.0]


def test_the_score_is_read_where_the_answer_ends() -> None:
    model, prompt, answer = awake(), torch.tensor([1, 5, 6]), torch.tensor([80, 81])
    ids = torch.cat([prompt, answer, torch.tensor([SPEC.end_ids[0]])])[None]
    hidden = model.model(model.model.embed_tokens(ids))
    wanted = (hidden[0, -1] @ model.score_head.weight[0]).detach()[None]
    assert_close(model.score([prompt], [answer]), wanted, 1e-5)
    assert_close(model.score([prompt], [ids[0, 3:]]), wanted, 1e-5)


def test_save_and_load(tmp_path: Path) -> None:
    model = awake()
    model.save_pretrained(tmp_path)
    again = TokenRewardModel.from_pretrained(tmp_path)
    pair = [torch.tensor([1, 2])], [torch.tensor([80, 82])]
    assert torch.equal(model.score(*pair), again.score(*pair))


@pytest.mark.parametrize(
    ("prompts", "responses", "words"),
    [
        ([[1]], [], "1 prompts and 0 responses"),
        ([], [], "0 prompts"),
        ([[]], [[80]], "prompt of 0 ids"),
        ([[1] * 512], [[80]], "512 fit the context"),
        ([[1, 500]], [[80]], r"pair 0 has ids outside 0\.\.119"),
    ],
)
def test_pairs_that_cannot_be_scored(
    prompts: list[list[int]], responses: list[list[int]], words: str
) -> None:
    def tensors(rows: list[list[int]]) -> list[torch.Tensor]:
        return [torch.tensor(row, dtype=torch.int64) for row in rows]

    with pytest.raises(PromptError, match=words):
        awake().score(tensors(prompts), tensors(responses))


def test_accuracy_counts_draws_half(tmp_path: Path) -> None:
    rows = pair_rows(write_pairs(tmp_path / "pairs.jsonl", 4), SPEC)
    draws = TokenRewardModel.from_language_model(debug_lm())
    assert pairwise_accuracy(draws, rows) == {"all": 0.5, "judge": 0.5, "human": 0.5}
