"""Recordings on disk and what is known of them: one JSON object per line.

Paths are relative to the manifest's folder. Rows say who speaks, under which licence, whether
training a model that others will get is allowed, and which record of consent covers the voice.
Keys that are not fields of :class:`Utterance` are ignored, so corpora may bring their own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stepaudio.errors import DataError, SafetyError
from stepaudio.hub import write_atomic

__all__ = [
    "Utterance",
    "consent_refusals",
    "read_jsonl",
    "read_manifest",
    "write_jsonl",
    "write_manifest",
]

# More problems than these are not listed one by one.
_LISTED = 5


@dataclass(frozen=True)
class Utterance:
    """One recording.

    Attributes:
        id: unique in its manifest.
        path: of the sound file.
        speaker: who speaks; empty if unknown.
        text: words spoken, with their tags if any; empty if unknown.
        lang: ISO language code; empty if unknown or if there are no words.
        labels: frame-level facts, e.g. ``phones`` as ``[index, seconds]`` pairs.
        change: what was done to the recording ``source``, ``"none"`` for an untouched one.
        source: id of the recording this one was made from, empty if none.
        set: corpus it belongs to.
        licence: under which it may be used.
        train_ok: it may train models that are given away.
        consent: id of the speaker's record of consent; empty where the licence covers the use.
        gender: as the corpus says it.
        emotion: acted or heard, as the corpus calls it.
        intensity: of the emotion, as the corpus calls it.
        ratings: by listeners, e.g. ``{"recognised_pct": 95.0}``.
        text_id: recordings of one speaker with the same one have the same words.
        seconds: duration; None if not measured.
        made: by whom it sounds as it does: ``"human"`` (a person, as recorded), ``"rule"`` (a
            person or an engine, then changed by rule) or ``"engine"`` (as an engine spoke).
        engine: that spoke, with its version; empty for a person.
    """

    id: str
    path: str
    speaker: str = ""
    text: str = ""
    lang: str = ""
    labels: dict[str, Any] | None = None
    change: str = "none"
    source: str = ""
    set: str = ""
    licence: str = ""
    train_ok: bool = True
    consent: str = ""
    gender: str = ""
    emotion: str = ""
    intensity: str = ""
    ratings: dict[str, float] | None = None
    text_id: str = ""
    seconds: float | None = None
    made: str = "human"
    engine: str = ""


def read_manifest(path: str | Path, *, training: bool = False) -> list[Utterance]:
    """Read and check a manifest.

    Args:
        path: the JSONL file.
        training: refuse rows that may not train models that are given away, by their licence or
            because the record of consent they name does not allow it.

    Returns:
        Utterances with absolute paths, in the order of the file.

    Raises:
        DataError: the file is missing, a line is not a JSON object, a field is missing or of the
            wrong type, an id stands twice, or ``training`` meets ``train_ok: false``. The message
            names the first lines that are wrong.
        SafetyError: ``training`` meets a record of consent that is missing, ended, taken back, or
            is not about training.
    """
    path = Path(path)
    base = path.parent.resolve()
    rows: list[Utterance] = []
    lines: dict[str, int] = {}
    problems: list[str] = []
    for number, row in read_jsonl(path):
        try:
            utterance = _utterance(row, base)
            if utterance.id in lines:
                raise DataError(f"id {utterance.id!r} stands in line {lines[utterance.id]} too")
            if training and not utterance.train_ok:
                raise DataError(
                    f"{utterance.id} is not licensed for training (train_ok is false); leave it "
                    "out or use it for evaluation only"
                )
        except DataError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        lines[utterance.id] = number
        rows.append(utterance)
    if problems:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise DataError("; ".join(problems[:_LISTED]) + more)
    if training:
        for refusal in consent_refusals(rows).values():
            raise refusal
    return rows


def consent_refusals(rows: Iterable[Utterance]) -> dict[str, SafetyError]:
    """Why recordings may not train although their licence allows it.

    Args:
        rows: of a manifest.

    Returns:
        By the record of consent that rows name, what is wrong with it; empty if nothing is.
    """
    names = {row.consent for row in rows if row.consent}
    if not names:
        return {}
    # Here, because nothing cryptographic is loaded where no voice is under consent.
    from stepaudio.safety.policy import training_refusals

    return training_refusals(names)


def write_manifest(
    path: str | Path, utterances: Iterable[Utterance], *, force: bool = False
) -> Path:
    """Write a manifest; paths become relative to it where they lie below its folder.

    Args:
        path: the JSONL file.
        utterances: in the order of the lines.
        force: allow replacing an existing file.

    Returns:
        ``path``.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """
    base = Path(path).parent.resolve()

    def row(utterance: Utterance) -> dict[str, Any]:
        target = Path(utterance.path).resolve()
        shown = str(target.relative_to(base)) if target.is_relative_to(base) else str(target)
        return {**asdict(utterance), "path": shown}

    return write_jsonl(path, map(row, utterances), force=force)


def read_jsonl(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a file of JSON objects, one per line; empty lines are skipped.

    Args:
        path: the file.

    Returns:
        Number of the line, from one, and the object.

    Raises:
        DataError: the file is missing or not UTF-8, or a line is not a JSON object.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give a file of JSON lines") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    rows = []
    # Not splitlines: a JSON string may hold a line separator of Unicode as it is.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: must be an object, not a {type(row).__name__}")
        rows.append((number, row))
    return rows


def write_jsonl(
    path: str | Path, rows: Iterable[Mapping[str, Any]], *, force: bool = False
) -> Path:
    """Write JSON objects, one per line; the file appears complete or not at all.

    Args:
        path: the file.
        rows: plain values.
        force: allow replacing an existing file.

    Returns:
        ``path``.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    return write_atomic(path, write, force=force)


_FIELDS = {field.name: str(field.type) for field in fields(Utterance)}


def _utterance(row: Mapping[str, Any], base: Path) -> Utterance:
    for name in ("id", "path"):
        if not row.get(name):
            raise DataError(f"{name!r} is missing or empty")
    values = {}
    for name, kind in _FIELDS.items():
        # A corpus that does not know something writes null.
        if row.get(name) is not None:
            values[name] = _checked(name, kind, row[name])
    # Not Path.resolve: it asks the disk about every folder above every recording.
    return Utterance(**{**values, "path": os.path.normpath(base / values["path"])})


def _checked(name: str, kind: str, value: Any) -> Any:
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind.startswith("float") and _is_number(value):
        if value < 0:
            raise DataError(f"{name!r} must not be negative, got {value}")
        return float(value)
    if kind.startswith("dict[str, float]") and isinstance(value, dict):
        if all(_is_number(number) for number in value.values()):
            return {key: float(number) for key, number in value.items()}
        raise DataError(f"{name!r} must hold numbers, got {value}")
    if kind.startswith("dict[str, Any]") and isinstance(value, dict):
        return value
    raise DataError(f"{name!r} must be of type {kind}, got {value!r}")


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)
