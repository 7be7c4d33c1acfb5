"""Recordings of any origin: a manifest or a folder, to be measured or to be edited.

Edits of other systems' speech (paper, generalization tables) start from such recordings: they
take the place of iteration 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepaudio.edits import EDIT_KINDS
from stepaudio.errors import EditError, EvaluationError
from stepaudio.evaluation.benchmark_data import Row, read_lines, unique_ids
from stepaudio.evaluation.edit_benchmark import Item, Store

__all__ = ["FileStore", "Recording", "read_recordings", "rows_of_recordings"]

_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"))
# The step of a recording that nobody has made.
_RECORDING = "recording"
_OPTIONAL = ("id", "text", "lang", "speaker", "task", "label", "source", "set", "gender", "accent")


@dataclass(frozen=True)
class Recording:
    """One recording of a manifest.

    Attributes:
        id: as given, else the path as the manifest has it.
        path: of the sound file.
        origin: file and line, for messages.
        text: the words, empty if unknown; with a tag where a sound shall be inserted.
        lang: of the words.
        speaker: name of the voice.
        task: kind of the change asked for, or already made; empty if none.
        label: of that change.
        source: the recording before the change, or another one of the voice.
        set: corpus or system it comes from; reports have a table for each.
        joins: seconds at which two pieces were joined, to be measured.
        gender: of the speaker, such as ``"f"``; empty if not told.
        accent: of the speaker, such as ``"zh"``; empty if none is noted.
    """

    id: str
    path: Path
    origin: str
    text: str = ""
    lang: str = "en"
    speaker: str = ""
    task: str = ""
    label: str = ""
    source: Path | None = None
    set: str = ""
    joins: tuple[float, ...] = ()
    gender: str = ""
    accent: str = ""


def read_recordings(place: str | Path) -> list[Recording]:
    """Read a manifest, or all sound files of a folder.

    A manifest has one JSON object per line: ``path``, relative to the manifest, and optionally
    ``id``, ``text``, ``lang``, ``speaker``, ``gender``, ``accent``, ``task``, ``label``, ``set``,
    ``source`` (a path too) and ``joins`` (a list of seconds); other keys are passed over. In a
    folder, the words of ``a.wav`` are those of ``a.txt`` if it is there.

    Args:
        place: the file or folder.

    Returns:
        The recordings, in the order of the file or of their paths.

    Raises:
        EvaluationError: nothing is found, or a line is not usable; names file and line.
    """
    place = Path(place)
    if place.is_dir():
        found = [_from_file(file, place) for file in sorted(place.rglob("*")) if _is_sound(file)]
    elif place.is_file():
        found = [_from_line(values, place.parent, origin) for origin, values in read_lines(place)]
    else:
        raise EvaluationError(f"{place} does not exist; give a manifest (.jsonl) or a folder")
    if not found:
        raise EvaluationError(f"{place} names no recordings")
    return found


def rows_of_recordings(
    recordings: Sequence[Recording], edits: Sequence[tuple[str, str]] = ()
) -> list[Row]:
    """What to do with recordings that take the place of iteration 0.

    Args:
        recordings: from :func:`read_recordings`.
        edits: task and label to apply to each recording, e.g. ``("emotion", "happy")``; empty
            takes what the manifest asks for.

    Returns:
        A row for every recording and edit.

    Raises:
        EvaluationError: nothing is asked for, a label does not exist, or the words are unknown.
    """
    rows = []
    for one in recordings:
        if not edits and not one.task:
            raise EvaluationError(
                f"{one.origin}: no 'task' and 'label' say what to do; add them, or name the edits"
            )
        for task, label in edits or ((one.task, one.label),):
            rows.append(_row(one, task, label))
    return unique_ids(rows)


class FileStore(Store):
    """Recordings where they are, to be measured; what is said of them is kept in a folder.

    Args:
        folder: of the results.
        recordings: from :func:`read_recordings`.
    """

    def __init__(self, folder: str | Path, recordings: Sequence[Recording]) -> None:
        super().__init__(folder)
        #: What is asked about each recording: nothing has to be made any more.
        self.rows = unique_ids(
            [
                Row(
                    id="",
                    published_id=one.id,
                    task=one.task,
                    label=one.label,
                    speaker=one.speaker,
                    lang=one.lang,
                    text=one.text,
                    origin=one.origin,
                    recording=one.source,
                    set=one.set,
                )
                for one in recordings
            ]
        )
        self._paths = {row.id: one.path for row, one in zip(self.rows, recordings, strict=True)}
        #: Seconds of the joins by id of the sample, of recordings that have any.
        self.joins = {
            f"{row.id}/{_RECORDING}": one.joins
            for row, one in zip(self.rows, recordings, strict=True)
            if one.joins
        }

    def wav(self, row: str, step: str) -> Path:
        """The recording, whatever the step."""
        return self._paths[row]

    def item(self, row: Row) -> Item:
        """The recording as something that was made, without a seed."""
        return Item(row.id, _RECORDING, str(self._paths[row.id]), seed=0)


def _row(one: Recording, task: str, label: str) -> Row:
    kind = next((row for name, row in EDIT_KINDS.items() if name == task), None)
    if kind is None:
        raise EvaluationError(
            f"{one.origin}: unknown task {task!r}; choose from {', '.join(EDIT_KINDS)}"
        )
    if kind.needs_text and not one.text.strip():
        raise EvaluationError(
            f"{one.origin}: {task} needs the words of the recording; add 'text' or leave it out"
        )
    row = Row(
        id="",
        published_id=one.id,
        task=task,
        label=label,
        speaker=one.speaker,
        lang=one.lang,
        text=one.text,
        origin=one.origin,
        recording=one.path,
        set=one.set,
    )
    try:
        _ = row.edit
    except EditError as error:
        raise EvaluationError(f"{one.origin}: {error}") from error
    return row


def _is_sound(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and file.is_file()


def _from_file(file: Path, folder: Path) -> Recording:
    words = file.with_suffix(".txt")
    text = " ".join(words.read_text(encoding="utf-8").split()) if words.is_file() else ""
    return Recording(file.relative_to(folder).as_posix(), file, str(file), text)


def _from_line(values: Mapping[str, Any], folder: Path, origin: str) -> Recording:
    path = values.get("path")
    if not isinstance(path, str) or not path:
        raise EvaluationError(f"{origin}: 'path' must name a recording, got {path!r}")
    # An explicit null means the same as leaving a key out.
    given = {key: values[key] for key in _OPTIONAL if values.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, str):
            raise EvaluationError(f"{origin}: {key!r} must be text, got {value!r}")
    source = given.pop("source", None)
    for name in (path, source):
        if name is not None and not (folder / name).is_file():
            raise EvaluationError(f"{origin}: there is no recording {folder / name}")
    joins = values.get("joins") or []
    if not isinstance(joins, list) or not all(type(one) in (int, float) for one in joins):
        raise EvaluationError(f"{origin}: 'joins' must be a list of seconds, got {joins!r}")
    return Recording(
        given.pop("id", path),
        folder / path,
        origin,
        source=None if source is None else folder / source,
        joins=tuple(float(one) for one in joins),
        **given,
    )
