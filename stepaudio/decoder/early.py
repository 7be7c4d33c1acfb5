"""Sound of the first chunk of a stream before all the context of its frames is there.

A vocoder's exact stream holds back as many frames as a frame can possibly see: 29 of the 30 of the
first chunk with the embedded model. What frames really depend on is much nearer (Luo et al. 2016,
"Understanding the effective receptive field"), so half of these frames are enough for a draft that
can be heard at once. The exact sound takes over from it by a fade of one frame; all later chunks
are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from stepaudio.interfaces import Vocoder

__all__ = ["stream_early"]


def stream_early(
    vocoder: Vocoder, mels: Iterator[Tensor], *, generator: torch.Generator
) -> Iterator[Tensor]:
    """Like :meth:`Vocoder.stream`, with a first piece that is worth hearing.

    Costs the vocoding of the first chunk once more, after that chunk was given away.

    Args:
        vocoder: one without a :attr:`~stepaudio.interfaces.Vocoder.context` streams as ever.
        mels: ``[C, t]`` pieces, without overlap.
        generator: source of noise.

    Yields:
        ``[s]`` pieces. They differ from those of :meth:`Vocoder.stream` within the first chunk of
        mel only, and only if that is shorter than twice the context.
    """
    first = next(mels, None)
    if first is None:
        return
    context, frames, hop = vocoder.context, first.shape[-1], vocoder.spec.hop_length
    whole = chain([first], mels)
    # Of a long chunk the exact stream gives more than half away by itself.
    ready = 0 if context is None or frames >= 2 * context else frames - (context + 1) // 2
    if ready <= 0:
        yield from vocoder.stream(whole, generator=generator)
        return
    # The same noise twice, so that draft and exact sound are the same where nothing is missing.
    again = torch.Generator(generator.device)
    again.set_state(generator.get_state())
    draft = vocoder.synthesize(first[None], generator=again)[0, : (ready + 1) * hop]
    yield draft[: ready * hop]
    heard, tail = ready * hop, draft[ready * hop :]
    rising = torch.linspace(0, 1, len(tail), device=tail.device, dtype=tail.dtype)
    for sound in vocoder.stream(whole, generator=generator):
        new = sound[min(heard, len(sound)) :]
        heard -= len(sound) - len(new)
        count = min(len(tail), len(new))
        if count:
            faded = torch.lerp(tail[:count], new[:count], rising[:count])
            new, tail, rising = torch.cat([faded, new[count:]]), tail[count:], rising[count:]
        if len(new):
            yield new
