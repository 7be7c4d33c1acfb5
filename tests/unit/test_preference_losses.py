from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_debug import SPEC, debug_lm, write_pairs

from stepaudio.rl.losses import bradley_terry_loss, implicit_reward
from stepaudio.rl.pairs import ended, pack_pairs, pair_means
from stepaudio.training.rows import PairRow, pair_rows

SCORES = st.floats(-20, 20, allow_nan=False, width=32)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_bradley_terry_by_hand() -> None:
    # sigmoid(ln 3) = 3/4; equal scores lose ln 2; a margin eats the lead.
    lead = one(math.log(3))
    assert bradley_terry_loss(lead, one(0)).item() == pytest.approx(-math.log(3 / 4))
    assert bradley_terry_loss(one(0), one(0)).item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(lead, one(0), lead).item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(one(0), lead).item() == pytest.approx(-math.log(1 / 4))


def test_dpo_by_hand() -> None:
    # The policy doubled the odds of the better answer and halved those of the worse: with beta
    # 1/2 the implicit rewards are ln 2 / 2 and -ln 2 / 2, and sigmoid(ln 2) = 2/3.
    chosen = implicit_reward(one(math.log(0.2)), one(math.log(0.1)), 0.5)
    rejected = implicit_reward(one(math.log(0.1)), one(math.log(0.2)), 0.5)
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(-math.log(2 / 3))


@given(a=SCORES, b=SCORES, shift=SCORES, margin=st.floats(0, 9))
def test_laws_of_bradley_terry(a: float, b: float, shift: float, margin: float) -> None:
    loss = bradley_terry_loss(one(a), one(b), margin)
    assert loss.item() > 0
    # Only the difference counts, a lead never hurts, a margin is a handicap.
    assert bradley_terry_loss(one(a + shift), one(b + shift), margin).item() == pytest.approx(
        loss.item(), rel=1e-6, abs=1e-9
    )
    assert bradley_terry_loss(one(a + 1), one(b), margin) < loss
    assert bradley_terry_loss(one(a), one(b + margin)).item() == pytest.approx(loss.item())
    # Both orders of a pair are exhaustive: their probabilities add up to one.
    both = bradley_terry_loss(one(a), one(b)), bradley_terry_loss(one(b), one(a))
    assert sum(math.exp(-each.item()) for each in both) == pytest.approx(1.0)


def test_means_over_pairs(tmp_path: Path) -> None:
    batch = pack_pairs(pair_rows(write_pairs(tmp_path / "pairs.jsonl", 3), SPEC)[:])
    assert len(batch.packed.documents) == 6
    # Judge, human, judge: right, a draw, wrong.
    scores = torch.tensor([2.0, 0.0, 1.0, 1.0, 0.0, 3.0])
    means = {k: (float(t), float(w)) for k, (t, w) in pair_means(scores, batch).items()}
    losses = [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(3))]
    assert means["loss"] == (pytest.approx(sum(losses)), 3)
    assert means["accuracy"] == (1.5, 3)
    assert means["human_accuracy"] == (0.5, 1)
    assert means["judge_accuracy"] == (1.0, 2)
    assert means["reward_margin"] == (-1.0, 3)
    assert means["reward"] == (3.5, 3)


def test_answers_get_the_end_they_lack() -> None:
    assert ended(torch.tensor([80]), (3, 2)).tolist() == [80, 3]
    assert ended(torch.tensor([80, 2]), (3, 2)).tolist() == [80, 2]
    assert ended(torch.tensor([80]), ()).tolist() == [80]
    row = PairRow(torch.tensor([1]), torch.tensor([80]), torch.tensor([81, 3]))
    batch = pack_pairs([row], (3,))
    assert batch.packed.ids.tolist() == [[1, 80, 3, 1, 81, 3]]


def test_a_language_model_has_the_spec_the_rows_are_made_for() -> None:
    assert debug_lm().spec == SPEC
