"""What a language model draws must be what its own logits and the caller's settings say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stepaudio.interfaces import SpeechLM
from stepaudio.testing.generations import Sample, allowed_ids, run_generation
from stepaudio.testing.rules import demand
from stepaudio.types import Contrast, SamplingParams

__all__ = ["check_drawing"]

# Far enough apart for any model that has an opinion; servers know none between 0 and 0.01.
_COLD, _HOT = 0.01, 100.0

# How much the greedy id may lack, as a share of the spread of the allowed logits: rounded weights
# and a cache do not give the last digits of the logits of a whole sequence.
_SLACK = 0.01

_STRONG = 100.0


def check_drawing(lm: SpeechLM, prompts: Sequence[Tensor], limit: int) -> None:
    """Check that generation follows ``forward``, temperature, top-k and contrasts.

    Args:
        lm: the model.
        prompts: ``[T_i]`` int64 each, without audio ids; at least two.
        limit: most new tokens, whole units.

    Raises:
        ConformanceError: a rule is broken.
    """
    seeds = range(len(prompts))
    greedy = SamplingParams(temperature=0.0, max_new_tokens=limit)
    plain = run_generation(lm, prompts, greedy, seeds)
    for prompt, sample in zip(prompts, plain, strict=True):
        _check_greedy(lm, prompt, sample)
    demand(
        run_generation(lm, prompts, replace(greedy, temperature=1.0, top_k=1), seeds) == plain,
        "top_k=1 must write the ids of greedy generation, as it leaves nothing else to draw",
    )
    whole = replace(greedy, min_new_tokens=limit)
    cold, hot = (
        _likelihood(lm, prompts, run_generation(lm, prompts, replace(whole, temperature=t), seeds))
        for t in (_COLD, _HOT)
    )
    demand(
        cold > hot,
        f"ids drawn at temperature {_COLD:g} must be likelier than those drawn at {_HOT:g}, by "
        f"forward; they have {cold:.3f} and {hot:.3f} nats",
    )
    if lm.can_be_guided:
        contrasts = [[Contrast(prompts[1], _STRONG)], *([] for _ in prompts[1:])]
        guided = run_generation(lm, prompts, greedy, seeds, contrasts=contrasts)
        demand(
            guided[0] != plain[0],
            f"can_be_guided is True, but a contrast of weight {_STRONG:g} changes nothing",
        )
        demand(
            guided[1:] == plain[1:],
            "a sample without contrasts must not change because another one has some",
        )


def _check_greedy(lm: SpeechLM, prompt: Tensor, sample: Sample) -> None:
    ends = list(lm.spec.end_ids)
    for position, row in enumerate(_logits(lm, prompt, sample)):
        allowed = allowed_ids(lm.spec, position)
        codes = row[allowed.start : allowed.stop]
        best = codes.amax()
        # Whether an answer may be empty is left open.
        if position and position % lm.spec.tokens.unit_length == 0:
            best = torch.maximum(best, row[ends].amax())
        if position < len(sample.ids):
            written, name = row[sample.ids[position]], f"id {sample.ids[position]}"
        elif sample.reason == "end":
            written, name = row[ends].amax(), "the end"
        else:
            return
        demand(
            bool(written >= best - _SLACK * (codes.amax() - codes.amin())),
            f"greedy generation must write what forward finds likeliest after the prompt and the "
            f"ids before; {name} at position {position} is {float(best - written):.3g} below it",
        )


def _likelihood(lm: SpeechLM, prompts: Sequence[Tensor], samples: list[Sample]) -> float:
    """Mean log-probability of the ids among those of their slots."""
    values = []
    for prompt, sample in zip(prompts, samples, strict=True):
        logits = _logits(lm, prompt, sample)
        for position, (row, token) in enumerate(zip(logits[:-1], sample.ids, strict=True)):
            allowed = allowed_ids(lm.spec, position)
            values.append(row[token] - row[allowed.start : allowed.stop].logsumexp(0))
    return float(torch.stack(values).mean())


def _logits(lm: SpeechLM, prompt: Tensor, sample: Sample) -> Tensor:
    """``[R + 1, V]`` logits of every new id and of what could follow the last."""
    whole = torch.cat([prompt, torch.tensor(sample.ids, dtype=torch.int64)])
    return lm.forward(whole[None])[0, len(prompt) - 1 :].float()
