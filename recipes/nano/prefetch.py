"""The batches of a training, one per step, drawn ahead by other processes if the machine has any.

What a step is trained on depends on the number of the step alone (and on the progress, if the
stage draws by it), not on who draws it or when. So a training that is stopped goes on with the
very batch it would have had, and what had been drawn ahead is simply drawn again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from recipes.nano.machine import Machine

__all__ = ["Batch", "Batches", "Draw"]

Batch = dict[str, Tensor]
#: From a generator and the share of the budget used, to a batch on the CPU.
Draw = Callable[[np.random.Generator, float], Batch]

SEED = 0


class _Steps(Dataset[Batch]):
    """Batches by the number of their step."""

    def __init__(self, draw: Draw, progress: Tensor) -> None:
        self.draw, self.progress = draw, progress

    def __getitem__(self, step: int) -> Batch:
        return self.draw(np.random.default_rng([SEED, step]), float(self.progress))


class Batches:
    """The batches of all steps from one on.

    Args:
        draw: makes a batch.
        step: number of the first one.
        machine: who draws, and where the batches go.
    """

    def __init__(self, draw: Draw, step: int, machine: Machine) -> None:
        self.device = machine.device
        # Processes that draw ahead read here how far the training is.
        self.progress = torch.zeros((), dtype=torch.float64)
        if machine.workers:
            self.progress.share_memory_()  # type: ignore[no-untyped-call]
        steps = DataLoader(
            _Steps(draw, self.progress),
            batch_size=None,
            sampler=itertools.count(step),
            num_workers=machine.workers,
            multiprocessing_context="fork" if machine.workers else None,
            pin_memory=machine.device.type != "cpu",
        )
        self.drawn: Iterator[Batch] = iter(steps)

    def next(self, progress: float) -> Batch:
        """The batch of the next step, on the device.

        Args:
            progress: share of the budget used; a batch drawn ahead was drawn for a little less.
        """
        self.progress.fill_(progress)
        batch = next(self.drawn)
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
