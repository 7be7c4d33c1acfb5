"""What no reward may buy: answers without an end, and answers of an absurd length.

A reward that hears only a part of what matters is soon paid for silence at the end, endless
laughter or two words instead of ten. These guards take from the score what such answers cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.errors import ConfigError
from stepaudio.training.config import require_not_negative
from stepaudio.types import LMSpec

__all__ = ["GuardConfig", "guard_penalties", "length_ratios", "source_ids"]


@dataclass(frozen=True)
class GuardConfig:
    """Prices, in units of the score.

    Attributes:
        missing_end: of an answer cut by the length limit.
        length: of each natural-log unit by which the answer's length, relative to the recording in
            the prompt, lies outside ``shortest`` to ``longest``. 0 for speech in a cloned voice,
            where the prompt's recording says nothing of the length.
        shortest: smallest ratio that costs nothing.
        longest: largest ratio that costs nothing.

    Raises:
        ConfigError: prices that are negative or not finite, or bounds out of order.
    """

    missing_end: float = 1.0
    length: float = 1.0
    shortest: float = 0.5
    longest: float = 2.0

    def __post_init__(self) -> None:
        require_not_negative(self, "missing_end", "length")
        if not 0 < self.shortest <= self.longest:
            raise ConfigError(
                f"guards.shortest {self.shortest} must be above 0 and not exceed "
                f"guards.longest {self.longest}"
            )


def source_ids(prompt: Tensor, spec: LMSpec) -> Tensor:
    """The recording in a prompt: its last unbroken run of audio ids.

    Args:
        prompt: ``[T]`` int64 ids.
        spec: knows which ids are audio.

    Returns:
        ``[N]`` int64 ids, offset included; empty if there is no audio.
    """
    audio = (prompt >= spec.audio_offset) & (prompt < spec.audio_offset + spec.tokens.size)
    places = audio.nonzero()[:, 0]
    if not len(places):
        return prompt[:0]
    stop = int(places[-1]) + 1
    gaps = (~audio[:stop]).nonzero()[:, 0]
    return prompt[int(gaps[-1]) + 1 if len(gaps) else 0 : stop]


def length_ratios(prompts: Sequence[Tensor], responses: Sequence[Tensor], spec: LMSpec) -> Tensor:
    """Length of each response relative to the recording in its prompt.

    Args:
        prompts: ``[T_i]`` int64 ids each.
        responses: ``[R_i]`` int64 ids each.
        spec: knows which ids are audio.

    Returns:
        ``[B]``; NaN where the prompt holds no audio.
    """
    sources = [len(source_ids(prompt, spec)) for prompt in prompts]
    return torch.tensor(
        [
            len(response) / source if source else float("nan")
            for response, source in zip(responses, sources, strict=True)
        ]
    )


def guard_penalties(ratios: Tensor, ended: Tensor, config: GuardConfig) -> Tensor:
    """What the guards take from each score.

    Args:
        ratios: ``[B]`` from :func:`length_ratios`; NaN costs nothing.
        ended: ``[B]`` bool, the answer ended by itself.
        config: prices.

    Returns:
        ``[B]``, 0 or more. An empty answer costs as much as one a thousandth as long as its source.
    """
    logs = ratios.clamp(min=1e-3).log()
    low, high = torch.tensor([config.shortest, config.longest]).log()
    outside = torch.relu(low - logs) + torch.relu(logs - high)
    return config.length * outside.nan_to_num(0.0) + config.missing_end * (~ended)
