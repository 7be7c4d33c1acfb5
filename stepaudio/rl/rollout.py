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

__all__ = ["Rollout", "roll_out"]


@dataclass(frozen=True)
class Rollout:
    """Responses and what was thought of them when they were drawn; no gradients.

    Attributes:
        prompts: ``[T_i]`` int64 ids each.
        responses: ``[R_i]`` int64 ids each, without the end.
        reasons: why each response stopped.
        batch: the same as actions.
        log_probs: ``[B, A]`` under the policy that drew them.
        reference: ``[B, A]`` under the frozen reference.
        values: ``[B, A]`` of the critic; None without one.
    """

    prompts: tuple[Tensor, ...]
    responses: tuple[Tensor, ...]
    reasons: tuple[StopReason, ...]
    batch: ActionBatch
    log_probs: Tensor
    reference: Tensor
    values: Tensor | None

    @property
    def ended(self) -> Tensor:
        """``[B]`` bool: the response ended by itself."""
        return torch.tensor([reason == "end" for reason in self.reasons])

    @property
    def lengths(self) -> Tensor:
        """``[B]`` int64 tokens of each response, without the end."""
        return torch.tensor([len(response) for response in self.responses])


@torch.no_grad()
def roll_out(
    policy: LMPolicy,
    prompts: Sequence[Tensor],
    sampling: SamplingParams,
    *,
    seeds: Sequence[int],
    micro_batch: int = 8,
) -> Rollout:
    """Draw one response per prompt and score it.

    Args:
        policy: draws; its critic is asked if there is one.
        prompts: ``[T_i]`` int64 ids each; several responses to one prompt need it several times.
        sampling: how to draw; see :func:`stepaudio.rl.actions.check_on_policy`.
        seeds: one per response, so that a response does not depend on its batch.
        micro_batch: responses drawn or scored at once.

    Returns:
        The rollout.

    Raises:
        PromptError: a prompt is empty or leaves no room in the context.
        ValueError: sampling from which nothing can be learned.
    """
    check_on_policy(sampling)
    responses: list[Tensor] = []
    reasons: list[StopReason] = []
    for start in range(0, len(prompts), micro_batch):
        part = slice(start, start + micro_batch)
        drawn, why = collect(
            policy.lm.generate(
                prompts[part], sampling, generators=[seeded(seed, "rollout") for seed in seeds[part]]
            )
        )
        responses += [response.cpu() for response in drawn]
        reasons += why
    batch = ActionBatch.of(
        prompts, responses, [why == "end" for why in reasons], policy.spec, policy.device
    )
    empty = torch.zeros(batch.mask.shape, device=policy.device)
    log_probs, reference = empty, empty.clone()
    values = None if policy.critic is None else empty.clone()
    for rows in torch.arange(len(prompts), device=policy.device).split(micro_batch):
        piece = batch.select(rows)
        width = piece.mask.shape[1]
        log_probs[rows, :width] = action_scores(policy.lm, piece, sampling)[0]
        reference[rows, :width] = action_scores(policy.reference, piece, sampling)[0]
        if values is not None and policy.critic is not None:
            values[rows, :width] = policy.critic(piece)
    return Rollout(
        tuple(prompts), tuple(responses), tuple(reasons), batch, log_probs, reference, values
    )
