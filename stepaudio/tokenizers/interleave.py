"""Two code streams as one: the 2:3 interleaving of the dual codebook (paper section 2.1).

Every 0.12 s make one unit of five audio ids: two linguistic codes, then three semantic codes,
the latter raised by the size of the linguistic codebook. A language model adds its own offset.
Pure functions; nothing here repairs a stream silently except :func:`regroup_for_decoder`, which
reads ids by position as the published decoder does.
"""

from __future__ import annotations

import re

import torch
from einops import rearrange
from torch import Tensor

from stepaudio.errors import TokenError
from stepaudio.types import SpeechTokens, TokenSpec

__all__ = [
    "deinterleave",
    "from_text",
    "interleave",
    "regroup_for_decoder",
    "to_text",
    "truncate",
    "truncate_ids",
    "validate",
]

# Canonical decimal only: "<audio_007>" is not a token of any vocabulary.
_TOKEN = re.compile(r"<audio_(0|[1-9][0-9]*)>")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def truncate(tokens: SpeechTokens) -> SpeechTokens:
    """Keep the whole units both streams can fill.

    Args:
        tokens: streams of any lengths.

    Returns:
        ``2 U`` linguistic and ``3 U`` semantic codes; the surplus at the end is dropped.
    """
    units, spec = tokens.num_units, tokens.spec
    return SpeechTokens(
        tokens.linguistic[: units * spec.linguistic.per_unit],
        tokens.semantic[: units * spec.semantic.per_unit],
        spec,
    )


def truncate_ids(ids: Tensor, spec: TokenSpec | None = None) -> Tensor:
    """Keep whole units of an id stream.

    Args:
        ids: ``[N]`` ids.
        spec: the codebooks; None means the published ones.

    Returns:
        ``[5 * (N // 5)]``, a view.
    """
    unit = (spec or TokenSpec()).unit_length
    return ids[: len(ids) // unit * unit]


def interleave(tokens: SpeechTokens, offset: int = 0) -> Tensor:
    """Codes to one id stream.

    Args:
        tokens: streams of any lengths; what does not fill a whole unit is dropped.
        offset: added to every id, e.g. ``LMSpec.audio_offset``.

    Returns:
        ``[5 U]`` int64: linguistic code ``c`` as ``offset + c``, semantic code ``c`` as
        ``offset + linguistic_size + c``.
    """
    whole, spec = truncate(tokens), tokens.spec
    linguistic = rearrange(whole.linguistic, "(u n) -> u n", n=spec.linguistic.per_unit)
    semantic = rearrange(whole.semantic, "(u n) -> u n", n=spec.semantic.per_unit)
    return torch.cat([linguistic, semantic + spec.linguistic_size], dim=1).flatten() + offset


def deinterleave(ids: Tensor, spec: TokenSpec | None = None, offset: int = 0) -> SpeechTokens:
    """One id stream back to codes, the exact inverse of :func:`interleave`.

    Args:
        ids: ``[5 U]`` integer ids.
        spec: the codebooks; None means the published ones.
        offset: what was added to every id.

    Returns:
        The codes.

    Raises:
        TokenError: the stream is malformed; see :func:`validate`.
    """
    spec = spec or TokenSpec()
    validate(ids, spec, offset)
    units = rearrange(ids.long() - offset, "(u n) -> u n", n=spec.unit_length)
    split = spec.linguistic.per_unit
    return SpeechTokens(
        units[:, :split].flatten(), units[:, split:].flatten() - spec.linguistic_size, spec
    )


def validate(ids: Tensor, spec: TokenSpec | None = None, offset: int = 0) -> None:
    """Check that ids are whole units with every id in the codebook of its slot.

    Args:
        ids: ``[5 U]`` integer ids; an empty stream is valid.
        spec: the codebooks; None means the published ones.
        offset: what was added to every id.

    Raises:
        TokenError: not one-dimensional integers, an id outside the codebook of its slot (the
            message names the first such position and its value), or a broken last unit.
    """
    spec = spec or TokenSpec()
    _require_integers(ids)
    audio_ids = ids.long() - offset
    slots = torch.arange(len(ids), device=ids.device) % spec.unit_length
    linguistic = slots < spec.linguistic.per_unit
    low = torch.where(linguistic, 0, spec.linguistic_size)
    high = torch.where(linguistic, spec.linguistic_size, spec.size)
    wrong = ((audio_ids < low) | (audio_ids >= high)).nonzero()
    if len(wrong):
        at = int(wrong[0])
        name = spec.linguistic.name if bool(linguistic[at]) else spec.semantic.name
        raise TokenError(
            f"id {int(ids[at])} at position {at} (slot {int(slots[at])} of its unit) is not a "
            f"{name} id; expected {offset + int(low[at])}..{offset + int(high[at]) - 1}"
        )
    if len(ids) % spec.unit_length:
        raise TokenError(
            f"{len(ids)} ids are not whole units of {spec.unit_length}: the last unit, from "
            f"position {len(ids) // spec.unit_length * spec.unit_length}, is incomplete; "
            "drop it with truncate_ids"
        )


def regroup_for_decoder(ids: Tensor, spec: TokenSpec | None = None) -> Tensor:
    """Audio ids as the pairs the flow decoder reads, three steps of 25 Hz per unit.

    The decoder embeds a linguistic and a semantic value per step from one table: linguistic codes
    as they are, a blank of value ``linguistic_size`` for the third step, semantic ids raised by
    one to make room for the blank. Ids are read by position, whatever codebook they belong to.
    An incomplete last unit is filled with the last items of ``[0, 0, L, L, L]``,
    ``L = linguistic_size``, as published.

    Args:
        ids: ``[N]`` audio ids without a language model's offset.
        spec: the codebooks; None means the published ones.

    Returns:
        ``[3 * ceil(N / 5), 2]`` int64 rows of (linguistic, semantic) values in ``0..size``.

    Raises:
        TokenError: not one-dimensional integers, empty, or an id that is no audio id.
    """
    spec = spec or TokenSpec()
    _require_integers(ids)
    if not len(ids):
        raise TokenError("there are no audio ids to decode; the stream is empty")
    wrong = ((ids < 0) | (ids >= spec.size)).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise TokenError(
            f"id {int(ids[at])} at position {at} is not an audio id; expected 0..{spec.size - 1} "
            "(subtract the language model's audio offset first)"
        )
    blank = spec.linguistic_size
    split, steps = spec.linguistic.per_unit, spec.semantic.per_unit
    filler = torch.tensor([0] * split + [blank] * steps, device=ids.device)
    missing = -len(ids) % spec.unit_length
    padded = torch.cat([ids.long(), filler[spec.unit_length - missing :]])
    units = rearrange(padded, "(u n) -> u n", n=spec.unit_length)
    blanks = units.new_full((len(units), steps - split), blank)
    linguistic = torch.cat([units[:, :split], blanks], dim=1)
    return torch.stack([linguistic.flatten(), units[:, split:].flatten() + 1], dim=1)


def to_text(tokens: SpeechTokens) -> str:
    """Codes to the form in which they stand in a prompt.

    Args:
        tokens: streams of any lengths; what does not fill a whole unit is dropped.

    Returns:
        ``<audio_k>`` for each audio id ``k``, nothing between them.
    """
    return "".join(f"<audio_{k}>" for k in interleave(tokens).tolist())


def from_text(text: str, spec: TokenSpec | None = None) -> SpeechTokens:
    """The exact inverse of :func:`to_text`.

    Args:
        text: only ``<audio_k>`` tokens, nothing between them.
        spec: the codebooks; None means the published ones.

    Returns:
        The codes.

    Raises:
        TokenError: anything else in the text, or a malformed stream; see :func:`validate`.
    """
    spec = spec or TokenSpec()
    ids: list[int] = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise TokenError(
                f"character {position} of the token text does not begin an <audio_k> token: "
                f"{text[position : position + 24]!r}"
            )
        # A number too long for any codebook is compared as text, before it can overflow.
        if len(token[1]) > len(str(spec.size)) or int(token[1]) >= spec.size:
            raise TokenError(
                f"{token[0][:48]} at position {len(ids)} is not an audio id; "
                f"expected 0..{spec.size - 1}"
            )
        ids.append(int(token[1]))
        position = token.end()
    return deinterleave(torch.tensor(ids, dtype=torch.int64), spec)


def _require_integers(ids: Tensor) -> None:
    if ids.dim() != 1 or ids.dtype not in _INTEGERS:
        raise TokenError(
            "ids must be a one-dimensional integer tensor, "
            f"got {ids.dtype} with shape {tuple(ids.shape)}"
        )
