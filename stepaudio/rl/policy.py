"""The policy of reinforcement learning: an actor that moves, a critic, a frozen reference.

Source: paper section 3.2.3. The critic is a network of its own, so that warming it up leaves the
actor as it is, and begins as a copy of the reward model or of the actor (the paper does not say).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.hub import Pretrained
from stepaudio.interfaces import Policy
from stepaudio.lm.generate import collect
from stepaudio.lm.step1 import Step1Config, Step1Decoder, Step1LM
from stepaudio.rl.actions import PLAIN, ActionBatch, action_logits, chosen_log_probs
from stepaudio.rl.ppo_losses import entropy_of
from stepaudio.types import LMSpec, SamplingParams

__all__ = ["LMPolicy", "PolicyOutput", "ValueModel", "action_scores"]


class _Trunk(Protocol):
    """A decoder below some head: a language model, or a reward model made of one."""

    config: Step1Config
    model: Step1Decoder


class PolicyOutput(NamedTuple):
    """What a policy says of the actions of a batch, zero outside the mask.

    Attributes:
        log_probs: ``[B, A]`` of the actions taken.
        entropy: ``[B, A]`` of the choice, nats.
        values: ``[B, A]`` of the states in which they were taken.
    """

    log_probs: Tensor | None
    entropy: Tensor | None
    values: Tensor | None


class ValueModel(Pretrained):
    """A decoder that foresees the reward still to come at every position.

    Args:
        config: shapes, those of the language model.
    """

    config_class: ClassVar[type[Step1Config]] = Step1Config
    config: Step1Config

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.config = config
        self.model = Step1Decoder(config)
        self.value_head = nn.Linear(config.hidden_size, 1)
        # Every value is zero at first: an honest guess where nothing is known.
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    @classmethod
    def beside(cls, trunk: _Trunk) -> Self:
        """Begin with a copy of another model's decoder.

        Args:
            trunk: a language model or a reward model.

        Returns:
            A value model that shares nothing with it.
        """
        critic = cls(trunk.config)
        critic.model.load_state_dict(trunk.model.state_dict())
        weight = next(trunk.model.parameters())
        return critic.to(weight.device, weight.dtype)

    def forward(self, batch: ActionBatch) -> Tensor:
        """``[B, A]`` values of the states of ``batch``, float32."""
        hidden = self.model(self.model.embed_tokens(batch.ids))
        return batch.spread(self.value_head(batch.states(hidden))[:, 0].float())


class LMPolicy(nn.Module, Policy):
    """A Step1 language model being trained by reinforcement.

    The reference is no part of the state: it is never saved and has to be given again.

    Args:
        lm: the actor, moved in place.
        critic: None where no values are needed (GRPO).
        reference: what the actor is held near; None is a frozen copy of ``lm`` as it is now.

    Raises:
        ValueError: actor and reference speak different ids.
    """

    def __init__(
        self, lm: Step1LM, critic: ValueModel | None = None, reference: Step1LM | None = None
    ) -> None:
        super().__init__()
        self.actor = lm
        self.critic = critic
        held = copy.deepcopy(lm) if reference is None else reference
        if held.spec != lm.spec:
            raise ValueError(f"actor and reference must have one spec: {lm.spec}, {held.spec}")
        # In a tuple modules do not look into: neither trained nor saved.
        self._reference = (held.eval().requires_grad_(False),)

    @property
    def lm(self) -> Step1LM:
        """The actor."""
        return self.actor

    @property
    def reference(self) -> Step1LM:
        """The frozen model."""
        return self._reference[0]

    @property
    def spec(self) -> LMSpec:
        """Of the actor."""
        return self.actor.spec

    @property
    def device(self) -> torch.device:
        """Where the actor is."""
        return self.actor.lm_head.weight.device

    def forward(
        self,
        batch: ActionBatch,
        sampling: SamplingParams = PLAIN,
        *,
        act: bool = True,
        value: bool = True,
    ) -> PolicyOutput:
        """Score actions with the actor and their states with the critic.

        Args:
            batch: prompts and responses.
            sampling: the distribution whose probabilities are wanted.
            act: run the actor.
            value: run the critic.

        Returns:
            What was run; None for what was not.

        Raises:
            ValueError: values without a critic.
        """
        log_probs = entropy = None
        if act:
            log_probs, entropy = action_scores(self.actor, batch, sampling)
        return PolicyOutput(log_probs, entropy, self._critic()(batch) if value else None)

    def sample(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        """Draw one response per prompt.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            sampling: how to draw.
            generators: one per sample.

        Returns:
            ``[R_i]`` int64 ids each, without the end.
        """
        return collect(self.actor.generate(prompts, sampling, generators=generators))[0]

    def log_probs(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[Tensor]:
        """Log-probability of every response token under the actor at temperature 1, any id allowed.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            responses: ``[R_i]`` int64 ids each.

        Returns:
            ``[R_i]`` float each, with gradient.

        Raises:
            PromptError: unequal numbers.
        """
        batch = self._batch(prompts, responses, ended=False)
        return batch.rows(action_scores(self.actor, batch, PLAIN)[0])

    def values(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[Tensor]:
        """Value of every response position and of the end.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            responses: ``[R_i]`` int64 ids each.

        Returns:
            ``[R_i + 1]`` float each, with gradient.

        Raises:
            PromptError: unequal numbers.
            ValueError: there is no critic.
        """
        # The state after the last token is the one in which ending would be decided.
        batch = self._batch(prompts, responses, ended=True)
        return batch.rows(self._critic()(batch))

    def _batch(
        self, prompts: Sequence[Tensor], responses: Sequence[Tensor], *, ended: bool
    ) -> ActionBatch:
        ends = [ended] * len(responses)
        return ActionBatch.of(prompts, responses, ends, self.spec).to(self.device)

    def _critic(self) -> ValueModel:
        if self.critic is None:
            raise ValueError("this policy has no critic; build it with a ValueModel")
        return self.critic


def action_scores(
    lm: Step1LM, batch: ActionBatch, sampling: SamplingParams
) -> tuple[Tensor, Tensor]:
    """Score actions with a language model; its output layer runs on their positions only.

    Args:
        lm: the model.
        batch: prompts and responses.
        sampling: the distribution whose probabilities are wanted.

    Returns:
        Log-probabilities and entropies in nats, ``[B, A]`` float32 each, zero outside the mask.

    Raises:
        TokenError: an action that ``sampling`` forbids.
    """
    hidden = batch.states(lm.model(lm.model.embed_tokens(batch.ids)))
    generated = batch.mask.nonzero()[:, 1]
    logits = action_logits(lm.lm_head(hidden), sampling, lm.spec, generated)
    chosen = chosen_log_probs(logits, batch.actions[batch.mask], lm.spec)
    return batch.spread(chosen), batch.spread(entropy_of(logits))
