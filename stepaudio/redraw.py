"""Several draws of an edit, of which the best is kept: told by its length and its words.

Small models lose their place now and then: they never end, miss the asked speed or skip a word. All
three show in the codes, before any sound is made. Drawing four times together costs little more
than once, as long as nobody waits for a draw that cannot be the best one any more. Not part of the
published system, whose defaults draw once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from stepaudio.errors import GenerationError
from stepaudio.interfaces import SpeechLM
from stepaudio.result import Run
from stepaudio.seeds import derive_seed
from stepaudio.synthesis import draw_codes
from stepaudio.tokenizers.content import lost_content
from stepaudio.types import SamplingParams, SpeechTokens, StopReason

__all__ = [
    "LENGTH_TOLERANCE",
    "PATIENCE",
    "PATIENCE_UNITS",
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


def misfit(units: int, wanted: float | None, reason: StopReason) -> float:
    """How far a draw is from what can be asked of it.

    Args:
        units: that it wrote.
        wanted: units asked for; None asks for no length.
        reason: why it stopped.

    Returns:
        Zero if nothing is wrong, otherwise the absolute logarithm of the ratio of both lengths,
        and infinity for one that did not end by itself.
    """
    if reason != "end":
        return math.inf
    if wanted is None:
        return 0.0
    off = abs(math.log(units / wanted))
    return off if off > math.log1p(LENGTH_TOLERANCE) else 0.0


def is_late(units: int, ended: Sequence[int], wanted: float | None) -> bool:
    """Whether a draw that goes on need not be waited for.

    Args:
        units: that it has.
        ended: units of the other draws that ended by themselves.
        wanted: units asked for; None asks for no length.

    Returns:
        With a length: whether it already fits worse than one that has ended, which going on makes
        worse still. Without: whether it has outrun :data:`PATIENCE`.
    """
    if not ended:
        return False
    if wanted is None:
        return units > PATIENCE * max(ended) + PATIENCE_UNITS
    fit = min(misfit(count, wanted, "end") for count in ended)
    return units > wanted and misfit(units, wanted, "end") > fit


def write_edits(
    lm: SpeechLM,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    sources: Sequence[SpeechTokens],
    wanted: Sequence[float | None],
    sampling: SamplingParams,
    seeds: Sequence[int],
    run: Run,
    *,
    draws: int,
    codebooks: tuple[Tensor, Tensor] | None,
) -> tuple[list[SpeechTokens], list[StopReason]]:
    """Let the language model write every edit some times, and keep the best of each.

    All draws of all samples are made together, each with a seed of its own, so that a sample gets
    what it would get alone. The best draw is the one that fits its length, and among equals the one
    that keeps most of the words.

    Args:
        lm: the model.
        prompts: ids per sample.
        limits: most new ids per sample.
        sources: codes that are edited, per sample.
        wanted: units asked for per sample; None asks for no length.
        sampling: how to draw.
        seeds: per sample.
        run: clock, progress and cancellation.
        draws: of each sample; with temperature 0 all would be the same, so one is made.
        codebooks: of the tokenizer; None tells draws apart by length alone.

    Returns:
        Codes and the reason of the end, per sample.

    Raises:
        CancelledError: the caller asked to stop.
        GenerationError: no draw of a sample has a whole unit and ids in their place.
        PromptError: see :meth:`SpeechLM.generate`.
    """
    draws = draws if sampling.temperature else 1
    rows = [i for i in range(len(prompts)) for _ in range(draws)]
    unit = lm.spec.tokens.unit_length

    def given_up(row: int, lengths: Sequence[int], reasons: Sequence[StopReason]) -> bool:
        sample = rows[row]
        ended = [
            lengths[other] // unit
            for other in range(sample * draws, (sample + 1) * draws)
            if reasons[other] == "end" and lengths[other] >= unit
        ]
        return is_late(lengths[row] // unit, ended, wanted[sample])

    drawn, reasons = draw_codes(
        lm,
        [prompts[i] for i in rows],
        [limits[i] for i in rows],
        sampling,
        [draw_seed(seed, number) for seed in seeds for number in range(draws)],
        run,
        given_up if draws > 1 else None,  # one draw is waited for
    )
    codes: list[SpeechTokens] = []
    ends: list[StopReason] = []
    for i, (source, units) in enumerate(zip(sources, wanted, strict=True)):
        good: list[tuple[float, float, int]] = []
        for row in range(i * draws, (i + 1) * draws):
            one = drawn[row]
            if isinstance(one, SpeechTokens):
                lost = 0.0
                if codebooks is not None and draws > 1:
                    lost = lost_content(source, one, codebooks)
                good.append((misfit(one.num_units, units, reasons[row]), lost, row))
        best = min(good, default=(0.0, 0.0, i * draws))[-1]
        kept = drawn[best]
        if isinstance(kept, GenerationError):
            raise kept
        codes.append(kept)
        ends.append(reasons[best])
    return codes, ends


def draw_seed(seed: int, number: int) -> int:
    """Seed of a draw: the run's own for the first, so that one draw and a stream agree.

    Args:
        seed: of the run.
        number: of the draw, from 0.

    Returns:
        The seed.
    """
    return derive_seed(seed, f"draw {number}") if number else seed
