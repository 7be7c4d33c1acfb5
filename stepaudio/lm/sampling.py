"""How the next id is drawn: pure functions on logits ``[B, V]``, and their composition.

Forbidden ids have logit minus infinity. Every row is treated on its own and draws from its own
generator, so a batch draws what its singles draw. Order of the composition: codebook grammar,
end guard, repetition mask of the first published code, temperature, top-k, top-p, draw,
repetition aware redraw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from stepaudio.errors import GenerationError
from stepaudio.types import LMSpec, SamplingParams

__all__ = [
    "check_sampling",
    "draw",
    "forbid_ends",
    "grammar_mask",
    "initial_history",
    "keep_top_k",
    "keep_top_p",
    "mask_repetition_v1",
    "published_v1",
    "published_v2",
    "repetition_ratio",
    "restrict",
    "sample_next",
]

FORBIDDEN = float("-inf")

#: Ids the first published repetition rule looks at, and how many equal ones are too many
#: (a share above 0.1).
_V1_WINDOW = 10
_V1_LIMIT = 2
#: Below this only the most likely id is left, and scores could grow beyond float32.
_LOWEST_TEMPERATURE = 1e-6
#: Most likely ids among which a nucleus is looked for before all are sorted.
_HEAD = 256


def published_v1() -> SamplingParams:
    """Sampling of the first published program (2025, HF generate).

    Temperature 0.7, its repetition mask and the top-k of 50 that the generation library applies
    by default. No grammar. 8192 positions include the prompt: the context length sees to that.
    That program also drops the last id of every stream unseen. When a stream ended by itself the
    dropped id is the end, which is never emitted here; a stream cut by length keeps its last id.
    """
    return SamplingParams(
        temperature=0.7,
        top_k=50,
        repetition="published_v1",
        constrain=False,
        max_new_tokens=8192,
    )


def published_v2() -> SamplingParams:
    """Sampling of the current published program (2026, vLLM): temperature 0.7 and nothing else.

    8192 positions include the prompt: the context length sees to that.
    """
    return SamplingParams(temperature=0.7, constrain=False, max_new_tokens=8192)


def check_sampling(params: SamplingParams) -> None:
    """Refuse settings that make no sense.

    Args:
        params: the settings.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """
    rules = (
        (
            "temperature",
            params.temperature == 0 or _LOWEST_TEMPERATURE <= params.temperature < math.inf,
            f"0 (greedy) or a finite number from {_LOWEST_TEMPERATURE:g} on",
        ),
        ("top_k", params.top_k >= 0, "0 (all) or more"),
        ("top_p", 0 <= params.top_p <= 1, "between 0 and 1"),
        ("repetition", params.repetition in ("none", "ras", "published_v1"), "a known rule"),
        ("ras_window", params.ras_window >= 1, "1 or more"),
        ("ras_threshold", params.ras_threshold >= 0, "0 or more"),
        ("max_new_tokens", params.max_new_tokens >= 1, "1 or more"),
        ("min_new_tokens", params.min_new_tokens >= 0, "0 or more"),
    )
    for name, good, wanted in rules:
        if not good:
            raise ValueError(f"{name} is {getattr(params, name)!r} but must be {wanted}")


@lru_cache(maxsize=8)
def _grammar_table(spec: LMSpec, device: torch.device) -> Tensor:
    """``[unit_length, V]`` bool: ids allowed in each slot of a unit."""
    tokens = spec.tokens
    table = torch.zeros(tokens.unit_length, spec.vocab_size, dtype=torch.bool)
    semantic = spec.audio_offset + tokens.linguistic_size
    table[: tokens.linguistic.per_unit, spec.audio_offset : semantic] = True
    table[tokens.linguistic.per_unit :, semantic : spec.audio_offset + tokens.size] = True
    table[0, list(spec.end_ids)] = True
    return table.to(device)


def grammar_mask(generated: Tensor, spec: LMSpec) -> Tensor:
    """Ids with which a stream of whole 2:3 units can go on.

    Slots 0 and 1 of a unit hold linguistic ids, slots 2, 3 and 4 semantic ids; only at a unit
    boundary may the stream end. Source: the decoder reads the stream by position, so one id out
    of place spoils everything after it (published system, known behaviour).

    Args:
        generated: ``[B]`` int64 audio tokens in the stream so far.
        spec: places of the codebooks and the ends.

    Returns:
        ``[B, V]`` bool, True where allowed.
    """
    return _grammar_table(spec, generated.device)[generated % spec.tokens.unit_length]


def forbid_ends(logits: Tensor, spec: LMSpec) -> Tensor:
    """Take the end ids away.

    Args:
        logits: ``[B, V]``.
        spec: knows the ends.

    Returns:
        ``[B, V]``.
    """
    ends = torch.tensor(spec.end_ids, dtype=torch.int64, device=logits.device)
    return logits.index_fill(1, ends, FORBIDDEN)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the ``k`` largest logits and whatever ties with the last of them.

    Args:
        logits: ``[B, V]``.
        k: 0 keeps all.

    Returns:
        ``[B, V]``.
    """
    if k == 0 or k >= logits.shape[-1]:
        return logits
    least = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < least, FORBIDDEN)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Nucleus: the smallest set of most likely ids whose mass reaches ``p``.

    Args:
        logits: ``[B, V]``.
        p: 1 keeps all, 0 keeps the most likely id.

    Returns:
        ``[B, V]``.
    """
    if p >= 1:
        return logits
    mass = logits.softmax(-1)
    # Nearly always the nucleus is among the most likely few, which are found without sorting all.
    ordered, order = logits.topk(min(_HEAD, logits.shape[-1]))
    kept = _before(mass, order) < p
    kept[:, 0] = True
    last = kept.sum(-1, keepdim=True) - 1
    least = ordered.gather(1, last)
    result = logits.masked_fill(logits < least, FORBIDDEN)
    # Among ids as likely as the last one the lowest count first, which only sorting tells.
    complete = (result > FORBIDDEN).sum(-1, keepdim=True) == last + 1
    if bool((complete & ~kept[:, -1:]).all()):
        return result
    order = logits.argsort(descending=True, stable=True)
    dropped = _before(mass, order) >= p
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(1, order, dropped), FORBIDDEN)


def _before(mass: Tensor, order: Tensor) -> Tensor:
    """Mass of all ids that come before each, ``[B, K]``."""
    mass = mass.gather(1, order)
    return mass.cumsum(-1) - mass


def draw(logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One id per row, by inverting the cumulative distribution at one uniform number.

    A generator gives exactly one float64 per draw, whatever the vocabulary. The sum runs on the
    CPU in float64, in order, so that no id without mass can be hit and that a seed means the same
    on every device.

    Args:
        logits: ``[B, V]``.
        generators: one per row.

    Returns:
        ``[B]`` int64, never an id with logit minus infinity.

    Raises:
        GenerationError: a row has no finite logit, or NaN.
    """
    uniform = torch.cat(
        [torch.rand(1, dtype=torch.float64, generator=g, device=g.device).cpu() for g in generators]
    )
    scores = logits.detach().cpu().double()
    top = scores.amax(-1, keepdim=True)
    _refuse_infinite(top)
    cumulative = (scores - top).exp_().cumsum(-1)
    # The first id whose cumulative mass exceeds the target has mass of its own. The target itself
    # must stay below the whole, which rounding could give back.
    whole = cumulative[:, -1]
    target = torch.minimum(uniform * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0].to(logits.device)


def _refuse_infinite(top: Tensor) -> None:
    """Raise unless the largest logit of every row is finite."""
    if not bool(top.isfinite().all()):
        raise GenerationError(
            "the language model gave no finite score for any allowed id; "
            "check its weights for NaN or infinite values"
        )


def initial_history(prompt: Tensor, params: SamplingParams, spec: LMSpec) -> Tensor:
    """The ids the repetition rules see before the first draw.

    Repetition aware sampling looks back into the prompt's codes (VALL-E 2, section 3.3), so it
    gets the audio ids of the prompt; the first published rule sees every id of the prompt.

    Args:
        prompt: ``[T]`` int64.
        params: rule and window.
        spec: knows which ids are audio.

    Returns:
        ``[W]`` int64, newest last, -1 where there is nothing yet.
    """
    window = _V1_WINDOW
    if params.repetition == "ras":
        window = params.ras_window
        audio = (prompt >= spec.audio_offset) & (prompt < spec.audio_offset + spec.tokens.size)
        prompt = prompt[audio]
    recent = prompt[-window:]
    return torch.cat([recent.new_full((window - len(recent),), -1), recent])


def mask_repetition_v1(logits: Tensor, history: Tensor) -> Tensor:
    """Repetition rule of the first published program.

    If the newest id fills more than a tenth of the last ten ids (it stands there at least twice),
    it is forbidden in this step. Histories of fewer than ten ids change nothing.

    Args:
        logits: ``[B, V]``.
        history: ``[B, W]`` int64 ids so far, newest last, -1 before the first.

    Returns:
        ``[B, V]``.
    """
    if history.shape[1] < _V1_WINDOW:
        return logits
    window = history[:, -_V1_WINDOW:]
    newest = window[:, -1:]
    count = (window == newest).sum(-1, keepdim=True)
    banned = (count >= _V1_LIMIT) & (window >= 0).all(-1, keepdim=True)
    at = newest.clamp(min=0)
    return logits.scatter(1, at, logits.gather(1, at).masked_fill(banned, FORBIDDEN))


def repetition_ratio(
    candidates: Tensor, history: Tensor, window: int, *, count_self: bool = False
) -> Tensor:
    """Share of the recent window equal to a candidate (VALL-E 2, algorithm 1).

    The printed sum runs from 0 to K and so compares the candidate with itself as well. Read
    literally (``count_self``) the ratio is ``(1 + matches) / K``, and with K = 10 and a threshold
    of 0.1 one earlier match is one too many. Without that term, the default here and the reading
    that makes the ratio a share, it takes two.

    Args:
        candidates: ``[B]`` int64.
        history: ``[B, W]`` int64 ids so far, newest last, -1 before the first.
        window: K.
        count_self: the literal reading.

    Returns:
        ``[B]`` float64, on the CPU.
    """
    matches = (history[:, -window:] == candidates[:, None]).sum(-1)
    return (matches.cpu().double() + int(count_self)) / window


def restrict(logits: Tensor, params: SamplingParams, spec: LMSpec, generated: Tensor) -> Tensor:
    """Forbid what may not come next: the codebook grammar and the end guard.

    Args:
        logits: ``[B, V]``.
        params: whether there is a grammar, and from where on the end is allowed.
        spec: codebooks and ends.
        generated: ``[B]`` int64 new ids so far.

    Returns:
        ``[B, V]`` float32.
    """
    logits = logits.float()
    if params.constrain:
        logits = logits.masked_fill(~grammar_mask(generated, spec), FORBIDDEN)
    if params.min_new_tokens:
        early = (generated < params.min_new_tokens)[:, None]
        logits = torch.where(early, forbid_ends(logits, spec), logits)
    return logits


def sample_next(
    logits: Tensor,
    params: SamplingParams,
    spec: LMSpec,
    *,
    history: Tensor,
    generated: Tensor,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Draw the next id of every sample.

    Repetition aware sampling (VALL-E 2, section 3.3) throws away a candidate whose ratio exceeds
    the threshold and draws once more from the whole distribution, without top-k and top-p, but
    with temperature and grammar. Temperature 0 takes the most likely id and never redraws; the
    greedy variant of the paper is ``top_p=0`` with temperature 1.

    Args:
        logits: ``[B, V]``.
        params: how to draw.
        spec: codebooks and ends.
        history: ``[B, W]`` int64 from :func:`initial_history` onwards, newest last.
        generated: ``[B]`` int64 new ids so far.
        generators: one per row.

    Returns:
        ``[B]`` int64.

    Raises:
        GenerationError: no allowed id has a finite score.
    """
    logits = restrict(logits, params, spec, generated)
    if params.repetition == "published_v1":
        logits = mask_repetition_v1(logits, history)
    if params.temperature == 0:
        _refuse_infinite(logits.amax(-1))
        return logits.argmax(-1)
    whole = logits / params.temperature
    ids = draw(keep_top_p(keep_top_k(whole, params.top_k), params.top_p), generators)
    if params.repetition == "ras":
        ratio = repetition_ratio(ids, history, params.ras_window, count_self=params.ras_count_self)
        again = (ratio > params.ras_threshold).nonzero()[:, 0]
        if len(again):
            again = again.to(ids.device)
            drawn = draw(whole[again], [generators[row] for row in again.tolist()])
            ids = ids.index_copy(0, again, drawn)
    return ids
