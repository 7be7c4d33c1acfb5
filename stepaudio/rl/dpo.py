"""Direct preference optimisation (Rafailov et al. 2023): the pairs train the policy itself.

Not in the paper; StepFun published it later beside GRPO. The default ``beta`` is that of the
original; recipes for speech tokens also use 0.01 (CosyVoice 2).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.losses import implicit_reward
from stepaudio.rl.pairs import PairBatch, pack_pairs, pair_means
from stepaudio.training.language_model import LanguageModelStage, load_language_model
from stepaudio.training.packed_stage import PackedConfig
from stepaudio.training.packing import Packed
from stepaudio.training.rows import PairRow, Rows, pair_rows
from stepaudio.training.stage import Mean

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["DPO", "DPOConfig", "answer_sums"]


@dataclass(frozen=True, kw_only=True)
class DPOConfig(PackedConfig):
    """Settings of DPO.

    ``data`` holds rows with ``prompt``, ``chosen`` and ``rejected``.

    Attributes:
        beta: strength of the pull to the model it starts from.

    Raises:
        ConfigError: ``beta`` is not above 0.
    """

    learning_rate: float = 1e-6
    final_learning_rate: float = 1e-7
    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("beta")


class DPO(LanguageModelStage[PairBatch]):
    """Direct preference optimisation.

    Args:
        config: how it is trained.
        lm: the fine-tuned model to start from, changed in place, and held near to; None loads
            ``config.model``.

    Raises:
        CheckpointError: there is no such model.
        DataError: a row is wrong, or longer than a pack.
    """

    config: DPOConfig

    def __init__(self, config: DPOConfig, lm: Step1LM | None = None) -> None:
        lm = load_language_model(config.model) if lm is None else lm
        self.rows: Rows[PairRow] = pair_rows(config.data, lm.spec)
        reference = copy.deepcopy(lm)
        super().__init__(config, lm, self.rows.lengths)
        self.reference: nn.Module = type(self.model)(reference).requires_grad_(False).eval()

    def start(self, accelerator: Accelerator, model: nn.Module) -> None:
        """Bring the reference to the device of the model.

        Args:
            accelerator: knows it.
            model: not used.
        """
        self.reference = accelerator.prepare_model(self.reference, evaluation_mode=True)

    def batch(self, rows: Sequence[int]) -> PairBatch:
        """One pack.

        Args:
            rows: numbers of the pairs.

        Returns:
            The pairs as they are.
        """
        return pack_pairs([self.rows[number] for number in rows])

    def losses(self, model: nn.Module, batch: PairBatch) -> Mapping[str, Mean]:
        """Bradley-Terry loss of the implicit rewards.

        Args:
            model: an :class:`~stepaudio.training.language_model.AnswerLogProbs`.
            batch: one pack.

        Returns:
            As :func:`~stepaudio.rl.pairs.pair_means`, and ``chosen_logp``, the log-probability of
            the better answers, which must not fall far.
        """
        log_probs = answer_sums(model(batch.packed), batch.packed)
        with torch.no_grad():
            reference = answer_sums(self.reference(batch.packed), batch.packed)
        rewards = implicit_reward(log_probs, reference, self.config.beta)
        chosen = log_probs.detach()[0::2]
        return {**pair_means(rewards, batch), "chosen_logp": Mean(chosen.sum(), len(chosen))}


def answer_sums(log_probs: Tensor, packed: Packed) -> Tensor:
    """Log-probability of every whole answer.

    Args:
        log_probs: ``[N]`` of the tokens of all answers.
        packed: the texts.

    Returns:
        ``[S]``, one per text.
    """
    sums = log_probs.new_zeros(len(packed.ends))
    return sums.index_add(0, packed.owners, log_probs)
