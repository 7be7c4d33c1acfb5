"""What SFT, reward modelling and DPO share: rows of a file, packed, for some epochs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stepaudio.errors import ConfigError
from stepaudio.safety.weights import sampled_digest
from stepaudio.seeds import seeded
from stepaudio.training.config import TrainingConfig
from stepaudio.training.lora import LoraSettings
from stepaudio.training.packing import LazyBatches, plan_packs
from stepaudio.training.rows import Rows
from stepaudio.training.stage import Stage

__all__ = ["PackedConfig", "PackedStage", "plan_epochs"]

B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class PackedConfig(TrainingConfig):
    """Settings of a stage that reads rows from a file.

    Attributes:
        data: JSONL file of rows; see :mod:`stepaudio.training.rows`.
        model: the language model to start from: its folder, the folder or hub id of a pipeline,
            or none for the embedded model.
        epochs: how often every row is seen.
        pack_tokens: tokens of a micro-batch at most; rows are packed into it.
        packs_per_step: micro-batches of an optimizer step, shared out among the processes.
        lora: train low-rank adapters instead of the whole model; needs the extra ``lora``.

    Raises:
        ConfigError: a number outside its range.
    """

    data: str
    model: str | None = None
    epochs: int = 1
    pack_tokens: int = 8192
    packs_per_step: int = 8
    lora: LoraSettings | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("epochs", "pack_tokens", "packs_per_step")
        if not self.data:
            raise ConfigError("data is empty; name a JSONL file of rows")


class PackedStage(Stage[B]):
    """A stage whose micro-batches are packs of rows.

    Args:
        config: how it is trained.
        lengths: tokens of each row.

    Attributes:
        rows: what is learned; subclasses set it.

    Raises:
        DataError: a row is longer than a pack.
    """

    config: PackedConfig
    rows: Rows[Any]

    def __init__(self, config: PackedConfig, lengths: Sequence[int]) -> None:
        self.config = config
        self._plan = plan_epochs(config, lengths)
        self._start: str | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return len(self._plan)

    def fingerprint(self) -> dict[str, str]:
        """Digests of the file of rows and of the model to start from."""
        if self._start is None:  # the model has moved when the same stage is trained again
            self._start = sampled_digest(self.model)
        return {"data": self.rows.digest, "model": self._start}

    def batches(self, step: int) -> Sequence[B]:
        """Packs of one step.

        Args:
            step: from 0 on.

        Returns:
            Made when asked for.
        """
        packs = self._plan[step]
        return LazyBatches(len(packs), lambda number: self.batch(packs[number]))

    @abstractmethod
    def batch(self, rows: Sequence[int]) -> B:
        """One micro-batch.

        Args:
            rows: their numbers.

        Returns:
            Tensors on the CPU.
        """


def plan_epochs(config: PackedConfig, lengths: Sequence[int]) -> list[list[list[int]]]:
    """Which rows every step takes.

    Args:
        config: seed, epochs and sizes.
        lengths: tokens of each row.

    Returns:
        Steps of packs of row numbers. Every epoch has each row once; its last step may be short.

    Raises:
        DataError: a row is longer than a pack.
    """
    steps = []
    for epoch in range(config.epochs):
        generator = seeded(config.seed, f"rows of epoch {epoch}")
        packs = plan_packs(lengths, config.pack_tokens, generator)
        size = config.packs_per_step
        steps += [packs[i : i + size] for i in range(0, len(packs), size)]
    return steps
