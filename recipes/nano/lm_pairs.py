"""The edits a language model learns: pairs of recordings of the same words, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recipes.nano.codes import Codes
from recipes.nano.data.features import Features
from recipes.nano.data.timeline import Timeline
from stepaudio.data.pairs import edit_of_change
from stepaudio.edits import Edit

__all__ = ["SHORTEST", "Pair", "pairs_of", "sentence"]

#: Units of 0.12 s below which a recording is not used.
SHORTEST = 6


@dataclass(frozen=True)
class Pair:
    """An edit with the recording before and after it, as items of one feature folder.

    Attributes:
        folder: number of the folder.
        edit: what was done.
        before: item of the recording before.
        after: item of the recording after.
        text: words before; empty where the prompt has none.
        line: moments of ``after`` (its ``row``) against those of ``before`` (its ``source``); None
            where nobody knows them.
        croppable: a stretch of both is a pair again.
    """

    folder: int
    edit: Edit
    before: int
    after: int
    text: str
    line: Timeline | None
    croppable: bool


def sentence(text: str) -> str:
    """A text as people write it: not in capitals alone."""
    return text.lower() if text.isupper() else text


def pairs_of(folder: int, features: Features, codes: Codes) -> Iterator[Pair]:
    """All pairs of a feature folder.

    A row with noise or with longer pauses is what the editor hears, its source what it shall say.
    A sound that was put in is learned in this direction only: no published instruction takes a
    sound away. "Remove any speaking styles" does not ask for it, and taught so it would remove
    laughter from whoever only wants a style gone.

    Args:
        folder: its number.
        features: of the folder.
        codes: of the folder.

    Yields:
        One or two pairs of every row that was made from another.
    """
    by_id = {row["id"]: item for item, row in enumerate(features.rows)}
    for item, row in enumerate(features.rows):
        source = by_id.get(row["source"] or "")
        if source is None or min(codes.units(item), codes.units(source)) < SHORTEST:
            continue
        before, change = features.rows[source], row["change"]
        line, text = Timeline.between(before, row), sentence(before["text"])
        edit = edit_of_change(change, sentence(row["text"]))
        assert edit is not None, row["id"]
        if change in ("noisy", "paused"):
            back = line.reversed() if line else None
            yield Pair(folder, edit, item, source, "", back, line is not None)
        elif change == "trimmed":
            yield Pair(folder, edit, source, item, "", line, line is not None)
        elif edit.kind == "paralinguistic":
            yield Pair(folder, edit, source, item, text, line, False)
        else:
            yield Pair(folder, edit, source, item, text, line, line is not None)
            # What was changed twice comes back to what was changed once, which is not plain.
            if edit.kind != "speed" and before["change"] == "none":
                back = line.reversed() if line else None
                plain = Edit.remove(edit.kind)
                yield Pair(folder, plain, item, source, text, back, line is not None)
