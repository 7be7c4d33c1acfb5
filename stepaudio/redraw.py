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
from stepaudio.synthesis import write_codes
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

    All samples are drawn together once, the wrong ones again one by one, so that each gets what
    it would get alone.

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
    for i, seed in enumerate(seeds):
        least = misfit(codes[i].num_units, wanted[i], reasons[i])
        for draw in range(1, draws):
            if not least:
                break
            again = derive_seed(seed, f"draw {draw}")
            try:
                (new,), (reason,) = write_codes(
                    lm, [prompts[i]], [limits[i]], sampling, [again], run
                )
            except GenerationError:
                continue  # the draw before it can at least be decoded
            off = misfit(new.num_units, wanted[i], reason)
            if off < least:
                codes[i], reasons[i], least = new, reason, off
    return codes, reasons
