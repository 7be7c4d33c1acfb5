"""Prompts to learn from, what rewards must know of them, and their order: hardest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["PromptRow", "hardest_first"]


@dataclass(frozen=True)
class PromptRow:
    """One prompt.

    Attributes:
        ids: ``[T]`` int64 of the whole prompt.
        text: the words the answer should say; empty if unknown.
        lang: their language.
        audio: path of the recording whose voice speaks the answer; empty if there is none.
        speaker: name of that voice.
        task: kind of the edit.
        label: the label asked for.
        segments: preserved stretches of the recording in the prompt, for local edits: first unit
            of five tokens and the one after the last, in order and apart.
        length: wanted length relative to the recording in the prompt.
        difficulty: how badly the model to start from does, higher is harder; None if not measured.

    Raises:
        ValueError: an empty prompt, a wanted length of 0 or less, or segments out of order.
    """

    ids: Tensor
    text: str = ""
    lang: str = "en"
    audio: str = ""
    speaker: str = ""
    task: str = ""
    label: str = ""
    segments: tuple[tuple[int, int], ...] = ()
    length: float = 1.0
    difficulty: float | None = None

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise ValueError("a prompt is empty")
        if not (math.isfinite(self.length) and self.length > 0):
            raise ValueError(f"length is {self.length} but must be a number above 0")
        bounds = [bound for segment in self.segments for bound in segment]
        if bounds != sorted(bounds) or (bounds and bounds[0] < 0):
            raise ValueError(f"segments {self.segments} must be in order and not overlap")


def hardest_first(difficulties: Sequence[float], *, share: float = 1.0) -> list[int]:
    """Which prompts to use, in which order (paper section 3.2.3).

    The paper keeps the prompts that are hardest for the SFT model; how many is not said.

    Args:
        difficulties: one per prompt, higher is harder.
        share: of the prompts to keep, above 0; at least one is kept.

    Returns:
        Numbers of the prompts, hardest first; equal ones in the order given.

    Raises:
        ValueError: a share outside 0 to 1, or difficulties that are not finite.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share} but must be above 0 and at most 1")
    if not all(math.isfinite(one) for one in difficulties):
        raise ValueError("difficulties must be finite numbers")
    order = sorted(range(len(difficulties)), key=lambda i: -difficulties[i])
    return order[: max(1, math.ceil(share * len(order)))]
