"""Batched, streaming, seeded generation over any model with a cache.

Prompts of different lengths are padded on the left, prefilled together and continued in step. A
sample that ends leaves the batch; the others go on as if it had never been there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from stepaudio.errors import PromptError
from stepaudio.lm.guidance import GuidedModel
from stepaudio.lm.sampling import check_sampling, initial_history, sample_next
from stepaudio.types import Contrast, LMSpec, SamplingParams, StopReason, TokenStep

__all__ = ["Cache", "StepModel", "Stepwise", "collect", "generate", "room_for", "token_step"]


class Cache(Protocol):
    """State of a generation."""

    def select(self, rows: Tensor) -> None:
        """Keep the samples ``rows`` (``[B']`` int64) of the batch, in this order."""
        ...


class StepModel(Protocol):
    """What :func:`generate` needs of a language model."""

    @property
    def spec(self) -> LMSpec:
        """Vocabulary, audio offset, end ids, context length."""
        ...

    def new_cache(self, capacity: int) -> Any:
        """An empty :class:`Cache` with room for ``capacity`` positions."""
        ...

    def next_logits(self, ids: Tensor, cache: Any, padding: Tensor | None = None) -> Tensor:
        """``[B, V]`` logits after ``ids`` ``[B, T]``; ``padding`` ``[B]`` heads are ignored."""
        ...


def generate(
    lm: StepModel,
    prompts: Sequence[Tensor],
    sampling: SamplingParams,
    *,
    generators: Sequence[torch.Generator] | None = None,
    cancel: Callable[[], bool] | None = None,
    contrasts: Sequence[Sequence[Contrast]] | None = None,
) -> Iterator[TokenStep]:
    """Continue prompts token by token.

    A sample stops with ``"end"`` at an end id, which is not emitted; with ``"length"`` together
    with the last token it may have, at ``max_new_tokens`` or at the end of the context (with the
    grammar, at the last whole unit before that); with ``"cancelled"`` when asked, possibly within
    a unit.

    Args:
        lm: the model.
        prompts: one ``[T_i]`` int64 tensor per sample, all on the model's device.
        sampling: how to draw.
        generators: one per sample; None seeds fresh ones from the operating system.
        cancel: asked before every step; True stops every sample.
        contrasts: per sample, prompts to keep away from; see :mod:`stepaudio.lm.guidance`.

    Returns:
        One :class:`TokenStep` per step until every sample has stopped.

    Raises:
        PromptError: a prompt or a contrast is empty, is not ids of this model, or leaves no room in
            the context; or the number or the weights of the contrasts make no sense.
        ValueError: sampling settings or the number of generators make no sense.
    """
    check_sampling(sampling)
    spec = lm.spec
    limits = [
        room_for(f"prompt {index}", prompt, sampling, spec) for index, prompt in enumerate(prompts)
    ]
    if generators is None:
        generators = [torch.Generator() for _ in prompts]
        for generator in generators:
            generator.seed()
    if len(generators) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many generators, got {len(generators)}")
    if contrasts is None:
        contrasts = [()] * len(prompts)
    if len(contrasts) != len(prompts):
        raise PromptError(
            f"{len(prompts)} prompts need as many lists of contrasts, got {len(contrasts)}; give "
            "an empty one to a prompt that shall not be guided"
        )
    for index, mine in enumerate(contrasts):
        limits[index] = min([limits[index], *_rooms_beside(index, mine, sampling, spec)])
    return _steps(lm, prompts, sampling, limits, list(generators), cancel, contrasts)


class Stepwise:
    """Gives a :class:`StepModel` with an output layer ``lm_head`` its method :meth:`generate`."""

    can_be_guided: ClassVar[bool] = True

    lm_head: nn.Linear

    def generate(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
        cancel: Callable[[], bool] | None = None,
        contrasts: Sequence[Sequence[Contrast]] | None = None,
    ) -> Iterator[TokenStep]:
        """Continue prompts token by token; see :func:`stepaudio.lm.generate.generate`.

        Args:
            prompts: one ``[T_i]`` int64 tensor per sample; lengths may differ.
            sampling: how to draw.
            generators: one per sample, so that a batch draws what its singles draw.
            cancel: asked before every step; True stops every sample.
            contrasts: per sample, prompts to keep away from; see :mod:`stepaudio.lm.guidance`.

        Returns:
            One :class:`TokenStep` per step until every sample has stopped.

        Raises:
            PromptError: a prompt or a contrast cannot be read; see
                :func:`stepaudio.lm.generate.generate`.
        """
        device = self.lm_head.weight.device
        if contrasts is not None:
            contrasts = [[Contrast(c.prompt.to(device), c.weight) for c in m] for m in contrasts]
        return generate(
            cast(StepModel, self),
            [prompt.to(device) for prompt in prompts],
            sampling,
            generators=generators,
            cancel=cancel,
            contrasts=contrasts,
        )


def collect(steps: Iterable[TokenStep]) -> tuple[list[Tensor], list[StopReason]]:
    """Run a generation to its end.

    Args:
        steps: from :func:`generate`.

    Returns:
        ``[R_i]`` int64 new ids of every sample, without the end, and why each stopped.
    """
    streams: list[list[int]] = []
    reasons: list[StopReason] = []
    device = torch.device("cpu")
    for step in steps:
        streams = streams or [[] for _ in step.stop_reasons]
        reasons, device = list(step.stop_reasons), step.ids.device
        for stream, token, active in zip(
            streams, step.ids.tolist(), step.active.tolist(), strict=True
        ):
            if active:
                stream.append(token)
    return [torch.tensor(stream, dtype=torch.int64, device=device) for stream in streams], reasons


def room_for(name: str, prompt: Tensor, sampling: SamplingParams, spec: LMSpec) -> int:
    """How many new tokens a prompt may have.

    Args:
        name: of the prompt, for the error.
        prompt: ``[T]`` int64.
        sampling: limits, and whether only whole units are wanted.
        spec: vocabulary and context length.

    Returns:
        At least 1; with the grammar a whole number of units.

    Raises:
        PromptError: the prompt is empty, is not ids of this model, or leaves no room.
    """
    if prompt.dim() != 1 or prompt.dtype != torch.int64 or not len(prompt):
        raise PromptError(
            f"{name} must be a one-dimensional int64 tensor with at least one id, "
            f"got {prompt.dtype} with shape {tuple(prompt.shape)}"
        )
    if int(prompt.min()) < 0 or int(prompt.max()) >= spec.vocab_size:
        raise PromptError(f"{name} has ids outside 0..{spec.vocab_size - 1}")
    room = min(sampling.max_new_tokens, spec.context_length - len(prompt))
    if sampling.constrain:
        room -= room % spec.tokens.unit_length
    if room <= 0:
        raise PromptError(
            f"{name} has {len(prompt)} ids; with a context of {spec.context_length} and "
            f"max_new_tokens={sampling.max_new_tokens} nothing can follow. Shorten the text or "
            "the recording, or raise max_new_tokens"
        )
    return room


def _rooms_beside(
    index: int, contrasts: Sequence[Contrast], sampling: SamplingParams, spec: LMSpec
) -> list[int]:
    """How many new tokens each contrast of a prompt may have, which reads them too."""
    rooms = []
    for number, (prompt, weight) in enumerate(contrasts):
        name = f"contrast {number} of prompt {index}"
        if not (math.isfinite(weight) and weight > 0):
            raise PromptError(f"{name} has the weight {weight}; give a finite one above 0")
        rooms.append(room_for(name, prompt, sampling, spec))
    return rooms


@torch.no_grad()
def _steps(
    lm: StepModel,
    prompts: Sequence[Tensor],
    sampling: SamplingParams,
    limits: Sequence[int],
    generators: list[torch.Generator],
    cancel: Callable[[], bool] | None,
    contrasts: Sequence[Sequence[Contrast]],
) -> Iterator[TokenStep]:
    if not prompts:
        return
    total, device = len(prompts), prompts[0].device
    reasons: list[StopReason] = ["running"] * total
    live = list(range(total))
    # Several draws of one prompt, away from the same contrasts, read all of it once.
    different: dict[object, int] = {}
    copies = [
        different.setdefault(_key(prompt, mine), len(different))
        for prompt, mine in zip(prompts, contrasts, strict=True)
    ]
    first = [copies.index(number) for number in range(len(different))]
    read = [prompts[sample] for sample in first]
    if any(contrasts):
        lm = GuidedModel(lm, [contrasts[sample] for sample in first])
    longest = max(len(prompt) for prompt in read)
    inputs = torch.stack([_left_pad(prompt, longest) for prompt in read])
    padding: Tensor | None = None
    if any(len(prompt) < longest for prompt in read):
        padding = torch.tensor([longest - len(prompt) for prompt in read], device=device)
    history = torch.stack([initial_history(prompt, sampling, lm.spec) for prompt in prompts])
    cache: Any = None
    count = 0
    while live:
        if cancel is not None and cancel():
            for sample in live:
                reasons[sample] = "cancelled"
            yield token_step([], [], total, device, reasons)
            return
        # Around the model only: what is yielded must stay usable in training.
        with torch.inference_mode():
            if cache is None:
                cache = lm.new_cache(min(longest + max(limits), 2 * longest + 256))
                logits = lm.next_logits(inputs, cache, padding)
                if len(read) < total:
                    rows = torch.tensor(copies, device=device)
                    logits = logits[rows]
                    cache.select(rows)
            else:
                logits = lm.next_logits(inputs, cache)
        ids = sample_next(
            logits,
            sampling,
            lm.spec,
            history=history,
            generated=torch.full((len(live),), count, dtype=torch.int64, device=device),
            generators=generators,
        )
        count += 1
        tokens = ids.tolist()
        emitted = [row for row, token in enumerate(tokens) if token not in lm.spec.end_ids]
        kept = [row for row in emitted if count < limits[live[row]]]
        for row, sample in enumerate(live):
            if row not in kept:
                reasons[sample] = "length" if row in emitted else "end"
        yield token_step(
            [live[row] for row in emitted], [tokens[row] for row in emitted], total, device, reasons
        )
        if len(kept) < len(live):
            live = [live[row] for row in kept]
            generators = [generators[row] for row in kept]
            if not live:
                return
            rows = torch.tensor(kept, device=device)
            ids, history = ids[rows], history[rows]
            cache.select(rows)
        inputs = ids[:, None]
        history = torch.cat([history[:, 1:], inputs], dim=1)


def _key(prompt: Tensor, contrasts: Sequence[Contrast]) -> object:
    """Equal for samples that are read alike."""
    return tuple(prompt.tolist()), tuple((tuple(c.prompt.tolist()), c.weight) for c in contrasts)


def _left_pad(prompt: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(prompt, (length - len(prompt), 0))


def token_step(
    samples: list[int],
    tokens: list[int],
    total: int,
    device: torch.device,
    reasons: Sequence[StopReason],
) -> TokenStep:
    """A step in which some samples received a token.

    Args:
        samples: their numbers.
        tokens: the id each received.
        total: samples of the batch.
        device: of the result.
        reasons: per sample of the batch.

    Returns:
        The step.
    """
    ids = torch.zeros(total, dtype=torch.int64)
    active = torch.zeros(total, dtype=torch.bool)
    ids[samples] = torch.tensor(tokens, dtype=torch.int64)
    active[samples] = True
    return TokenStep(ids.to(device), active.to(device), tuple(reasons))
