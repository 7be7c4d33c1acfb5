"""The language model as training sees it: packed texts in, log-probabilities of answers out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.errors import CheckpointError
from stepaudio.hub import CONFIG_FILE
from stepaudio.lm.step1 import Step1LM
from stepaudio.locate import locate
from stepaudio.parts import PIPELINE_FILE, load_part
from stepaudio.training.lora import add_lora, merge_lora
from stepaudio.training.packed_stage import PackedConfig, PackedStage
from stepaudio.training.packing import Packed

__all__ = ["AnswerLogProbs", "LanguageModelStage", "load_language_model"]

B = TypeVar("B")
_PREFIX = "lm."


def load_language_model(name: str | None) -> Step1LM:
    """Load the model to start from, in float32.

    Args:
        name: folder of a language model, folder or hub id of a pipeline, or None for the embedded
            one.

    Returns:
        The model on the CPU.

    Raises:
        CheckpointError: there is no such model, or it is of a kind that cannot be trained.
    """
    if name is not None and (Path(name) / CONFIG_FILE).is_file():
        return _trainable(Step1LM.from_pretrained(name), Path(name))
    folder = locate(name)
    lm = load_part(folder, "lm")
    if not isinstance(lm, Step1LM):
        raise CheckpointError(
            f"the language model of {folder / PIPELINE_FILE} is a {type(lm).__name__}; "
            "only Step1LM can be trained"
        )
    return _trainable(lm, folder)


def _trainable(lm: Step1LM, folder: Path) -> Step1LM:
    if lm.config.bits is not None:
        raise CheckpointError(
            f"the language model in {folder} has weights of {lm.config.bits} bits, which cannot be "
            "trained; start from the model it was made from"
        )
    return lm


class AnswerLogProbs(nn.Module):
    """How likely a model finds the answers it is shown.

    The output layer runs on the answers only.

    Args:
        lm: the model; kept as :attr:`lm`.
    """

    def __init__(self, lm: Step1LM) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, packed: Packed) -> Tensor:
        """Log-probability of every answer token, ``[N]`` float32."""
        decoder = self.lm.model
        hidden = decoder(decoder.embed_tokens(packed.ids), documents=packed.documents)
        logits = self.lm.lm_head(hidden[0, packed.places])
        return -F.cross_entropy(logits.float(), packed.targets, reduction="none")


class LanguageModelStage(PackedStage[B]):
    """A stage that trains a language model and writes one.

    Args:
        config: how it is trained.
        lm: the model to start from; changed in place.
        lengths: tokens of each row.

    Raises:
        DataError: a row is longer than a pack.
        MissingExtraError: LoRA is wanted and peft is not installed.
    """

    def __init__(self, config: PackedConfig, lm: Step1LM, lengths: Sequence[int]) -> None:
        super().__init__(config, lengths)
        self.model: AnswerLogProbs = AnswerLogProbs(lm)
        if config.lora is not None:
            add_lora(self.model, config.lora, config.seed)

    def export(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the language model, adapters merged.

        Args:
            weights: of :attr:`model`.
            folder: for :meth:`stepaudio.lm.step1.Step1LM.from_pretrained`.
        """
        if self.config.lora is not None:
            weights = merge_lora(weights, self.config.lora)
        plain = {name.removeprefix(_PREFIX): value for name, value in weights.items()}
        self.model.lm.save_pretrained(folder, weights=plain)
