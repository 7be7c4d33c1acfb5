"""Calibration: a raw score to what listeners said on average of pairs with that score.

The least-squares fit among all functions that never fall (pool adjacent violators, Ayer et al.
1955). It keeps the order of the scores, so it changes what a number means and not who wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

__all__ = ["Isotonic"]


@dataclass(frozen=True)
class Isotonic:
    """A function that never falls, straight between its knots and level outside them.

    Attributes:
        inputs: raw scores, rising.
        outputs: what they mean, never falling.
    """

    inputs: tuple[float, ...] = (0.0, 1.0)
    outputs: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.inputs, self.inputs[1:], strict=False))
        sorted_outputs = all(a <= b for a, b in zip(self.outputs, self.outputs[1:], strict=False))
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ValueError("a calibration needs as many outputs as inputs, at least one")
        if not (rising and sorted_outputs):
            raise ValueError("the inputs of a calibration must rise and its outputs never fall")

    @classmethod
    def fit(cls, scores: ArrayLike, targets: ArrayLike) -> Self:
        """Fit to pairs of a raw score and what it should have been.

        Args:
            scores: ``[N]``, at least one.
            targets: ``[N]``.

        Returns:
            The calibration: one knot per block of equal outputs, at the mean of its scores.
        """
        x, y = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.float64)
        # One function value per score, so equal scores are one block from the start.
        distinct, which, counts = np.unique(x, return_inverse=True, return_counts=True)
        sums = np.bincount(which, weights=y)
        # Of each block: number of pairs, sum of scores, sum of targets.
        blocks: list[tuple[int, float, float]] = []
        for value, number, total in zip(distinct, counts, sums, strict=True):
            block = (int(number), float(number * value), float(total))
            while blocks and blocks[-1][2] * block[0] >= block[2] * blocks[-1][0]:
                last = blocks.pop()
                block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
            blocks.append(block)
        return cls(tuple(s / n for n, s, _ in blocks), tuple(t / n for n, _, t in blocks))

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """What raw scores mean, of the same shape."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.inputs, self.outputs)
