"""Generations of a language model, run to their end with an eye on every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.interfaces import SpeechLM
from stepaudio.testing.rules import demand, seeded
from stepaudio.types import Contrast, LMSpec, SamplingParams, StopReason, TokenStep

__all__ = ["Sample", "allowed_ids", "run_generation"]


@dataclass(frozen=True)
class Sample:
    """What became of one prompt.

    Attributes:
        ids: new ids.
        reason: why there are no more.
    """

    ids: list[int]
    reason: StopReason


def allowed_ids(spec: LMSpec, position: int) -> range:
    """Audio ids that a stream of whole units may hold.

    Args:
        spec: of the model.
        position: new ids before.

    Returns:
        The token ids.
    """
    tokens = spec.tokens
    first = position % tokens.unit_length < tokens.linguistic.per_unit
    low, high = (0, tokens.linguistic_size) if first else (tokens.linguistic_size, tokens.size)
    return range(spec.audio_offset + low, spec.audio_offset + high)


def run_generation(
    lm: SpeechLM,
    prompts: Sequence[Tensor],
    sampling: SamplingParams,
    seeds: Sequence[int],
    *,
    contrasts: Sequence[Sequence[Contrast]] | None = None,
) -> list[Sample]:
    """Run a generation to its end, checking every step.

    Args:
        lm: the model.
        prompts: ``[T_i]`` int64 each.
        sampling: how to draw.
        seeds: of the generators, one per prompt.
        contrasts: per prompt; None asks as one asks a model that cannot be guided.

    Returns:
        One entry per prompt.

    Raises:
        ConformanceError: a step breaks the contract.
    """
    size = len(prompts)
    ids: list[list[int]] = [[] for _ in prompts]
    reasons: list[StopReason] = ["running"] * size
    generators = seeded(*seeds)
    steps = (
        lm.generate(prompts, sampling, generators=generators)
        if contrasts is None
        else lm.generate(prompts, sampling, generators=generators, contrasts=contrasts)
    )
    # A model that never stops must not hang the suite.
    for count, step in enumerate(steps):
        demand(
            count <= sampling.max_new_tokens,
            f"generation goes on after max_new_tokens = {sampling.max_new_tokens}",
        )
        _check_step(step, size)
        for i in range(size):
            if step.active[i]:
                token = int(step.ids[i])
                # The last token of a sample may come together with the word that it is the last.
                stopped = reasons[i] != "running" or step.stop_reasons[i] in ("end", "cancelled")
                demand(
                    not stopped, f"a sample stopped by {step.stop_reasons[i]!r} received a token"
                )
                demand(0 <= token < lm.spec.vocab_size, f"id {token} is not in the vocabulary")
                demand(token not in lm.spec.end_ids, f"the end id {token} was emitted")
                ids[i].append(token)
            else:
                demand(
                    step.stop_reasons[i] != "running",
                    "a sample that receives no token must say why it stopped",
                )
            demand(
                reasons[i] in ("running", step.stop_reasons[i]),
                f"a stop reason changed from {reasons[i]!r} to {step.stop_reasons[i]!r}",
            )
            reasons[i] = step.stop_reasons[i]
    demand(
        "running" not in reasons, f"generation is over but the stop reasons are {tuple(reasons)}"
    )
    return [Sample(i, r) for i, r in zip(ids, reasons, strict=True)]


def _check_step(step: TokenStep, size: int) -> None:
    demand(isinstance(step, TokenStep), f"generate must yield TokenStep, got {type(step)}")
    demand(
        tuple(step.ids.shape) == (size,)
        and tuple(step.active.shape) == (size,)
        and len(step.stop_reasons) == size,
        f"every step must have ids, active and stop_reasons of {size} samples",
    )
    demand(step.active.dtype == torch.bool, f"active must be bool, got {step.active.dtype}")
