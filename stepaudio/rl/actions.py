"""Responses as actions: what a policy did, laid out for one pass through a network.

Every token of a response is an action, and so is ending it. A response that was cut by a length
limit has no end, hence one action less. A state is everything before an action; a network reads a
state at the position before its action, so no position sees its own action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stepaudio.errors import PromptError, TokenError
from stepaudio.lm.sampling import check_sampling, restrict
from stepaudio.types import LMSpec, SamplingParams

__all__ = ["PLAIN", "ActionBatch", "action_logits", "check_on_policy", "chosen_log_probs"]

#: The distribution of a model itself: no temperature, no grammar.
PLAIN = SamplingParams(temperature=1.0, constrain=False)


@dataclass(frozen=True)
class ActionBatch:
    """Responses of different lengths, padded on the right.

    Attributes:
        ids: ``[B, T]`` int64 what a network reads: prompt and response.
        starts: ``[B]`` int64 position whose output decides the first action.
        actions: ``[B, A]`` int64 ids; an end is the first end id of the model.
        mask: ``[B, A]`` bool, True at the actions, which come first in each row.
    """

    ids: Tensor
    starts: Tensor
    actions: Tensor
    mask: Tensor

    @classmethod
    def of(
        cls,
        prompts: Sequence[Tensor],
        responses: Sequence[Tensor],
        ended: Sequence[bool],
        spec: LMSpec,
    ) -> ActionBatch:
        """Lay pairs out.

        Args:
            prompts: ``[T_i]`` int64 ids each, not empty.
            responses: ``[R_i]`` int64 ids each, without the end.
            ended: per response, whether the end was an action too.
            spec: knows the end.

        Returns:
            The batch, on the CPU.

        Raises:
            PromptError: unequal numbers, no pairs, or an empty prompt.
        """
        if not len(prompts) == len(responses) == len(ended) or not prompts:
            raise PromptError(
                f"{len(prompts)} prompts need as many responses and ends, at least one; "
                f"got {len(responses)} and {len(ended)}"
            )
        if not all(len(prompt) for prompt in prompts):
            raise PromptError("a prompt is empty; it needs at least one id")
        end = torch.tensor([spec.end_ids[0]])
        acts = [
            torch.cat([response.cpu(), end[: int(over)]])
            for response, over in zip(responses, ended, strict=True)
        ]
        # The last action is decided, never read.
        read = [
            torch.cat([prompt.cpu(), act[:-1]]) for prompt, act in zip(prompts, acts, strict=True)
        ]
        lengths = torch.tensor([len(act) for act in acts])
        actions = pad_sequence(acts, batch_first=True)
        return cls(
            ids=pad_sequence(read, batch_first=True),
            starts=torch.tensor([len(prompt) - 1 for prompt in prompts]),
            actions=actions,
            mask=torch.arange(actions.shape[1]) < lengths[:, None],
        )

    def to(self, device: torch.device) -> ActionBatch:
        """The same on a device."""
        return ActionBatch(
            self.ids.to(device),
            self.starts.to(device),
            self.actions.to(device),
            self.mask.to(device),
        )

    def select(self, rows: Tensor) -> ActionBatch:
        """Some responses, without the padding that only others needed.

        Args:
            rows: ``[B']`` int64.

        Returns:
            A smaller batch.
        """
        mask = self.mask[rows]
        width = int(mask.sum(1).max())
        starts = self.starts[rows]
        length = int((starts + mask.sum(1)).max())
        return ActionBatch(
            self.ids[rows, :length], starts, self.actions[rows, :width], mask[:, :width]
        )

    def states(self, hidden: Tensor) -> Tensor:
        """What a network made of the states in which the ``N`` actions of the mask were taken.

        Args:
            hidden: ``[B, T, D]`` outputs for :attr:`ids`.

        Returns:
            ``[N, D]``, in the order of ``mask.nonzero()``.
        """
        row, step = self.mask.nonzero(as_tuple=True)
        return hidden[row, self.starts[row] + step]

    def rows(self, values: Tensor) -> list[Tensor]:
        """Each response's own ``[A_i]`` of ``[B, A]`` numbers of its actions."""
        mask = self.mask.to(values.device)
        return [row[kept] for row, kept in zip(values, mask, strict=True)]

    def spread(self, values: Tensor) -> Tensor:
        """Numbers of the actions back to their places, zero elsewhere.

        Args:
            values: ``[N]`` in the order of ``mask.nonzero()``.

        Returns:
            ``[B, A]``.
        """
        return values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)


def check_on_policy(sampling: SamplingParams) -> None:
    """Refuse sampling whose probabilities cannot be those of a policy gradient.

    Greedy choice has no distribution. Top-k and top-p forbid ids that the moving policy, or the
    reference, may allow a step later, so that ratios and divergences become infinite or zero.
    Repetition rules draw from another distribution than the one whose probability is taken.

    Args:
        sampling: how responses are drawn.

    Raises:
        ValueError: names the setting and what is allowed.
    """
    check_sampling(sampling)
    rules = (
        ("temperature", sampling.temperature > 0, "above 0"),
        ("top_k", sampling.top_k == 0, "0"),
        ("top_p", sampling.top_p == 1, "1"),
        ("repetition", sampling.repetition == "none", "'none'"),
    )
    for name, good, wanted in rules:
        if not good:
            raise ValueError(
                f"{name} is {getattr(sampling, name)!r} but must be {wanted} when responses are "
                "drawn to learn from: otherwise their probabilities are not those of the policy"
            )


def action_logits(
    logits: Tensor, sampling: SamplingParams, spec: LMSpec, generated: Tensor
) -> Tensor:
    """Logits of the distribution that is really drawn from: grammar, end guard, temperature.

    The very functions of :func:`stepaudio.lm.sampling.sample_next`, so that what is learned is what
    was done.

    Args:
        logits: ``[N, V]`` of the model.
        sampling: accepted by :func:`check_on_policy`.
        spec: codebooks and ends.
        generated: ``[N]`` int64 actions before each.

    Returns:
        ``[N, V]`` float32.
    """
    return restrict(logits, sampling, spec, generated) / sampling.temperature


def chosen_log_probs(logits: Tensor, actions: Tensor, spec: LMSpec) -> Tensor:
    """Log-probability of what was done.

    A model may have several end ids; ending is one action, whichever of them was drawn.

    Args:
        logits: ``[N, V]`` from :func:`action_logits`.
        actions: ``[N]`` int64.
        spec: knows the ends.

    Returns:
        ``[N]``.

    Raises:
        TokenError: an action that the distribution does not allow.
    """
    log_probs = logits.log_softmax(-1)
    chosen = log_probs.gather(1, actions[:, None])[:, 0]
    ends = torch.tensor(spec.end_ids, device=logits.device)
    at = torch.isin(actions, ends).nonzero()[:, 0]
    if len(ends) > 1 and len(at):
        chosen = chosen.index_put((at,), log_probs[at][:, ends].logsumexp(-1))
    if not bool(chosen.isfinite().all()):
        raise TokenError(
            "a response holds an id that its sampling forbids, or the model's scores are not "
            "finite; score responses with the sampling they were drawn with"
        )
    return chosen
