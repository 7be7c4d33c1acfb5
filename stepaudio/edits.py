"""What can be asked for: the edits of the published system, their labels and tags.

Labels are data in one table, :data:`EDIT_KINDS`; how an edit is put into words for the language
model is in :mod:`stepaudio.prompts`.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from stepaudio.errors import EditError

__all__ = [
    "DIALECT_TAGS",
    "EDIT_KINDS",
    "PARALINGUISTIC_TAGS",
    "REMOVE",
    "Edit",
    "EditKind",
    "KindName",
]

KindName = Literal["emotion", "style", "speed", "paralinguistic", "denoise", "trim_silence"]

#: The label that takes an emotion or a style away.
REMOVE = "remove"

#: Non-verbal sounds a paralinguistic edit can insert; ordinary text to the tokenizer.
PARALINGUISTIC_TAGS: tuple[str, ...] = (
    "[Breathing]",
    "[Laughter]",
    "[Surprise-oh]",
    "[Confirmation-en]",
    "[Uhm]",
    "[Surprise-ah]",
    "[Surprise-wa]",
    "[Sigh]",
    "[Question-ei]",
    "[Dissatisfaction-hnn]",
)

#: Tags that may stand before the text to speak in a cloned voice.
DIALECT_TAGS: tuple[str, ...] = ("[Sichuanese]", "[Cantonese]", "[Japanese]", "[Korean]")


@dataclass(frozen=True)
class EditKind:
    """One row of the table of edits.

    Attributes:
        published_name: what the published code calls it.
        labels: what can be asked for; empty if the kind takes no label.
        needs_text: the words spoken in the recording must be given.
        max_strength: largest meaningful :attr:`Edit.strength`.
    """

    published_name: str
    labels: tuple[str, ...]
    needs_text: bool
    max_strength: int


# fmt: off
_EMOTIONS = (
    "happy", "angry", "sad", "humour", "confusion", "disgusted", "empathy", "embarrass",
    "fear", "surprised", "excited", "depressed", "coldness", "admiration", "remove",
)
_STYLES = (
    "serious", "arrogant", "child", "older", "girl", "pure", "sister", "sweet",
    "ethereal", "whisper", "gentle", "recite", "generous", "act_coy", "warm", "shy",
    "comfort", "authority", "chat", "radio", "soulful", "story", "vivid", "program",
    "news", "advertising", "roar", "murmur", "shout", "deeply", "loudly", "exaggerated",
    "remove",
)
# fmt: on

#: Every kind of edit (published system). Three repetitions are what the paper measures.
EDIT_KINDS: dict[KindName, EditKind] = {
    "emotion": EditKind("emotion", _EMOTIONS, needs_text=True, max_strength=3),
    "style": EditKind("style", _STYLES, needs_text=True, max_strength=3),
    "speed": EditKind("speed", ("faster", "slower"), needs_text=True, max_strength=2),
    "paralinguistic": EditKind("paralinguistic", (), needs_text=True, max_strength=1),
    "denoise": EditKind("denoise", (), needs_text=False, max_strength=1),
    "trim_silence": EditKind("vad", (), needs_text=False, max_strength=1),
}


@dataclass(frozen=True)
class Edit:
    """One change to a recording; make one with the class methods.

    Attributes:
        kind: a key of :data:`EDIT_KINDS`.
        label: one of the kind's labels, empty for kinds without labels.
        text: for a paralinguistic edit the new text with its tags, otherwise empty.
        strength: how far to go. For emotion and style, how many times in a row the edit is
            applied, each time to the result before (the paper's iterative editing; 3 is as far as
            it measures). For speed, 2 asks for "more faster" or "more slower" in one pass.
            Every other edit has strength 1.

    Raises:
        EditError: an unknown kind, label or tag, missing text, or a strength out of range.
    """

    kind: KindName
    label: str = ""
    text: str = ""
    strength: int = 1

    def __post_init__(self) -> None:
        if self.kind not in EDIT_KINDS:
            raise EditError(f"unknown edit {self.kind!r}; {_suggest(self.kind, EDIT_KINDS)}")
        row = EDIT_KINDS[self.kind]
        if row.labels and self.label not in row.labels:
            raise EditError(
                f"unknown {self.kind} {self.label!r}; {_suggest(self.label, row.labels)}"
            )
        if not row.labels and self.label:
            raise EditError(f"a {self.kind} edit takes no label, got {self.label!r}")
        if self.kind == "paralinguistic":
            _check_tags(self.text)
        elif self.text:
            raise EditError(f"a {self.kind} edit does not change the words, got {self.text!r}")
        limit = 1 if self.label == REMOVE else row.max_strength
        strength = _whole(self.strength)
        if strength not in range(1, limit + 1):
            name = f"{self.kind} {self.label}".strip()
            raise EditError(
                f"the strength of {name!r} must be "
                f"{'1' if limit == 1 else f'a whole number from 1 to {limit}'}, "
                f"not {self.strength!r}"
            )
        object.__setattr__(self, "strength", strength)

    @classmethod
    def emotion(cls, label: str, *, strength: int = 1) -> Edit:
        """Speak with an emotion, for example ``"happy"``.

        Args:
            label: one of ``EDIT_KINDS["emotion"].labels``.
            strength: how many times in a row, 1 to 3.

        Returns:
            The edit.
        """
        return cls("emotion", label, strength=strength)

    @classmethod
    def style(cls, label: str, *, strength: int = 1) -> Edit:
        """Speak in a style, for example ``"whisper"``.

        Args:
            label: one of ``EDIT_KINDS["style"].labels``.
            strength: how many times in a row, 1 to 3.

        Returns:
            The edit.
        """
        return cls("style", label, strength=strength)

    @classmethod
    def speed(cls, label: str, *, strength: int = 1) -> Edit:
        """Speak ``"faster"`` or ``"slower"``.

        Args:
            label: the direction; the published labels ``"more faster"`` and ``"more slower"`` are
                understood as the direction with strength 2.
            strength: 1, or 2 for much.

        Returns:
            The edit.
        """
        if label in ("more faster", "more slower"):
            return cls("speed", label.removeprefix("more "), strength=2)
        return cls("speed", label, strength=strength)

    @classmethod
    def paralinguistic(cls, text: str) -> Edit:
        """Insert non-verbal sounds.

        Args:
            text: the words of the recording with tags of :data:`PARALINGUISTIC_TAGS` where the
                sounds shall be, for example ``"Well [Laughter] why not?"``.

        Returns:
            The edit.
        """
        return cls("paralinguistic", text=text)

    @classmethod
    def denoise(cls) -> Edit:
        """Remove noise, keep the voice."""
        return cls("denoise")

    @classmethod
    def trim_silence(cls) -> Edit:
        """Remove silent portions, keep the voice."""
        return cls("trim_silence")

    @classmethod
    def remove(cls, what: str) -> Edit:
        """Take away the ``"emotion"`` or the ``"style"`` of a recording."""
        if what == "emotion":
            return cls("emotion", REMOVE)
        if what == "style":
            return cls("style", REMOVE)
        raise EditError(f"only 'emotion' or 'style' can be removed, not {what!r}")

    @property
    def needs_text(self) -> bool:
        """Whether the words spoken in the recording must be given."""
        return EDIT_KINDS[self.kind].needs_text

    @property
    def passes(self) -> int:
        """How many times in a row the edit is applied, each time to the result before."""
        return self.strength if self.kind in ("emotion", "style") else 1

    @property
    def published_label(self) -> str:
        """The label as the published prompts spell it, such as ``"more faster"``."""
        return f"more {self.label}" if self.kind == "speed" and self.strength == 2 else self.label


def _whole(strength: object) -> int | None:
    """A whole number of any type as the plain one that JSON has; None if it is none."""
    try:
        return None if isinstance(strength, bool) else operator.index(strength)  # type: ignore[arg-type]
    except TypeError:
        return None


def _check_tags(text: str) -> None:
    found = re.findall(r"\[[^\[\]]*\]", text)
    for tag in found:
        if tag not in PARALINGUISTIC_TAGS:
            raise EditError(f"unknown sound {tag}; {_suggest(tag, PARALINGUISTIC_TAGS)}")
    if not found:
        raise EditError(
            "a paralinguistic edit needs the new text with at least one sound in it, "
            f"one of {' '.join(PARALINGUISTIC_TAGS)}; got {text!r}"
        )


def _suggest(word: object, valid: Iterable[str]) -> str:
    choices = list(valid)
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(word).strip().lower(), list(by_lower), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(by_lower[name]) for name in near)}?"
    return f"choose one of {', '.join(choices)}"
