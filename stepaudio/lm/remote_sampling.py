"""What to ask a server for, so that the ids it draws follow the rules of our own sampler.

A server draws with temperature, top-k, top-p and a list of allowed ids that holds for a whole
request. Our codebook grammar allows other ids at every position, and repetition aware sampling
looks at what was drawn. Both are had by rejection: ids are taken from one long request as long as
they keep the rules, the first that does not is thrown away, and one is asked for in its place.

That is exact. An id drawn among all audio ids and kept if its slot allows it, else drawn anew
among those of its slot, is distributed as one drawn among those of its slot at once; the most
likely id likewise. Only top-k and top-p, which cut the distribution after the grammar, do not
commute with it: with them every stretch of like slots is a request of its own.
Sources: published system, known behaviour (positions); VALL-E 2, section 3.3 (redraw).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from stepaudio.errors import NotServedError, ServerError
from stepaudio.lm.sampling import grammar_mask, initial_history, repetition_ratio
from stepaudio.types import LMSpec, SamplingParams

__all__ = ["Ask", "Verdict", "Writer", "check_servable"]

#: What becomes of an id: it counts, it ends the stream, or another is drawn in its place.
Verdict = Literal["kept", "end", "redraw"]

#: Temperatures between 0 and this are raised to it by vLLM, silently.
_LOWEST_TEMPERATURE = 0.01


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        ids: prompt and what was written so far.
        count: most new ids.
        allowed: ids that may be drawn; None is all.
        temperature: 0 takes the most likely id.
        top_k: keep the k most likely ids; 0 keeps all.
        top_p: keep the smallest set of ids whose mass reaches this.
        minimum: the end is forbidden before this many new ids.
        seed: of this request.
    """

    ids: tuple[int, ...]
    count: int
    allowed: tuple[int, ...] | None
    temperature: float
    top_k: int
    top_p: float
    minimum: int
    seed: int

    def body(self, model: str, end_ids: Sequence[int]) -> dict[str, Any]:
        """The request as vLLM's ``/v1/completions`` reads it.

        Everything that could change the drawing is said, because a server has defaults of its
        own, and generation_config.json of the model may have set them.

        Args:
            model: its name at the server.
            end_ids: ids that end a stream, and nothing else does.

        Returns:
            The JSON object.
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": list(self.ids),
            "max_tokens": self.count,
            "min_tokens": self.minimum,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": self.seed,
            "n": 1,
            "stop_token_ids": list(end_ids),
            "ignore_eos": True,
            "skip_special_tokens": False,
            "return_token_ids": True,
            "stream": True,
        }
        if self.allowed is not None:
            body["allowed_token_ids"] = list(self.allowed)
        return body


def check_servable(params: SamplingParams) -> None:
    """Refuse what cannot be had from a server, rather than leave it out.

    Args:
        params: how to draw.

    Raises:
        NotServedError: names the setting and what can be had.
    """
    if params.repetition == "published_v1":
        raise NotServedError(
            "repetition='published_v1' forbids one id per step before top-k, which a server "
            "cannot do within a stream; use 'none' or 'ras', or run the model in this process"
        )
    if 0 < params.temperature < _LOWEST_TEMPERATURE:
        raise NotServedError(
            f"temperature {params.temperature} would be raised to {_LOWEST_TEMPERATURE} by the "
            "server; use 0 (greedy) or at least that"
        )


class Writer:
    """One stream: what to ask for next, and what becomes of each id.

    Args:
        prompt: ``[T]`` int64.
        room: most new ids, with the grammar whole units.
        params: accepted by :func:`check_servable`.
        spec: codebooks and ends.
        generator: source of the requests' seeds.

    Attributes:
        written: ids that count.
    """

    def __init__(
        self,
        prompt: Tensor,
        room: int,
        params: SamplingParams,
        spec: LMSpec,
        generator: torch.Generator,
    ) -> None:
        self.written: list[int] = []
        self._prompt: list[int] = prompt.tolist()
        self._room, self._params, self._spec = room, params, spec
        self._generator = generator
        self._history: list[int] = initial_history(prompt, params, spec).tolist()
        self._greedy = params.temperature == 0 or params.top_p == 0
        self._cuts = not self._greedy and (params.top_k > 0 or params.top_p < 1)
        self._redraws = params.repetition == "ras" and params.temperature > 0
        # Why the id to come replaces another; None if it does not.
        self._replaces: Literal["grammar", "repetition"] | None = None
        self._exact = False

    @property
    def full(self) -> bool:
        """Nothing more may follow."""
        return len(self.written) >= self._room

    def ask(self) -> Ask:
        """The next request; valid until an id is not kept, or it has given all it was asked for."""
        params, count = self._params, self._room - len(self.written)
        again = self._replaces == "repetition"
        allowed: tuple[int, ...] | None = None
        self._exact = params.constrain and (self._cuts or self._replaces is not None)
        if params.constrain:
            allowed = _anywhere(self._spec)
            if self._exact:
                allowed, run = _slot(self._spec, len(self.written))
                count = 1 if self._replaces else min(count, run)
        elif again:
            count = 1
        # The most likely id is temperature 0 at a server, which knows no top_p of 0. What replaces
        # a repetition is drawn from the whole distribution.
        greedy = self._greedy and not again
        return Ask(
            ids=(*self._prompt, *self.written),
            count=count,
            allowed=allowed,
            temperature=0.0 if greedy else params.temperature,
            top_k=0 if greedy or again else params.top_k,
            top_p=1.0 if greedy or again else params.top_p,
            minimum=min(count, max(0, params.min_new_tokens - len(self.written))),
            seed=int(torch.randint(2**62, (1,), generator=self._generator, dtype=torch.int64)),
        )

    def take(self, token: int) -> Verdict:
        """Judge the next id of the request.

        Args:
            token: the id.

        Returns:
            What becomes of it. Unless it is ``"kept"``, the rest of the request is void.

        Raises:
            ServerError: the id is none that was asked for.
        """
        spec, params = self._spec, self._params
        if not 0 <= token < spec.vocab_size:
            raise ServerError(
                f"the server drew id {token}, but the model has ids 0..{spec.vocab_size - 1}; "
                "does it serve the same model?"
            )
        end = token in spec.end_ids
        if end and len(self.written) < params.min_new_tokens:
            raise ServerError("the server ended the stream before min_tokens ids")
        if params.constrain and token not in _slot_set(spec, len(self.written)):
            if self._exact:
                raise ServerError(f"the server drew id {token}, which allowed_token_ids lacks")
            self._replaces = "grammar"
            return "redraw"
        if self._redraws and self._replaces != "repetition" and self._repeats(token):
            self._replaces = "repetition"
            return "redraw"
        self._replaces = None
        if end:
            return "end"
        self.written.append(token)
        self._history = [*self._history[1:], token]
        return "kept"

    def _repeats(self, token: int) -> bool:
        params = self._params
        ratio = repetition_ratio(
            torch.tensor([token]),
            torch.tensor([self._history]),
            params.ras_window,
            count_self=params.ras_count_self,
        )
        return float(ratio) > params.ras_threshold


@lru_cache(maxsize=8)
def _slots(spec: LMSpec) -> tuple[tuple[int, ...], ...]:
    """Allowed ids of each slot of a unit."""
    generated = torch.arange(spec.tokens.unit_length)
    return tuple(tuple(row.nonzero()[:, 0].tolist()) for row in grammar_mask(generated, spec))


@lru_cache(maxsize=8)
def _slot_sets(spec: LMSpec) -> tuple[frozenset[int], ...]:
    return tuple(frozenset(slot) for slot in _slots(spec))


def _slot_set(spec: LMSpec, written: int) -> frozenset[int]:
    return _slot_sets(spec)[written % spec.tokens.unit_length]


def _slot(spec: LMSpec, written: int) -> tuple[tuple[int, ...], int]:
    """Ids allowed at a position, and for how many positions on these are the ones."""
    slots = _slots(spec)
    first = written % len(slots)
    last = first
    while last + 1 < len(slots) and slots[last + 1] == slots[first]:
        last += 1
    return slots[first], last + 1 - first


@lru_cache(maxsize=8)
def _anywhere(spec: LMSpec) -> tuple[int, ...]:
    """Ids that some slot of a unit allows."""
    return tuple(sorted(set().union(*_slots(spec))))
