"""Where to cut a long recording: into parts for the decoder, or a stretch to hear the voice in.

The decoder attends over the voice and the new speech together, so its memory grows with the square
of their length. Up to :data:`WHOLE_SECONDS` nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.edits import DIALECT_TAGS
from stepaudio.tokenizers.interleave import truncate
from stepaudio.tokenizers.preprocess import LEAD, TOKEN_RATE, sound_bounds
from stepaudio.types import SpeechTokens, TokenSpec

__all__ = [
    "PART_SECONDS",
    "VOICE_SECONDS",
    "Part",
    "WHOLE_SECONDS",
    "cut_at_pauses",
    "join_codes",
    "join_parts",
    "share_words",
    "shuffle_letters",
    "shuffle_units",
    "sound_units",
    "split_words",
    "voice_stretch",
]

#: Recordings up to this length are decoded in one piece, with all of them as the voice.
WHOLE_SECONDS = 30.0
#: Longest part that a longer recording is cut into; the shortest is half of it.
PART_SECONDS = 24.0
#: How much of a longer recording the voice is made from.
VOICE_SECONDS = 15.0

# Loudness is looked at in steps of one unit of codes.
_STEP = 0.12
# A border after a punctuation mark may be this many letters further away.
_PAUSED = 6
# What lies this far below the loudest step adds nothing to a voice.
_FLOOR_DB = 40.0


def voice_stretch(audio: Audio) -> Audio:
    """The part of a recording that a voice is made from.

    Args:
        audio: with something to hear in it.

    Returns:
        The recording itself up to :data:`WHOLE_SECONDS`; of a longer one the
        :data:`VOICE_SECONDS` with the most sound, so that pauses and silent beginnings are left.
    """
    if audio.seconds <= WHOLE_SECONDS:
        return audio
    level = 10 * _power(audio, int(audio.seconds / _STEP)).clamp(min=1e-20).log10()
    # In decibels, so that one bang does not outweigh a minute of speech.
    sound = (level - level.max() + _FLOOR_DB).clamp(min=0)
    start = _STEP * int(sound.unfold(0, round(VOICE_SECONDS / _STEP), 1).sum(-1).argmax())
    return audio.clip(start, start + VOICE_SECONDS)


class Part(NamedTuple):
    """A stretch of a recording.

    Attributes:
        tokens: its codes.
        audio: the sound they were made from.
    """

    tokens: SpeechTokens
    audio: Audio


def cut_at_pauses(
    tokens: SpeechTokens,
    audio: Audio,
    *,
    whole: float = WHOLE_SECONDS,
    longest_part: float = PART_SECONDS,
) -> list[Part]:
    """Cut a recording and its codes into parts, between two units, where it is quiet.

    Args:
        tokens: codes of the whole recording.
        audio: the recording.
        whole: seconds up to which nothing is cut, at least ``longest_part``.
        longest_part: seconds, at least four units.

    Returns:
        All of it up to ``whole``; else parts of half to a whole of ``longest_part``, in order,
        whose codes have no gap or overlap. What tokenizers drop at both ends is in no part.
    """
    if tokens.seconds <= whole:
        return [Part(tokens, audio)]
    units, spec = tokens.num_units, tokens.spec
    begin = _before_first_unit(tokens, audio)
    power = _power(audio, units, start=begin)
    # What sounds around the end of unit ``u``.
    around = power[:-1] + power[1:]
    longest = int(Fraction(longest_part) / spec.unit_seconds)
    shortest = longest // 2
    cuts = [0]
    while (left := units - cuts[-1]) > longest:
        first, last = cuts[-1] + shortest, cuts[-1] + min(longest, left - shortest)
        cuts.append(first + int(around[first - 1 : last].argmin()))
    cuts.append(units)
    parts = []
    for start, stop in pairwise(cuts):
        codes = SpeechTokens(
            tokens.linguistic[start * spec.linguistic.per_unit : stop * spec.linguistic.per_unit],
            tokens.semantic[start * spec.semantic.per_unit : stop * spec.semantic.per_unit],
            spec,
        )
        # The last unit may reach a little beyond the sound it was padded from.
        end = min(begin + stop * _STEP, audio.seconds)
        parts.append(Part(codes, audio.clip(begin + start * _STEP, end)))
    return parts


def join_codes(parts: Sequence[SpeechTokens]) -> SpeechTokens:
    """Codes one after the other.

    Args:
        parts: of whole units, at least one, all of the same codebooks.

    Returns:
        The codes of all.
    """
    linguistic = torch.cat([part.linguistic for part in parts])
    return SpeechTokens(linguistic, torch.cat([p.semantic for p in parts]), parts[0].spec)


def join_parts(parts: Sequence[SpeechTokens]) -> list[SpeechTokens]:
    """Short consecutive parts joined to what the decoder speaks at once.

    Args:
        parts: of one recording, in order, at least one, none longer than :data:`PART_SECONDS`.

    Returns:
        All as one up to :data:`WHOLE_SECONDS`; else as few as can be, of up to
        :data:`PART_SECONDS` each. One part stays one, however long.
    """
    if sum(part.seconds for part in parts) <= WHOLE_SECONDS:
        return [join_codes(parts)]
    groups: list[list[SpeechTokens]] = []
    for part in parts:
        if groups and sum(p.seconds for p in groups[-1]) + part.seconds <= PART_SECONDS:
            groups[-1].append(part)
        else:
            groups.append([part])
    return [join_codes(group) for group in groups]


def shuffle_units(tokens: SpeechTokens) -> SpeechTokens:
    """The same sounds in disorder: nothing is left of the words, all of the voice.

    Args:
        tokens: streams of any lengths; what does not fill a whole unit is dropped.

    Returns:
        Their units in another order, always the same for so many units.
    """
    tokens, spec = truncate(tokens), tokens.spec
    order = _disorder(tokens.num_units).to(tokens.linguistic.device)
    linguistic, semantic = (
        codes.view(-1, stream.per_unit)[order].flatten()
        for codes, stream in (
            (tokens.linguistic, spec.linguistic),
            (tokens.semantic, spec.semantic),
        )
    )
    return SpeechTokens(linguistic, semantic, spec)


def shuffle_letters(text: str) -> str:
    """A text with its letters in disorder: as long, and nobody could read it.

    Args:
        text: in any script; one of :data:`~stepaudio.edits.DIALECT_TAGS` at its beginning stays.

    Returns:
        Words of the same lengths, always the same for the same text.
    """
    tag = next((tag for tag in DIALECT_TAGS if text.startswith(tag)), "")
    rest = text.removeprefix(tag)
    letters = [letter for letter in rest if letter.isalnum()]
    mixed = (letters[n] for n in _disorder(len(letters)).tolist())
    return tag + "".join(next(mixed) if letter.isalnum() else letter for letter in rest)


def _disorder(count: int) -> Tensor:
    """``[count]`` places, always in the same other order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def split_words(text: str) -> tuple[list[str], str]:
    """The words of a text.

    Args:
        text: in any script.

    Returns:
        The words, and what stands between two of them: a space, or nothing in a text without spaces
        of a script without capitals, such as Chinese, where every character counts as a word.
    """
    words = text.split()
    if len(words) == 1 and text.lower() == text.upper():
        return list(words[0]), ""
    return words, " "


def share_words(text: str, shares: Sequence[float]) -> list[str]:
    """Which words belong to which part, where nobody knows when they are said.

    Speech takes about as long as its letters, and people pause where there is a comma: each border
    is the one between two words that is nearest in letters, a few letters further away where one
    of a pause is.

    Args:
        text: the words of the whole, see :func:`split_words`.
        shares: lengths of the parts, in any unit.

    Returns:
        The words of each part, none of them empty; the whole text and then nothing where there are
        fewer words than parts, and nothing at all where there are no words.
    """
    words, between = split_words(text)
    if len(words) < len(shares):
        return [text, *[""] * (len(shares) - 1)]
    letters = list(accumulate(len(word) for word in words))
    borders, past = [0], 0.0
    for number, share in enumerate(shares[:-1]):
        past += share / sum(shares)
        # Every later part needs a word, too.
        choice = range(borders[-1] + 1, len(words) - (len(shares) - 1 - number) + 1)
        borders.append(
            min(
                choice,
                key=lambda border: (
                    abs(letters[border - 1] - past * letters[-1])
                    - _PAUSED * (not words[border - 1][-1].isalnum())
                ),
            )
        )
    return [between.join(words[a:b]) for a, b in pairwise([*borders, len(words)])]


def sound_units(audio: Audio, spec: TokenSpec) -> int:
    """How many units of codes a recording gives at least, without making them.

    Args:
        audio: with something to hear in it.
        spec: the codebooks.

    Returns:
        Whole units between the first and the last sound; silence at the ends may be dropped.
    """
    first, last = sound_bounds(audio.resample(TOKEN_RATE).samples)
    return int(Fraction(last - first, TOKEN_RATE) / spec.unit_seconds)


def _before_first_unit(tokens: SpeechTokens, audio: Audio) -> float:
    """Seconds of silence before the codes begin: tokenizers may drop it at both ends."""
    dropped = audio.seconds - tokens.seconds
    if dropped < 2 * tokens.spec.unit_seconds:
        return 0.0
    first = sound_bounds(audio.resample(TOKEN_RATE).samples)[0] - LEAD
    return min(max(0.0, first / TOKEN_RATE), dropped)


def _power(audio: Audio, steps: int, start: float = 0.0) -> Tensor:
    """``[steps]`` variance of the samples of each step, 0 beyond the end."""
    edges = [round((start + step * _STEP) * audio.sample_rate) for step in range(steps + 1)]
    parts = [audio.samples[first:last] for first, last in pairwise(edges)]
    zero = audio.samples.new_zeros(())
    return torch.stack([part.var(correction=0) if len(part) else zero for part in parts])
