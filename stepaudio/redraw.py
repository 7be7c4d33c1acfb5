"""Draw again what a language model visibly got wrong: it never ended, or missed the asked speed.

Small models lose their place now and then. Whether the words are right cannot be told without
listening, but the length can, before any sound is made. Not part of the published system, whose
defaults draw once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepaudio.errors import GenerationError
from stepaudio.interfaces import SpeechLM
from stepaudio.result import Run
from stepaudio.seeds import derive_seed
from stepaudio.synthesis import draw_codes, write_codes
from stepaudio.types import SamplingParams, SpeechTokens, StopReason

__all__ = ["LENGTH_TOLERANCE", "misfit", "write_edits"]

#: A length this close to the asked one, relative, is not drawn again.
LENGTH_TOLERANCE = 0.08


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


def write_edits(
    lm: SpeechLM,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    wanted: Sequence[float | None],
    sampling: SamplingParams,
    seeds: Sequence[int],
    run: Run,
    *,
    draws: int,
) -> tuple[list[SpeechTokens], list[StopReason]]:
    """Let the language model write, and write again where the length is wrong.

    All samples are drawn together, then those with a wrong length together again, each with seeds
    of its own, so that it gets what it would get alone.

    Args:
        lm: the model.
        prompts: ids per sample.
        limits: most new ids per sample.
        wanted: units asked for per sample; None asks for no length.
        sampling: how to draw.
        seeds: per sample.
        run: clock, progress and cancellation.
        draws: most draws of a sample; 1 never draws again.

    Returns:
        Codes and the reason of the end, per sample: of the first draw with nothing wrong, or the
        least wrong one.

    Raises:
        CancelledError: the caller asked to stop.
        GenerationError: the first draw of a sample has no whole unit, or ids out of place.
        PromptError: see :meth:`SpeechLM.generate`.
    """
    codes, reasons = write_codes(lm, prompts, limits, sampling, seeds, run)
    off = [misfit(codes[i].num_units, wanted[i], reasons[i]) for i in range(len(prompts))]
    for draw in range(1, draws):
        wrong = [i for i, least in enumerate(off) if least]
        if not wrong:
            break
        drawn, ends = draw_codes(
            lm,
            [prompts[i] for i in wrong],
            [limits[i] for i in wrong],
            sampling,
            [derive_seed(seeds[i], f"draw {draw}") for i in wrong],
            run,
        )
        for i, new, reason in zip(wrong, drawn, ends, strict=True):
            if isinstance(new, GenerationError):
                continue  # the draw before it can at least be decoded
            least = misfit(new.num_units, wanted[i], reason)
            if least < off[i]:
                codes[i], reasons[i], off[i] = new, reason, least
    return codes, reasons
