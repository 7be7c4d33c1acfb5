"""The contracts of a reward model and of a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stepaudio.interfaces import Policy, RewardModel, SpeechLM
from stepaudio.testing.rules import demand, demand_close, demand_refusal, seeded
from stepaudio.testing.speech_lm import check_lm_spec, text_prompt
from stepaudio.types import LMSpec, SamplingParams

__all__ = ["check_policy", "check_reward_model"]

_PROMPT_LENGTHS = (7, 4, 5)
_RESPONSE_LENGTHS = (5, 10, 1)


def check_reward_model(model: RewardModel) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.RewardModel`.

    Rules: the spec makes sense; every pair gets one finite score; the score of a pair does not
    depend on the batch it is in; scores are repeatable; unequal numbers of prompts and responses
    are refused.

    Args:
        model: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    check_lm_spec(model.spec)
    prompts, responses = _pairs(model.spec)
    with torch.no_grad():
        scores = model.score(prompts, responses)
        demand(
            tuple(scores.shape) == (len(prompts),) and scores.is_floating_point(),
            f"score must return floats of shape ({len(prompts)},), "
            f"got {scores.dtype} of shape {tuple(scores.shape)}",
        )
        demand(bool(scores.isfinite().all()), "scores must be finite")
        demand(
            torch.equal(scores, model.score(prompts, responses)),
            "scoring the same pairs twice must give the same scores",
        )
        for i in range(len(prompts)):
            alone = model.score(prompts[i : i + 1], responses[i : i + 1])
            demand_close(
                alone, scores[i : i + 1], 1e-4, f"pair {i} has another score alone than in a batch"
            )
    demand_refusal(
        lambda: model.score(prompts, responses[:1]),
        "three prompts with one response must be refused",
    )


def check_policy(policy: Policy) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.Policy`.

    Rules: model and frozen reference speak the same ids; samples are repeatable, independent of the
    batch and within the limit; log-probabilities are those of the model's own logits; there is one
    value more than response tokens; both carry gradients; unequal numbers of prompts and
    responses are refused.

    Args:
        policy: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec = policy.lm.spec
    check_lm_spec(spec)
    demand(
        policy.reference.spec == spec,
        f"lm and reference must have one spec: {spec} against {policy.reference.spec}",
    )
    demand(policy.reference is not policy.lm, "the reference must not be the model that moves")
    if isinstance(policy.reference, nn.Module):
        demand(
            not any(p.requires_grad for p in policy.reference.parameters()),
            "the reference must be frozen: none of its parameters may require a gradient",
        )
    prompts, responses = _pairs(spec)
    _check_sample(policy, prompts)
    _check_log_probs(policy, prompts, responses)
    _check_per_pair("values", policy.values, prompts, responses, extra=1)


def _check_sample(policy: Policy, prompts: list[Tensor]) -> None:
    sampling = SamplingParams(temperature=1.0, max_new_tokens=10)
    with torch.no_grad():
        batch = policy.sample(prompts, sampling, generators=seeded(1, 2, 3))
        again = policy.sample(prompts, sampling, generators=seeded(1, 2, 3))
        singles = [
            policy.sample([prompt], sampling, generators=seeded(i + 1))[0]
            for i, prompt in enumerate(prompts)
        ]
    demand(len(batch) == len(prompts), "sample must return one response per prompt")
    for response in batch:
        demand(
            response.dim() == 1 and response.dtype == torch.int64,
            f"responses must be one-dimensional int64, got {response.dtype} "
            f"of shape {tuple(response.shape)}",
        )
        demand(len(response) <= 10, f"max_new_tokens is 10, got {len(response)} tokens")
    for a, b, c in zip(batch, again, singles, strict=True):
        demand(torch.equal(a, b), "sample must give the same ids for the same generator state")
        demand(torch.equal(a, c), "a response must not depend on the batch it is drawn in")


def _check_log_probs(policy: Policy, prompts: list[Tensor], responses: list[Tensor]) -> None:
    log_probs = _check_per_pair("log_probs", policy.log_probs, prompts, responses, extra=0)
    for prompt, response, actual in zip(prompts, responses, log_probs, strict=True):
        demand(bool((actual <= 0).all()), "log-probabilities must not be positive")
        demand_close(
            actual,
            _log_probs_of(policy.lm, prompt, response),
            1e-3,
            "log_probs must be those of lm.forward at temperature 1",
        )


def _log_probs_of(lm: SpeechLM, prompt: Tensor, response: Tensor) -> Tensor:
    with torch.no_grad():
        logits = lm.forward(torch.cat([prompt, response])[None, :-1])[0, len(prompt) - 1 :]
    return logits.float().log_softmax(-1).gather(1, response[:, None])[:, 0]


def _check_per_pair(
    name: str,
    function: Callable[[Sequence[Tensor], Sequence[Tensor]], list[Tensor]],
    prompts: list[Tensor],
    responses: list[Tensor],
    *,
    extra: int,
) -> list[Tensor]:
    batch = function(prompts, responses)
    demand(len(batch) == len(prompts), f"{name} must return one tensor per pair")
    for i, (response, row) in enumerate(zip(responses, batch, strict=True)):
        demand(
            tuple(row.shape) == (len(response) + extra,),
            f"{name} of a response of {len(response)} tokens must have "
            f"{len(response) + extra} entries, got shape {tuple(row.shape)}",
        )
        demand(bool(row.isfinite().all()), f"{name} must be finite")
        demand(row.requires_grad, f"{name} must carry a gradient")
        alone = function(prompts[i : i + 1], responses[i : i + 1])[0]
        demand_close(alone, row, 1e-4, f"{name} of pair {i} differ between a batch and alone")
    demand_refusal(
        lambda: function(prompts, responses[:1]),
        f"{name} with three prompts and one response must be refused",
    )
    return batch


def _pairs(spec: LMSpec) -> tuple[list[Tensor], list[Tensor]]:
    prompts = [text_prompt(spec, n) for n in _PROMPT_LENGTHS]
    tokens = spec.tokens
    responses = []
    for length in _RESPONSE_LENGTHS:
        generator = seeded(length)[0]
        slots = torch.arange(length) % tokens.unit_length < tokens.linguistic.per_unit
        linguistic = torch.randint(tokens.linguistic_size, (length,), generator=generator)
        semantic = torch.randint(tokens.semantic_size, (length,), generator=generator)
        codes = torch.where(slots, linguistic, tokens.linguistic_size + semantic)
        responses.append(spec.audio_offset + codes)
    return prompts, responses
