"""Rollouts: responses drawn from the policy, and what policy, reference and critic say of them.

Drawing runs batched on the cached generator. Probabilities are then taken anew by the network that
is trained, with the sampling transform and the codebook grammar of the draw, so that the ratio of
the first update is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.lm.generate import collect
from stepaudio.rl.actions import ActionBatch, check_on_policy
from stepaudio.rl.policy import LMPolicy, action_scores
from stepaudio.seeds import seeded
from stepaudio.types import SamplingParams, StopReason

__all__ = ["Drawn", "roll_out"]


@dataclass(frozen=True)
class Drawn:
    """One response and what was thought of it when it was drawn; on the CPU, without gradients.

    Attributes:
        response: ``[R]`` int64 ids, without the end.
        reason: why it stopped.
        log_probs: ``[A]`` of its actions under the policy that drew it.
        reference: ``[A]`` under the frozen reference.
        values: ``[A]`` of the critic; zeros without one.
    """

    response: Tensor
    reason: StopReason
    log_probs: Tensor
    reference: Tensor
    values: Tensor

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self.reason == "end"


@torch.no_grad()
def roll_out(
    policy: LMPolicy,
    prompts: Sequence[Tensor],
    sampling: SamplingParams,
    *,
    seeds: Sequence[int],
    draw_batch: int = 32,
    score_batch: int = 8,
) -> list[Drawn]:
    """Draw one response per prompt and score it.

    Args:
        policy: draws; its critic is asked if there is one.
        prompts: ``[T_i]`` int64 ids each; several responses to one prompt need it several times.
        sampling: how to draw; see :func:`stepaudio.rl.actions.check_on_policy`.
        seeds: one per response, so that a response does not depend on its batch.
        draw_batch: responses drawn at once.
        score_batch: responses scored at once.

    Returns:
        One response per prompt, in order.

    Raises:
        PromptError: a prompt is empty or leaves no room in the context.
        ValueError: sampling from which nothing can be learned.
    """
    check_on_policy(sampling)
    drawn: list[Drawn] = []
    responses, reasons = _draw(policy, prompts, sampling, seeds, draw_batch)
    for start in range(0, len(prompts), score_batch):
        part = slice(start, start + score_batch)
        why = reasons[part]
        batch = ActionBatch.of(
            prompts[part], responses[part], [one == "end" for one in why], policy.spec
        ).to(policy.device)
        scores = (
            action_scores(policy.lm, batch, sampling)[0],
            action_scores(policy.reference, batch, sampling)[0],
            torch.zeros_like(batch.mask, dtype=torch.float32)
            if policy.critic is None
            else policy.critic(batch),
        )
        rows = zip(*(batch.rows(score.cpu()) for score in scores), strict=True)
        drawn += [
            Drawn(response, one, *row)
            for response, one, row in zip(responses[part], why, rows, strict=True)
        ]
    return drawn


def _draw(
    policy: LMPolicy,
    prompts: Sequence[Tensor],
    sampling: SamplingParams,
    seeds: Sequence[int],
    size: int,
) -> tuple[list[Tensor], list[StopReason]]:
    responses: list[Tensor] = []
    reasons: list[StopReason] = []
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        generators = [seeded(seed, "rollout") for seed in seeds[part]]
        steps = policy.lm.generate(prompts[part], sampling, generators=generators)
        streams, why = collect(steps)
        responses += [stream.cpu() for stream in streams]
        reasons += why
    return responses, reasons
