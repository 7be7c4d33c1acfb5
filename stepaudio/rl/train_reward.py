"""Training the reward model on preference pairs of people and of judges.

Source: paper section 3.2.2 (from the SFT model, Bradley-Terry, one epoch, cosine from 2e-5 to
1e-5, both kinds of pairs mixed, on token ids). The margin inside the sigmoid is an option the
paper does not use; it is off by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stepaudio.interfaces import RewardModel
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.pairs import PairBatch, pack_pairs, pair_means
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.training.config import require_not_negative
from stepaudio.training.language_model import load_language_model
from stepaudio.training.lora import add_lora, merge_lora
from stepaudio.training.packed_stage import PackedConfig, PackedStage
from stepaudio.training.rows import ORIGINS, PairRow, Rows, pair_rows
from stepaudio.training.stage import Mean

__all__ = ["RewardConfig", "RewardTraining", "pairwise_accuracy"]


@dataclass(frozen=True, kw_only=True)
class RewardConfig(PackedConfig):
    """Settings of reward modelling; the defaults are the paper's where it names them.

    ``data`` holds rows with ``prompt``, ``chosen``, ``rejected``, and perhaps ``margin`` and
    ``origin``.

    Attributes:
        human_margin: by how much more the better answer should score for every point of ``margin``
            on the scale of people (1 to 5); 0 only asks that it scores more.
        judge_margin: the same on the scale of judges (1 to 10).

    Raises:
        ConfigError: a margin that is negative or not finite.
    """

    learning_rate: float = 2e-5
    final_learning_rate: float = 1e-5
    human_margin: float = 0.0
    judge_margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "human_margin", "judge_margin")


class RewardTraining(PackedStage[PairBatch]):
    """Reward modelling.

    Args:
        config: how it is trained.
        lm: the fine-tuned model to start from; None loads ``config.model``.

    Raises:
        CheckpointError: there is no such model.
        DataError: a row is wrong, or longer than a pack.
    """

    config: RewardConfig

    def __init__(self, config: RewardConfig, lm: Step1LM | None = None) -> None:
        lm = load_language_model(config.model) if lm is None else lm
        self.rows: Rows[PairRow] = pair_rows(config.data, lm.spec)
        super().__init__(config, self.rows.lengths)
        self.model: TokenRewardModel = TokenRewardModel.from_language_model(lm)
        if config.lora is not None:
            add_lora(self.model, config.lora, config.seed)
            self.model.score_head.requires_grad_(True)
        points = {"human": config.human_margin, "judge": config.judge_margin, "": 0.0}
        self._points = torch.tensor([points[name] for name in ORIGINS])

    def batch(self, rows: Sequence[int]) -> PairBatch:
        """One pack.

        Args:
            rows: numbers of the pairs.

        Returns:
            The pairs, every answer with its end.
        """
        return pack_pairs([self.rows[number] for number in rows], self.model.spec.end_ids)

    def losses(self, model: nn.Module, batch: PairBatch) -> Mapping[str, Mean]:
        """Bradley-Terry loss of one pack.

        Args:
            model: a :class:`~stepaudio.rl.reward.TokenRewardModel`.
            batch: one pack.

        Returns:
            As :func:`~stepaudio.rl.pairs.pair_means`.
        """
        points = self._points.to(batch.origins.device)[batch.origins]
        return pair_means(model(batch.packed), batch, points * batch.margins)

    def export(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the reward model, adapters merged.

        Args:
            weights: of :attr:`model`.
            folder: for :meth:`~stepaudio.rl.reward.TokenRewardModel.from_pretrained`.
        """
        if self.config.lora is not None:
            weights = merge_lora(weights, self.config.lora)
        self.model.save_pretrained(folder, weights=weights)


def pairwise_accuracy(model: RewardModel, rows: Sequence[PairRow]) -> dict[str, float]:
    """How often a reward model agrees with preferences it has not seen; a draw is half right.

    Args:
        model: any reward model.
        rows: such as :func:`stepaudio.training.rows.pair_rows`.

    Returns:
        Shares of pairs: ``all``, and one for each origin that occurs.
    """
    right: dict[str, list[float]] = {"all": []}
    for row in rows:
        chosen, rejected = model.score([row.prompt] * 2, [row.chosen, row.rejected]).tolist()
        verdict = 0.5 if chosen == rejected else float(chosen > rejected)
        right["all"].append(verdict)
        if row.origin:
            right.setdefault(row.origin, []).append(verdict)
    return {name: sum(verdicts) / len(verdicts) for name, verdicts in right.items() if verdicts}
