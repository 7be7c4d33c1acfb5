"""Editing a part of a recording: where to cut it out, and how to put the new part in.

Codes come in whole units, so the part that is really replaced is the longest run of whole units
within the span asked for, laid where its two ends are quietest. Both fades lie inside it: outside
not one sample changes.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stepaudio.audio import Audio
from stepaudio.cutting import voice_stretch
from stepaudio.errors import AudioError, EditError
from stepaudio.tokenizers.preprocess import limit_peak

__all__ = ["FADE_SECONDS", "Cut", "cross_fade", "find_cut", "splice"]

#: Length of both cross-fades.
FADE_SECONDS = 0.01


class Cut(NamedTuple):
    """A part of a recording.

    Attributes:
        first: its first sample.
        last: the sample after its last one.
    """

    first: int
    last: int

    def of(self, audio: Audio) -> Audio:
        """The part as a recording of its own."""
        return Audio(audio.samples[self.first : self.last].clone(), audio.sample_rate)


def find_cut(audio: Audio, span: tuple[float, float], unit: Fraction) -> Cut:
    """What to replace of a span.

    Args:
        audio: the recording.
        span: start and end, seconds.
        unit: length of a unit of codes, seconds.

    Returns:
        As many whole units as the span has room for.

    Raises:
        EditError: not two times in order within the recording, less than a unit apart, or nothing
            to hear between them.
    """
    try:
        start, end = (float(time) for time in span)
    except (TypeError, ValueError):
        raise EditError(
            f"a span is two times in seconds, such as (1.2, 2.4), not {span!r}"
        ) from None
    # NaN fails every comparison and is refused with the rest.
    if not 0 <= start < end <= audio.seconds + 1 / audio.sample_rate:
        raise EditError(
            f"the span {start:g} s to {end:g} s does not lie within the recording of "
            f"{audio.seconds:.3f} s; choose 0 <= start < end <= duration"
        )
    rate = audio.sample_rate
    first, last = round(start * rate), min(round(end * rate), len(audio))
    units = int(Fraction(last - first, rate) / unit)
    if not units:
        raise EditError(
            f"the span {start:g} s to {end:g} s is shorter than one unit of codes; give at least "
            f"{float(unit):g} s"
        )
    cut = _quietest(audio, first, last, math.ceil(units * unit * rate))
    try:
        cut.of(audio).require_sound()
    except AudioError:
        raise EditError(
            f"there is nothing to hear from {start:g} s to {end:g} s; choose another span"
        ) from None
    return cut


def splice(
    audio: Audio, cut: Cut, new: Audio, *, spoken: bool = True
) -> tuple[Audio, tuple[float, float]]:
    """Put a new part into a recording.

    The ends are cross-faded at equal power, see :func:`cross_fade`. Voices are made from recordings
    scaled down to a peak of 0.6 (see :func:`stepaudio.voice.make_voice`); what that takes from
    ``audio`` is given back to the new part, as far as its samples stay in [-1, 1].

    Args:
        audio: the old recording.
        cut: what is replaced.
        new: takes its place; of any rate and length.
        spoken: ``new`` was made in the voice of ``audio``; False leaves its level alone.

    Returns:
        ``len(audio) - (last - first) + len(new)`` samples, ``new`` at the rate of ``audio``; those
        before and after the cut are the old ones, bit for bit. And seconds from and to which it
        is new.
    """
    part = new.resample(audio.sample_rate).samples
    if spoken:
        part = part * _level(audio, part)
    old = audio.samples
    fade = min(_fade(audio), (cut.last - cut.first) // 2, len(part) // 2)
    joined = torch.cat(
        [
            old[: cut.first],
            cross_fade(old[cut.first : cut.first + fade], part[:fade]),
            part[fade : len(part) - fade],
            cross_fade(part[len(part) - fade :], old[cut.last - fade : cut.last]),
            old[cut.last :],
        ]
    )
    rate = audio.sample_rate
    return Audio(joined, rate), (cut.first / rate, (cut.first + len(part)) / rate)


def cross_fade(before: Tensor, after: Tensor) -> Tensor:
    """From one sound to another at equal power, however alike the two are.

    The quarter-circle gains ``cos`` and ``sin`` keep the power of unrelated sounds; where they have
    the correlation ``r`` their sum has ``1 + r sin(2 turn)`` times as much, which is divided out. A
    sound faded into itself is itself.

    Args:
        before: ``[S]`` fades out.
        after: ``[S]`` fades in.

    Returns:
        ``[S]``.
    """
    turn = (torch.arange(len(before)) + 0.5) * (math.pi / 2 / max(len(before), 1))
    alike = functional.cosine_similarity(before, after, dim=0).clamp(min=0)
    faded = before * turn.cos() + after * turn.sin()
    return faded / (1 + alike * (2 * turn).sin()).sqrt()


def _quietest(audio: Audio, first: int, last: int, length: int) -> Cut:
    """The cut of ``length`` samples within ``first`` and ``last`` with least power in its fades."""
    fade = min(_fade(audio), length // 2)
    power = functional.pad(audio.samples[first:last].double().square().cumsum(0), (1, 0))
    heard = power[fade:] - power[: len(power) - fade]  # in the ``fade`` samples from each on
    room = last - first - length + 1
    both = heard[:room] + heard[length - fade :][:room]
    offset = int(both.argmin())
    return Cut(first + offset, first + offset + length)


def _fade(audio: Audio) -> int:
    return round(FADE_SECONDS * audio.sample_rate)


def _level(audio: Audio, part: Tensor) -> float:
    """What brings a part spoken in the voice of a recording to the level of that recording."""
    heard = voice_stretch(audio).samples
    quieter = float(limit_peak(heard).abs().max() / heard.abs().max())
    peak = float(part.abs().max())
    return min(1 / quieter, max(1.0, 1 / peak)) if peak else 1.0
