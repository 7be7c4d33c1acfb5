"""Reading hand-encoded sentencepiece files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from stepaudio.errors import CheckpointError
from stepaudio.tokenizers.sentencepiece import Piece, PieceKind, read_sentencepiece

TRAINER = b"\x98\x02\x01"  # byte_fallback (35) = 1
NORMALIZER = b"\x0a\x08identity" + b"\x20\x00"  # name, remove_extra_whitespaces (4) = 0


def _delimited(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def _piece(text: str, score: float, kind: int | None) -> bytes:
    body = _delimited(1, text.encode()) + b"\x15" + struct.pack("<f", score)
    return _delimited(1, body if kind is None else body + bytes([0x18, kind]))


def _model(trainer: bytes = TRAINER, normalizer: bytes = NORMALIZER) -> bytes:
    pieces = _piece("<unk>", 0.0, 2) + _piece("<s>", 0.0, 3) + _piece("▁a", -1.5, None)
    return pieces + _delimited(2, trainer) + _delimited(3, normalizer)


def test_pieces(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(_model())
    assert read_sentencepiece(path) == [
        Piece("<unk>", 0.0, PieceKind.UNKNOWN),
        Piece("<s>", 0.0, PieceKind.CONTROL),
        Piece("▁a", -1.5, PieceKind.NORMAL),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_model(trainer=TRAINER + b"\x18\x02"), "not a unigram"),
        (_model(trainer=b""), "no byte fallback"),
        (_model(normalizer=b"\x0a\x04nmfk\x20\x00"), "normalises text"),
        (_model(normalizer=NORMALIZER + b"\x18\x00"), "no leading space"),
        (_model(normalizer=b"\x0a\x08identity"), "repeated spaces"),
        (_model()[:-3], "truncated"),
        (_piece("a", 0.0, 1) + _model(), "unknown piece"),
        (_piece("a", 0.0, 9) + _model(), "unknown kind 9"),
        (b"this is no tokenizer at all", "tokenizer.model"),
        (b"", "tokenizer.model"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=reason):
        read_sentencepiece(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        read_sentencepiece(tmp_path / "nowhere")
