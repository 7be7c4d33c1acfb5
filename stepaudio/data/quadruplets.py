"""Quadruplets ⟨text without tags, audio without, tagged text, tagged audio⟩ (EditX, SFT data).

Half synthetic: the target is a real recording with its sound, the input says the same words without
it in a cloned voice. No margin scorer is needed, for the sound is a large difference by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from stepaudio.data.cloning import CloneRequest
from stepaudio.data.manifest import Utterance
from stepaudio.data.pairs import EditPair
from stepaudio.edits import PARALINGUISTIC_TAGS, Edit
from stepaudio.errors import DataError

__all__ = ["has_tags", "plan_plain_clones", "quadruplets", "strip_tags"]

_TAG = re.compile("|".join(re.escape(tag) for tag in PARALINGUISTIC_TAGS))
_SPACES = re.compile(r"\s+")
_BEFORE_PUNCTUATION = re.compile(r"\s+([,.;:!?，。！？；：])")


def has_tags(text: str) -> bool:
    """Whether a text holds a tag of a non-verbal sound."""
    return _TAG.search(text) is not None


def strip_tags(text: str) -> str:
    """The words without their tags.

    Args:
        text: e.g. ``"Well [Laughter], why not?"``.

    Returns:
        ``"Well, why not?"``.
    """
    without = _SPACES.sub(" ", _TAG.sub("", text)).strip()
    return _BEFORE_PUNCTUATION.sub(r"\1", without)


def plan_plain_clones(utterances: Iterable[Utterance]) -> list[CloneRequest]:
    """What to clone so that every recording with a tagged text gets a plain counterpart.

    Args:
        utterances: real recordings; those without tags are passed over.

    Returns:
        One request per tagged recording, ``"ID-plain"``.
    """
    return [
        CloneRequest(f"{row.id}-plain", strip_tags(row.text), row)
        for row in utterances
        if has_tags(row.text)
    ]


def quadruplets(tagged: Iterable[Utterance], plain: Iterable[Utterance]) -> list[EditPair]:
    """Pair every tagged recording with its plain counterpart.

    Args:
        tagged: real recordings with tags in their texts.
        plain: renderings of :func:`plan_plain_clones`; more may be among them.

    Returns:
        The pairs: ⟨``text``, ``before``, ``edit.text``, ``after``⟩ are the quadruplet.

    Raises:
        DataError: a counterpart is missing or says other words.
    """
    rows = {row.id: row for row in plain}
    pairs = []
    for row in tagged:
        if not has_tags(row.text):
            continue
        before = rows.get(f"{row.id}-plain")
        words = strip_tags(row.text)
        if before is None or before.text != words:
            said = "is missing" if before is None else f"says {before.text!r}"
            raise DataError(f"the plain counterpart of {row.id} {said}; it must say {words!r}")
        edit = Edit.paralinguistic(row.text)
        pairs.append(EditPair(edit, before.id, row.id, words, row.speaker))
    return pairs
