from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from stepaudio import testing
from stepaudio.errors import PromptError, TokenError
from stepaudio.lm.generate import collect
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.rl.actions import ActionBatch, action_logits, chosen_log_probs
from stepaudio.rl.policy import LMPolicy, ValueModel, action_scores
from stepaudio.rl.rollout import roll_out
from stepaudio.seeds import seeded
from stepaudio.types import SamplingParams

SAMPLING = SamplingParams(temperature=0.8, min_new_tokens=5, max_new_tokens=25)
PROMPTS = [torch.tensor([1, 4, 5, 6, 7, 8]), torch.tensor([9, 4]), torch.tensor([2, 3, 4, 5])]


def language_model(**changes: Any) -> Step1LM:
    torch.manual_seed(0)
    return Step1LM(dataclasses.replace(Step1Config.debug(), **changes)).eval()


def policy(critic: bool = True, **changes: Any) -> LMPolicy:
    lm = language_model(**changes)
    return LMPolicy(lm, ValueModel.beside(lm) if critic else None)


def test_conformance() -> None:
    testing.check_policy(policy())


def test_actions_by_hand() -> None:
    responses = [torch.tensor([80, 81]), torch.tensor([90])]
    batch = ActionBatch.of(PROMPTS[:2], responses, [True, False], language_model().spec)
    assert batch.ids.tolist() == [[1, 4, 5, 6, 7, 8, 80, 81], [9, 4, 0, 0, 0, 0, 0, 0]]
    assert batch.starts.tolist() == [5, 1]
    assert batch.actions.tolist() == [[80, 81, 3], [90, 0, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    # Each state is the output before its action.
    positions = torch.arange(8.0).expand(2, 8)[..., None]
    assert batch.states(positions)[:, 0].tolist() == [5, 6, 7, 1]
    assert batch.spread(torch.tensor([1, 2, 3, 4])).tolist() == [[1, 2, 3], [4, 0, 0]]
    one = batch.select(torch.tensor([1]))
    assert (one.ids.tolist(), one.actions.tolist()) == ([[9, 4]], [[90]])
    with pytest.raises(PromptError, match="1 and 1"):
        ActionBatch.of(PROMPTS[:2], responses[:1], [True], language_model().spec)


class Recording(Step1LM):
    """Keeps what it said in each step of a generation."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__(config)
        self.said: list[torch.Tensor] = []

    def next_logits(self, ids, cache, padding=None):  # type: ignore[no-untyped-def]
        logits = super().next_logits(ids, cache, padding)
        self.said.append(logits.clone())
        return logits


def test_rollout_has_the_probabilities_of_its_draws() -> None:
    """Step by step from the cached generator, against one pass of the training network."""
    torch.manual_seed(1)
    lm = Recording(Step1Config.debug()).eval()
    rollout = roll_out(LMPolicy(lm), PROMPTS, SAMPLING, seeds=[1, 2, 3], draw_batch=2)
    assert "end" in [one.reason for one in rollout]
    for i, prompt in enumerate(PROMPTS):
        lm.said = []
        drawn, why = collect(lm.generate([prompt], SAMPLING, generators=[seeded(i + 1, "rollout")]))
        assert torch.equal(drawn[0], rollout[i].response)
        assert why == [rollout[i].reason]
        taken = torch.tensor(drawn[0].tolist() + [3] * (why[0] == "end"))
        logits = action_logits(torch.cat(lm.said), SAMPLING, lm.spec, torch.arange(len(lm.said)))
        expected = chosen_log_probs(logits, taken, lm.spec)
        torch.testing.assert_close(rollout[i].log_probs, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(rollout[i].log_probs, rollout[i].reference)
        # The grammar leaves 12 or 20 of 120 ids: no model's own distribution.
        assert bool((logits.exp() > 0).sum(1).le(21).all())


def test_values_and_gradients() -> None:
    moving = policy()
    rollout = roll_out(moving, PROMPTS, SAMPLING, seeds=[1, 2, 3])
    assert not any(one.values.any() for one in rollout)  # a fresh critic knows nothing
    batch = ActionBatch.of(
        PROMPTS, [one.response for one in rollout], [one.ended for one in rollout], moving.spec
    )
    out = moving(batch, SAMPLING)
    for row, one in zip(batch.rows(out.log_probs.detach()), rollout, strict=True):
        torch.testing.assert_close(row, one.log_probs)
    out.log_probs.sum().backward()
    assert all(p.grad is None for p in moving.critic.parameters())
    assert all(p.grad is not None for p in moving.actor.parameters())
    moving.zero_grad()
    moving(batch, act=False).values.sum().backward()
    assert all(p.grad is None for p in moving.actor.parameters())
    assert moving.critic.value_head.bias.grad.item() == batch.mask.sum()
    assert not any(p.requires_grad for p in moving.reference.parameters())
    assert not any("reference" in name for name in moving.state_dict())
    with pytest.raises(ValueError, match="no critic"):
        policy(critic=False).values(PROMPTS, [torch.tensor([80])] * 3)


def test_ending_is_one_action_whichever_end_is_drawn() -> None:
    lm = language_model(end_ids=(3, 7))
    batch = ActionBatch.of(PROMPTS[:1], [torch.tensor([80, 81, 95, 96, 97])], [True], lm.spec)
    found = action_scores(lm, batch, SAMPLING)[0][0, -1]
    logits = lm(batch.ids)[0, -1] / 0.8
    allowed = [3, 7, *range(80, 92)]
    expected = logits[[3, 7]].logsumexp(0) - logits[allowed].logsumexp(0)
    torch.testing.assert_close(found, expected)


def test_refusals() -> None:
    lm = language_model()
    batch = ActionBatch.of(PROMPTS[:1], [torch.tensor([95])], [False], lm.spec)
    with pytest.raises(TokenError, match="sampling forbids"):
        action_scores(lm, batch, SAMPLING)
    for changes in ({"temperature": 0.0}, {"top_p": 0.9}, {"top_k": 5}, {"repetition": "ras"}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            roll_out(LMPolicy(lm), PROMPTS, dataclasses.replace(SAMPLING, **changes), seeds=[1])
