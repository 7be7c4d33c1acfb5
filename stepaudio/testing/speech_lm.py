"""The contract of a speech language model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stepaudio.errors import PromptError
from stepaudio.interfaces import SpeechLM
from stepaudio.testing.rules import demand, demand_close, demand_refusal, random_ids, seeded
from stepaudio.types import LMSpec, SamplingParams, StopReason, TokenStep

__all__ = ["check_lm_spec", "check_speech_lm", "text_prompt"]

# A whole number of units, so that a limit cuts no unit in two.
_LIMIT = 15


def check_speech_lm(lm: SpeechLM) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.SpeechLM`.

    Rules: the spec's audio ids fit into its vocabulary; logits have the right shape, are finite and
    never look ahead; prompts of different lengths generate together what they generate alone,
    greedily and with one generator per sample; limits are kept, end ids never emitted, a stopped
    sample never wakes up; constrained streams follow the 2:3 pattern; cancelling stops every
    sample; empty and overlong prompts are refused with ``PromptError``.

    Args:
        lm: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec = lm.spec
    check_lm_spec(spec)
    with torch.no_grad():
        _check_forward(lm)
        prompts = [text_prompt(spec, n) for n in (9, 4, 6)]
        greedy = SamplingParams(temperature=0.0, max_new_tokens=_LIMIT)
        random = SamplingParams(temperature=1.0, max_new_tokens=_LIMIT)
        free = replace(random, constrain=False)
        for name, sampling in (("greedy", greedy), ("drawn", random), ("unconstrained", free)):
            _check_batch(lm, prompts, sampling, name)
        _check_minimum(lm, prompts)
        _check_cancel(lm, prompts)
    _check_refusals(lm, greedy)


def check_lm_spec(spec: LMSpec) -> None:
    """Check that an ``LMSpec`` makes sense.

    Args:
        spec: what a model says about itself.

    Raises:
        ConformanceError: it does not.
    """
    demand(isinstance(spec, LMSpec), f"spec must be an LMSpec, got {type(spec)}")
    top = spec.audio_offset + spec.tokens.size
    demand(
        spec.audio_offset >= 0 and top <= spec.vocab_size,
        f"audio ids {spec.audio_offset}..{top - 1} do not fit a vocabulary of {spec.vocab_size}",
    )
    demand(len(spec.end_ids) > 0, "spec.end_ids must name at least one id")
    demand(
        spec.vocab_size > spec.tokens.size + len(spec.end_ids),
        "the vocabulary must hold ids other than audio and end ids, to write prompts with",
    )
    for end in spec.end_ids:
        demand(
            0 <= end < spec.vocab_size and not spec.audio_offset <= end < top,
            f"end id {end} must be in the vocabulary and must not be an audio id",
        )
    demand(spec.context_length > 0, "spec.context_length must be positive")


def text_prompt(spec: LMSpec, length: int) -> Tensor:
    """A prompt without audio ids, so that a response begins with a whole unit.

    Args:
        spec: of the model that will read it.
        length: tokens.

    Returns:
        ``[length]`` int64.
    """
    audio = range(spec.audio_offset, spec.audio_offset + spec.tokens.size)
    return random_ids(length, spec.vocab_size, (*spec.end_ids, *audio), length)


def _check_forward(lm: SpeechLM) -> None:
    spec = lm.spec
    ids = torch.stack([random_ids(8, spec.vocab_size, (), seed) for seed in (1, 2)])
    logits = lm.forward(ids)
    expected = (2, 8, spec.vocab_size)
    demand(
        tuple(logits.shape) == expected,
        f"ids of shape (2, 8) must give logits of shape {expected}, got {tuple(logits.shape)}",
    )
    demand(logits.is_floating_point(), f"logits must be floating, got {logits.dtype}")
    demand(bool(logits.isfinite().all()), "logits must be finite")
    demand_close(lm.forward(ids[1:]), logits[1:], 1e-4, "logits change with the batch")
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % spec.vocab_size
    demand_close(
        lm.forward(other)[:, :-1], logits[:, :-1], 1e-4, "logits depend on ids that come later"
    )


@dataclass(frozen=True)
class _Sample:
    ids: list[int]
    reason: StopReason


def _check_batch(lm: SpeechLM, prompts: list[Tensor], sampling: SamplingParams, name: str) -> None:
    batch = _generate(lm, prompts, sampling, [1, 2, 3])
    demand(
        batch == _generate(lm, prompts, sampling, [1, 2, 3]),
        f"{name} generation must give the same ids for the same generator state",
    )
    for index, sample in enumerate(batch):
        alone = _generate(lm, prompts[index : index + 1], sampling, [index + 1])[0]
        demand(
            sample == alone,
            f"{name} generation of prompt {index} differs between a batch and alone: "
            f"{sample} against {alone}",
        )
        demand(
            len(sample.ids) <= sampling.max_new_tokens,
            f"max_new_tokens is {sampling.max_new_tokens}, got {len(sample.ids)} tokens",
        )
        demand(
            sample.reason == "end" or len(sample.ids) == sampling.max_new_tokens,
            f"a sample stopped by {sample.reason!r} after {len(sample.ids)} tokens, "
            f"neither ended nor at the limit of {sampling.max_new_tokens}",
        )
        if sampling.constrain:
            _check_grammar(lm.spec, sample)


def _check_grammar(spec: LMSpec, sample: _Sample) -> None:
    tokens = spec.tokens
    for position, token in enumerate(sample.ids):
        code = token - spec.audio_offset
        slot = position % tokens.unit_length
        first = slot < tokens.linguistic.per_unit
        low, high = (0, tokens.linguistic_size) if first else (tokens.linguistic_size, tokens.size)
        demand(
            low <= code < high,
            f"constrained generation put audio id {code} at position {position}, "
            f"where {low}..{high - 1} are allowed",
        )
    demand(
        sample.reason != "end" or len(sample.ids) % tokens.unit_length == 0,
        f"constrained generation ended after {len(sample.ids)} tokens, within a unit",
    )


def _check_minimum(lm: SpeechLM, prompts: list[Tensor]) -> None:
    sampling = SamplingParams(temperature=1.0, max_new_tokens=_LIMIT, min_new_tokens=_LIMIT)
    for sample in _generate(lm, prompts, sampling, [4, 5, 6]):
        demand(
            len(sample.ids) == _LIMIT,
            f"min_new_tokens is {_LIMIT}, but a sample ended after {len(sample.ids)}",
        )


def _check_cancel(lm: SpeechLM, prompts: list[Tensor]) -> None:
    asked = 0

    def cancel() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    sampling = SamplingParams(temperature=1.0, max_new_tokens=_LIMIT, min_new_tokens=_LIMIT)
    steps = list(lm.generate(prompts, sampling, generators=seeded(1, 2, 3), cancel=cancel))
    emitted = sum(bool(step.active.any()) for step in steps)
    demand(
        emitted == 2 and len(steps) > 0 and set(steps[-1].stop_reasons) == {"cancelled"},
        f"cancelling after two steps must stop every sample as 'cancelled'; {emitted} steps gave "
        f"tokens and the reasons are {steps[-1].stop_reasons if steps else 'missing'}",
    )


def _check_refusals(lm: SpeechLM, sampling: SamplingParams) -> None:
    spec = lm.spec
    empty = torch.zeros(0, dtype=torch.int64)
    demand_refusal(
        lambda: list(lm.generate([empty], sampling)),
        "an empty prompt must be refused",
        (PromptError,),
    )
    full = text_prompt(spec, spec.context_length)
    demand_refusal(
        lambda: list(lm.generate([full], sampling)),
        f"a prompt that fills the context of {spec.context_length} must be refused",
        (PromptError,),
    )


def _generate(
    lm: SpeechLM, prompts: list[Tensor], sampling: SamplingParams, seeds: list[int]
) -> list[_Sample]:
    """Run a generation to its end, checking every step."""
    size = len(prompts)
    ids: list[list[int]] = [[] for _ in prompts]
    reasons: list[StopReason] = ["running"] * size
    # A model that never stops must not hang the suite.
    for count, step in enumerate(lm.generate(prompts, sampling, generators=seeded(*seeds))):
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
    return [_Sample(i, r) for i, r in zip(ids, reasons, strict=True)]


def _check_step(step: TokenStep, size: int) -> None:
    demand(isinstance(step, TokenStep), f"generate must yield TokenStep, got {type(step)}")
    demand(
        tuple(step.ids.shape) == (size,)
        and tuple(step.active.shape) == (size,)
        and len(step.stop_reasons) == size,
        f"every step must have ids, active and stop_reasons of {size} samples",
    )
    demand(step.active.dtype == torch.bool, f"active must be bool, got {step.active.dtype}")
