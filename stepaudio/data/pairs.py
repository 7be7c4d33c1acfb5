"""What the builders give: an edit with the recording before and after it.

Triplets, quadruplets, speed, denoise and silence pairs are all of this kind; they differ in the
edit and in where the second recording comes from (EditX, sections on SFT data and extensions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepaudio.data.manifest import Utterance, read_jsonl, write_jsonl
from stepaudio.data.margin import HIGHEST, LOWEST
from stepaudio.edits import Edit
from stepaudio.errors import DataError, EditError

__all__ = ["EditPair", "edit_of_change", "made_pairs", "read_pairs", "write_pairs"]

# What a signal was made worse by, and what the editor shall do about it.
_REPAIRS = {"noisy": Edit.denoise(), "paused": Edit.trim_silence()}


@dataclass(frozen=True)
class EditPair:
    """One example of an edit.

    Attributes:
        edit: what is asked for.
        before: id of the recording that is edited.
        after: id of the recording that is wanted.
        text: words of the first recording, without tags; empty for edits that need none.
        speaker: of both.
        margin: how far they differ in what was asked for, 1 to 10; None if not rated.
    """

    edit: Edit
    before: str
    after: str
    text: str = ""
    speaker: str = ""
    margin: float | None = None

    @property
    def category(self) -> str:
        """What thresholds are given for, e.g. ``"emotion:happy"`` or ``"denoise"``."""
        return f"{self.edit.kind}:{self.edit.label}" if self.edit.label else self.edit.kind


def edit_of_change(change: str, text: str = "") -> Edit | None:
    """The edit that turns a recording into a changed one of it.

    Args:
        change: ``"kind:label"``, e.g. ``"emotion:happy"``, ``"speed:more faster"`` or
            ``"paralinguistic:[Laughter]"``; ``"noisy"`` and ``"paused"`` name what the *other*
            direction repairs; ``"trimmed"`` has less silence.
        text: words of the changed recording with their tags, for paralinguistic changes.

    Returns:
        The edit; None for ``"none"``.

    Raises:
        EditError: no such edit.
    """
    kind, _, label = change.partition(":")
    if change == "none":
        return None
    if change in _REPAIRS:
        return _REPAIRS[change]
    if change == "trimmed":
        return Edit.trim_silence()
    if kind == "paralinguistic":
        return Edit.paralinguistic(text)
    if kind == "speed":
        return Edit.speed(label)
    # Only these two are left; anything else is refused with the names that exist.
    return Edit.style(label) if kind == "style" else Edit(kind, label)  # type: ignore[arg-type]


def made_pairs(utterances: Iterable[Utterance], *, removals: bool = True) -> list[EditPair]:
    """Pairs of recordings that were made from one another, as ``change`` and ``source`` tell.

    Args:
        utterances: of one manifest; sources must be among them.
        removals: also ask for an emotion or a style to be taken away, from changed to unchanged.

    Returns:
        One or two pairs per changed recording.

    Raises:
        DataError: a source is missing, or a change is no edit.
    """
    rows = {utterance.id: utterance for utterance in utterances}
    pairs = []
    for row in rows.values():
        if row.change == "none":
            continue
        source = rows.get(row.source)
        if source is None:
            raise DataError(f"{row.id} was made from {row.source!r}, which is not in the manifest")
        try:
            edit = edit_of_change(row.change, row.text)
        except EditError as error:
            raise DataError(f"{row.id}: change {row.change!r} is no edit: {error}") from error
        assert edit is not None
        if row.change in _REPAIRS:
            pairs.append(EditPair(edit, row.id, source.id, "", row.speaker))
            continue
        pairs.append(EditPair(edit, source.id, row.id, source.text, row.speaker))
        if removals and edit.kind in ("emotion", "style"):
            removal = Edit.remove(edit.kind)
            pairs.append(EditPair(removal, row.id, source.id, source.text, row.speaker))
    return pairs


def write_pairs(path: str | Path, pairs: Iterable[EditPair], *, force: bool = False) -> Path:
    """Write pairs, one JSON object per line.

    Args:
        path: the file.
        pairs: in the order of the lines.
        force: allow replacing an existing file.

    Returns:
        ``path``.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """
    return write_jsonl(path, map(asdict, pairs), force=force)


def read_pairs(path: str | Path) -> list[EditPair]:
    """Read pairs.

    Args:
        path: written by :func:`write_pairs`.

    Returns:
        The pairs.

    Raises:
        DataError: the file is missing, or a line lacks something, holds something of the wrong
            type or a margin off the scale; the message names it.
    """
    pairs = []
    for number, row in read_jsonl(path):
        try:
            pairs.append(_pair(row))
        except (TypeError, EditError) as error:
            raise DataError(f"{path}:{number}: not a pair: {error}") from error
    return pairs


def _pair(row: Mapping[str, Any]) -> EditPair:
    edit, margin = row.get("edit"), row.get("margin")
    if not isinstance(edit, dict):
        raise TypeError(f"'edit' must be an object, not {edit!r}")
    _check_texts(edit, "kind", "label", "text")
    _check_texts(row, "before", "after", "text", "speaker")
    if not row.get("before") or not row.get("after"):
        raise TypeError("'before' and 'after' must be ids")
    if margin is not None:
        is_number = isinstance(margin, int | float) and not isinstance(margin, bool)
        # NaN fails both comparisons.
        if not (is_number and LOWEST <= margin <= HIGHEST):
            raise TypeError(
                f"'margin' must be a number from {LOWEST:g} to {HIGHEST:g}, or null if nobody "
                f"rated it, not {margin!r}"
            )
    return EditPair(**{**row, "edit": Edit(**edit)})


def _check_texts(values: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(values.get(name, ""), str):
            raise TypeError(f"{name!r} must be a text, not {values[name]!r}")
