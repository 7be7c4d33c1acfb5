"""What the loop asks of a way to train, such as SFT, DPO or PPO.

A stage owns a model and says for every step which micro-batches it takes and what is lost on one
of them. All else (devices, processes, accumulation, checkpoints, logs) is the loop's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from torch import Tensor, nn

from stepaudio.training.config import TrainingConfig
from stepaudio.training.schedule import cosine_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Group", "Mean", "Stage"]

B = TypeVar("B")


class Mean(NamedTuple):
    """A mean still in two pieces, so that it can be taken over all micro-batches of a step.

    Attributes:
        total: scalar sum.
        weight: how many things were summed, such as tokens or pairs.
    """

    total: Tensor
    weight: Tensor | float


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate.

    Attributes:
        parameters: of the stage's model.
        rate: learning rate of a step. In a step with rate 0 the parameters and what the optimizer
            knows of them stay as they are, bit for bit.
        weight_decay: of AdamW.
    """

    parameters: Sequence[nn.Parameter]
    rate: Callable[[int], float]
    weight_decay: float = 0.0


class Stage(ABC, Generic[B]):
    """One way to train.

    Everything must follow from the config, the step and the model alone, never from how many
    processes there are or whether the run was interrupted. Draw random numbers from
    ``seeded(config.seed, f"... {step}")``.

    Attributes:
        model: what is trained. Only parameters that require a gradient are kept in checkpoints.
        config: how it is trained.
    """

    model: nn.Module
    config: TrainingConfig

    @property
    @abstractmethod
    def steps(self) -> int:
        """Optimizer steps of the whole training."""

    @abstractmethod
    def batches(self, step: int) -> Sequence[B]:
        """Micro-batches of one step, the same for any number of processes.

        Called once per step in every process. Process ``r`` of ``n`` takes items ``r``,
        ``r + n``, and so on; where they do not come out even, the others take any item a second
        time without counting it. An empty sequence leaves the model as it is in this step.

        Args:
            step: from 0 on.

        Returns:
            Micro-batches of tensors on the CPU, in tuples, lists or dicts.
        """

    @abstractmethod
    def losses(self, model: nn.Module, batch: B) -> Mapping[str, Mean]:
        """What one micro-batch costs.

        The loop minimises the mean ``"loss"`` over the whole step, weighted as told, and logs all
        means. The names must be the same for every batch.

        Args:
            model: :attr:`model` as prepared for this machine; call it, not its parts.
            batch: on the model's device.

        Returns:
            Named means; the total of ``"loss"`` carries the gradient.
        """

    @abstractmethod
    def export(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write what the training was for.

        Args:
            weights: of the whole :attr:`model`, on the CPU.
            folder: empty.
        """

    def groups(self) -> list[Group]:
        """Parameters and their learning rates; all of the model at the config's by default."""
        config = self.config

        def rate(step: int) -> float:
            return cosine_rate(
                step,
                total=self.steps,
                start=config.learning_rate,
                end=config.final_learning_rate,
                warmup=config.warmup_steps,
            )

        moving = [p for p in self.model.parameters() if p.requires_grad]
        return [Group(moving, rate, config.weight_decay)]

    def fingerprint(self) -> dict[str, str]:
        """What the training begins with that the config only names, such as the rows of a file.

        A run goes on only while it is the same, so it must not follow the model as that moves.

        Returns:
            Digests by what they are of; named as the setting that leads there, if there is one.
        """
        return {}

    def start(self, accelerator: Accelerator, model: nn.Module) -> None:
        """Called once before the first step, when :attr:`model` is in place.

        Args:
            accelerator: knows the device and the other processes.
            model: :attr:`model` as prepared for this machine.
        """

    def state(self) -> dict[str, Tensor]:
        """What else a checkpoint must hold for the next step to come out the same."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`.

        Args:
            state: as it was, on the CPU.
        """
