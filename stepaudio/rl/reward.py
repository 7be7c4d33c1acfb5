"""A reward model on dual-codebook token ids: the SFT decoder with a scalar head.

It reads prompt and answer and gives one score where the answer ends; no sound is made (paper
section 3.2.2, which calls it token-level and does not define a reward per token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.errors import PromptError
from stepaudio.hub import Pretrained
from stepaudio.interfaces import RewardModel
from stepaudio.lm.step1 import Step1Config, Step1Decoder, Step1LM, init_weights, spec_of
from stepaudio.rl.pairs import ended
from stepaudio.training.packing import Packed, pack
from stepaudio.types import LMSpec

__all__ = ["TokenRewardModel"]


class TokenRewardModel(Pretrained, RewardModel):
    """Scores answers by their ids.

    The head is zero at first, so that every answer has the same score and the first
    Bradley-Terry loss is ``ln 2``.

    Args:
        config: of the language model it is made from.
    """

    config_class: ClassVar[type[Step1Config]] = Step1Config
    config: Step1Config

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.config = config
        self.model = Step1Decoder(config)
        self.score_head = nn.Linear(config.hidden_size, 1, bias=False)
        init_weights(self, config)
        nn.init.zeros_(self.score_head.weight)

    @classmethod
    def from_language_model(cls, lm: Step1LM) -> Self:
        """Start from a fine-tuned language model (paper section 3.2.2).

        Args:
            lm: its decoder is copied, its output layer is not used.

        Returns:
            The reward model, where the language model is.
        """
        made = cls(lm.config)
        made.model.load_state_dict(lm.model.state_dict())
        weight = lm.lm_head.weight
        return made.to(weight.device, weight.dtype)

    @property
    def spec(self) -> LMSpec:
        """Which ids it can score."""
        return spec_of(self.config)

    def forward(self, packed: Packed) -> Tensor:
        """Score every text of a packed row.

        Args:
            packed: prompts and answers with their ends.

        Returns:
            ``[S]`` float32.
        """
        hidden = self.model(self.model.embed_tokens(packed.ids), documents=packed.documents)
        scores: Tensor = self.score_head(hidden[0, packed.ends])
        return scores[:, 0].float()

    @torch.no_grad()
    def score(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> Tensor:
        """Score responses to prompts.

        A response is scored where its turn ends; the end id is added if it is not there, so
        whether a response was cut short cannot be seen in the score.

        Args:
            prompts: ``[T_i]`` int64 ids each, not empty.
            responses: ``[R_i]`` int64 ids each.

        Returns:
            ``[B]`` float scores, higher is better.

        Raises:
            PromptError: other numbers of prompts and responses, none at all, ids the model does
                not know, or more than its context holds.
        """
        if len(prompts) != len(responses) or not prompts:
            raise PromptError(
                f"{len(prompts)} prompts and {len(responses)} responses cannot be scored; give "
                "one response for each prompt"
            )
        device, spec = self.score_head.weight.device, self.spec
        texts = []
        for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            text = (prompt.to(device), ended(response.to(device), spec.end_ids))
            ids = torch.cat(text)
            if not len(prompt) or len(ids) > spec.context_length:
                raise PromptError(
                    f"pair {number} has a prompt of {len(prompt)} ids and {len(ids)} in all; the "
                    f"prompt must not be empty and {spec.context_length} fit the context"
                )
            if int(ids.min()) < 0 or int(ids.max()) >= spec.vocab_size:
                raise PromptError(f"pair {number} has ids outside 0..{spec.vocab_size - 1}")
            texts.append(text)
        packed = pack(texts)
        moved = packed._replace(ids=packed.ids.to(device), ends=packed.ends.to(device))
        scores: Tensor = self(moved)
        return scores
