"""Supervised fine-tuning: the assistant's turn is learned, the rest is only read.

Source: paper section 3.1 (one epoch, learning rate from 1e-5 down to 1e-6). Batch size and the
shape of the decay are not stated; a cosine is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stepaudio.lm.step1 import Step1LM
from stepaudio.training.language_model import LanguageModelStage, load_language_model
from stepaudio.training.packed_stage import PackedConfig
from stepaudio.training.packing import Packed, pack
from stepaudio.training.rows import CompletionRow, Rows, completion_rows
from stepaudio.training.stage import Mean

__all__ = ["SFT", "SFTConfig"]


@dataclass(frozen=True, kw_only=True)
class SFTConfig(PackedConfig):
    """Settings of supervised fine-tuning; the defaults are the paper's where it names them.

    ``data`` holds rows with ``prompt`` and ``completion``.
    """

    learning_rate: float = 1e-5
    final_learning_rate: float = 1e-6


class SFT(LanguageModelStage[Packed]):
    """Supervised fine-tuning.

    Args:
        config: how it is trained.
        lm: the model to start from, changed in place; None loads ``config.model``.

    Raises:
        CheckpointError: there is no such model.
        DataError: a row is wrong, or longer than a pack.
    """

    config: SFTConfig

    def __init__(self, config: SFTConfig, lm: Step1LM | None = None) -> None:
        lm = load_language_model(config.model) if lm is None else lm
        self.rows: Rows[CompletionRow] = completion_rows(config.data, lm.spec)
        super().__init__(config, lm, self.rows.lengths)
        spec = lm.spec
        self._audio = (spec.audio_offset, spec.audio_offset + spec.tokens.size)

    def batch(self, rows: Sequence[int]) -> Packed:
        """One pack.

        Args:
            rows: their numbers.

        Returns:
            The rows end to end.
        """
        return pack([self.rows[number] for number in rows])

    def losses(self, model: nn.Module, batch: Packed) -> Mapping[str, Mean]:
        """Negative log-likelihood of the answers, per token.

        Args:
            model: an :class:`~stepaudio.training.language_model.AnswerLogProbs`.
            batch: one pack.

        Returns:
            ``loss`` over all answer tokens, ``audio_loss`` over those that are audio ids.
        """
        surprise: Tensor = -model(batch)
        first, stop = self._audio
        audio = (batch.targets >= first) & (batch.targets < stop)
        heard = torch.where(audio, surprise.detach(), 0.0).sum()
        return {
            "loss": Mean(surprise.sum(), len(surprise)),
            "audio_loss": Mean(heard, audio.sum()),
        }
