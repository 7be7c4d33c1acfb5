"""Several draws of an edit, of which the best is kept: told by its length and its words.

Small models lose their place now and then: they never end, miss the asked speed or skip a word. All
three show in the codes, before any sound is made. Drawing four times together costs little more
than once, as long as nobody waits for a draw that cannot be the best one any more; where none is
right, it is done once more. Not part of the published system, whose defaults draw once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from stepaudio.errors import GenerationError
from stepaudio.interfaces import SpeechLM
from stepaudio.result import Run
from stepaudio.seeds import derive_seed
from stepaudio.synthesis import draw_codes
from stepaudio.tokenizers.content import lost_content
from stepaudio.types import Contrast, SamplingParams, SpeechTokens, StopReason, TokenSpec

__all__ = [
    "LENGTH_TOLERANCE",
    "PATIENCE",
    "PATIENCE_UNITS",
    "ROUNDS",
    "Lengths",
    "draw_seed",
    "is_late",
    "misfit",
    "write_edits",
]

#: A length this close to the asked one, relative, is as good as any.
LENGTH_TOLERANCE = 0.08
#: Where no length is asked for: how long a draw may become, as a multiple of the longest one that
#: has ended and in units beyond that, before it counts as one that never ends.
PATIENCE, PATIENCE_UNITS = 1.25, 8
#: How often all draws of a sample are made, as long as none of them is right.
ROUNDS = 2


class Lengths(NamedTuple):
    """How long an edit may become.

    Attributes:
        least: units.
        most: units.
    """

    least: float
    most: float

    @classmethod
    def around(cls, units: float) -> Lengths:
        """One length, and what is as good."""
        return cls(units / (1 + LENGTH_TOLERANCE), units * (1 + LENGTH_TOLERANCE))


def misfit(units: int, wanted: Lengths | None, reason: StopReason) -> float:
    """How far a draw is from what can be asked of it.

    Args:
        units: that it wrote.
        wanted: lengths that fit; None asks for no length.
        reason: why it stopped.

    Returns:
        Zero if nothing is wrong, otherwise the logarithm of how many times too long or too short
        it is, and infinity for one that did not end by itself.
    """
    if reason != "end":
        return math.inf
    if wanted is None:
        return 0.0
    return max(0.0, math.log(units / wanted.most), math.log(wanted.least / units))


def is_late(units: int, ended: Sequence[int], wanted: Lengths | None) -> bool:
    """Whether a draw that goes on need not be waited for.

    Args:
        units: that it has.
        ended: units of the other draws that ended by themselves.
        wanted: lengths that fit; None asks for no length.

    Returns:
        With a length: whether it already fits worse than one that has ended, which going on makes
        worse still. Without: whether it has outrun :data:`PATIENCE`.
    """
    if not ended:
        return False
    if wanted is None:
        return units > PATIENCE * max(ended) + PATIENCE_UNITS
    fit = min(misfit(count, wanted, "end") for count in ended)
    return units > wanted.most and misfit(units, wanted, "end") > fit


def write_edits(
    lm: SpeechLM,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    sources: Sequence[SpeechTokens],
    wanted: Sequence[Lengths | None],
    sampling: SamplingParams,
    seeds: Sequence[int],
    run: Run,
    *,
    draws: int,
    codebooks: tuple[Tensor, Tensor] | None,
    contrasts: Sequence[Sequence[Contrast]] | None = None,
) -> tuple[list[SpeechTokens], list[StopReason]]:
    """Let the language model write every edit some times, and keep the best of each.

    All draws of all samples are made together, each with a seed of its own, so that a sample gets
    what it would get alone. The best draw is the one that fits its length, and among equals the one
    that keeps most of the words. Samples of which no draw ends, or none fits, are drawn again.

    Args:
        lm: the model.
        prompts: ids per sample.
        limits: most new ids per sample.
        sources: codes that are edited, per sample.
        wanted: lengths that fit, per sample; None asks for no length.
        sampling: how to draw.
        seeds: per sample.
        run: clock, progress and cancellation.
        draws: of each sample and round; with temperature 0 all would be the same, so one is made.
        codebooks: of the tokenizer; None tells draws apart by length alone.
        contrasts: per sample, see :mod:`stepaudio.lm.guidance`; None guides none.

    Returns:
        Codes and the reason of the end, per sample.

    Raises:
        CancelledError: the caller asked to stop.
        GenerationError: no draw of a sample has a whole unit and ids in their place.
        PromptError: see :meth:`SpeechLM.generate`.
    """
    draws = draws if sampling.temperature else 1
    tried: list[list[_Draw]] = [[] for _ in prompts]
    # One draw is what the model writes: whoever wants no more gets it as it is.
    for again in range(ROUNDS if draws > 1 else 1):
        left = [i for i, found in enumerate(tried) if all(one.off for one in found)]
        if not left:
            break
        numbers = range(again * draws, (again + 1) * draws)
        rows = [(i, number) for i in left for number in numbers]
        drawn, reasons = draw_codes(
            lm,
            [prompts[i] for i, _ in rows],
            [limits[i] for i, _ in rows],
            sampling,
            [draw_seed(seeds[i], number) for i, number in rows],
            run,
            # One draw is waited for.
            _giving_up(draws, [wanted[i] for i in left], lm.spec.tokens) if draws > 1 else None,
            None if contrasts is None else [contrasts[i] for i, _ in rows],
        )
        for (i, number), codes, reason in zip(rows, drawn, reasons, strict=True):
            if isinstance(codes, GenerationError):
                tried[i].append(_Draw(math.inf, math.inf, number, codes, reason))
                continue
            lost = 0.0
            if codebooks is not None and draws > 1:
                lost = lost_content(sources[i], codes, codebooks)
            off = misfit(codes.num_units, wanted[i], reason)
            tried[i].append(_Draw(off, lost, number, codes, reason))
    outputs: list[SpeechTokens] = []
    ends: list[StopReason] = []
    for found in tried:
        best = min(found, key=lambda one: one[:3])
        if isinstance(best.codes, GenerationError):
            raise best.codes
        outputs.append(best.codes)
        ends.append(best.reason)
    return outputs, ends


class _Draw(NamedTuple):
    """What was drawn, best first when sorted by its first three values.

    Attributes:
        off: from what can be asked of it, see :func:`misfit`.
        lost: of the words; infinite where nothing can be heard.
        number: of the draw.
        codes: or what is wrong with them.
        reason: of its end.
    """

    off: float
    lost: float
    number: int
    codes: SpeechTokens | GenerationError
    reason: StopReason


def _giving_up(
    draws: int, wanted: Sequence[Lengths | None], spec: TokenSpec
) -> Callable[[int, Sequence[int], Sequence[StopReason]], bool]:
    """Whether a row of a batch need not be waited for; ``draws`` rows in turn are of one sample."""
    unit = spec.unit_length

    def given_up(row: int, lengths: Sequence[int], reasons: Sequence[StopReason]) -> bool:
        sample = row // draws
        ended = [
            lengths[other] // unit
            for other in range(sample * draws, (sample + 1) * draws)
            if reasons[other] == "end" and lengths[other] >= unit
        ]
        return is_late(lengths[row] // unit, ended, wanted[sample])

    return given_up


def draw_seed(seed: int, number: int) -> int:
    """Seed of a draw: the run's own for the first, so that one draw and a stream agree.

    Args:
        seed: of the run.
        number: of the draw, from 0.

    Returns:
        The seed.
    """
    return derive_seed(seed, f"draw {number}") if number else seed
