"""The contract of a speech language model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stepaudio.errors import PromptError
from stepaudio.interfaces import SpeechLM
from stepaudio.testing.drawing import check_drawing
from stepaudio.testing.generations import Sample, allowed_ids, run_generation
from stepaudio.testing.rules import demand, demand_close, demand_refusal, random_ids, seeded
from stepaudio.types import LMSpec, SamplingParams

__all__ = ["check_lm_spec", "check_speech_lm", "text_prompt"]

# A whole number of units, so that a limit cuts no unit in two.
_LIMIT = 15


def check_speech_lm(lm: SpeechLM) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.SpeechLM`.

    Rules: the spec's audio ids fit into its vocabulary; logits have the right shape, are finite and
    never look ahead; prompts of different lengths generate together what they generate alone,
    greedily and with one generator per sample; limits are kept, end ids never emitted, a stopped
    sample never wakes up; constrained streams follow the 2:3 pattern; greedy ids are those that
    ``forward`` finds likeliest, ``top_k`` and temperature are heeded, and so are contrasts if
    ``can_be_guided``; cancelling stops every sample; empty and overlong prompts are refused with
    ``PromptError``.

    Args:
        lm: the object to check, in float32: with fewer digits a batch does not round as its singles
            do, and other ids are drawn. Weights may be random, but not all zero.

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
        check_drawing(lm, prompts, _LIMIT)
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
    demand(
        logits.dtype in (torch.float32, torch.float64),
        f"logits are {logits.dtype}, but the checks want a model in float32, as only that draws "
        "in a batch what it draws alone",
    )
    demand(bool(logits.isfinite().all()), "logits must be finite")
    demand_close(lm.forward(ids[1:]), logits[1:], 1e-4, "logits change with the batch")
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % spec.vocab_size
    demand_close(
        lm.forward(other)[:, :-1], logits[:, :-1], 1e-4, "logits depend on ids that come later"
    )


def _check_batch(lm: SpeechLM, prompts: list[Tensor], sampling: SamplingParams, name: str) -> None:
    batch = run_generation(lm, prompts, sampling, [1, 2, 3])
    demand(
        batch == run_generation(lm, prompts, sampling, [1, 2, 3]),
        f"{name} generation must give the same ids for the same generator state",
    )
    for index, sample in enumerate(batch):
        alone = run_generation(lm, prompts[index : index + 1], sampling, [index + 1])[0]
        demand(
            sample == alone,
            f"{name} generation of prompt {index} differs between a batch and alone: "
            f"{sample} against {alone}; is the model in float32?",
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


def _check_grammar(spec: LMSpec, sample: Sample) -> None:
    start = spec.audio_offset
    for position, token in enumerate(sample.ids):
        allowed = allowed_ids(spec, position)
        demand(
            token in allowed,
            f"constrained generation put audio id {token - start} at position {position}, "
            f"where {allowed.start - start}..{allowed.stop - 1 - start} are allowed",
        )
    demand(
        sample.reason != "end" or len(sample.ids) % spec.tokens.unit_length == 0,
        f"constrained generation ended after {len(sample.ids)} tokens, within a unit",
    )


def _check_minimum(lm: SpeechLM, prompts: list[Tensor]) -> None:
    sampling = SamplingParams(temperature=1.0, max_new_tokens=_LIMIT, min_new_tokens=_LIMIT)
    for sample in run_generation(lm, prompts, sampling, [4, 5, 6]):
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
