"""Reading a sentencepiece ``tokenizer.model``: its pieces, scores and kinds.

Field numbers are those of the public sentencepiece model schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from stepaudio.errors import CheckpointError
from stepaudio.protobuf import Field, fields

__all__ = ["Piece", "PieceKind", "read_sentencepiece"]


class PieceKind(IntEnum):
    """What a piece is for, numbered as in the file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One vocabulary entry; its id is its position in the file.

    Attributes:
        text: spelling, with ``▁`` for a space.
        score: log-probability in the unigram model; 0 for everything but normal pieces.
        kind: what the piece is for.
    """

    text: str
    score: float
    kind: PieceKind


def read_sentencepiece(path: str | Path) -> list[Piece]:
    """Read the vocabulary of a byte-fallback unigram model without normalisation.

    Args:
        path: the ``tokenizer.model`` file.

    Returns:
        The pieces, in id order.

    Raises:
        CheckpointError: the file is missing or damaged, or the model is of another kind (BPE,
            with a normalizer, ...), which would be tokenised wrongly.
    """
    source = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{source} cannot be read: {error.strerror}") from error
    pieces: list[Piece] = []
    settings: dict[tuple[int, int], Field] = {}
    for field in fields(data, source):
        if field.number == 1:
            pieces.append(_piece(field.message(), source))
        elif field.number in (2, 3):  # trainer and normalizer settings
            settings.update({(field.number, f.number): f for f in field.message()})
    _check_kind(settings, source)
    if not pieces or pieces[0].kind is not PieceKind.UNKNOWN:
        raise CheckpointError(f"{source} does not begin with the unknown piece as id 0")
    return pieces


def _piece(message: Iterator[Field], source: str) -> Piece:
    text, score, kind = "", 0.0, PieceKind.NORMAL
    for field in message:
        if field.number == 1:
            text = field.text()
        elif field.number == 2:
            score = field.float32()
        elif field.number == 3:
            number = field.unsigned()
            if number not in PieceKind.__members__.values():
                raise CheckpointError(f"{source} holds a piece of unknown kind {number}")
            kind = PieceKind(number)
    return Piece(text, score, kind)


def _check_kind(settings: dict[tuple[int, int], Field], source: str) -> None:
    # Values are those the file states, or the schema's defaults where it is silent.
    def number(key: tuple[int, int], default: int) -> int:
        return settings[key].unsigned() if key in settings else default

    normalizer = settings[3, 1].text() if (3, 1) in settings else ""
    checks = (
        (number((2, 3), 1) == 1, "is not a unigram model"),
        (number((2, 35), 0) == 1, "has no byte fallback"),
        (normalizer == "identity", f"normalises text ({normalizer or 'unnamed'})"),
        (number((3, 3), 1) == 1, "adds no leading space"),
        (number((3, 4), 1) == 0, "removes repeated spaces"),
    )
    for passed, problem in checks:
        if not passed:
            raise CheckpointError(
                f"{source} {problem}; only byte-fallback unigram models that keep the text as it "
                "is, like the published tokenizer.model, can be read"
            )
