"""Rows of an edit benchmark: Step-Audio-Edit-Benchmark files read exactly as published.

Every row names a voice, words and a change. What is odd in the published files is accepted here
and nowhere else: ids that repeat (``generous-167-idx`` stands on fifty rows), the task spelled
``paralingustic``, rows that say the same words in the same voice twice. Every row gets an id of its
own that depends on nothing but the row and its place among equal ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepaudio.edits import Edit
from stepaudio.errors import EditError, EvaluationError

__all__ = ["TASKS", "Row", "read_benchmark", "read_lines", "spoken_words", "unique_ids"]

#: What the benchmark asks for, in the order of the paper.
TASKS = ("emotion", "style", "paralinguistic")

_FILES = {
    "emotion": ("emotion.jsonl",),
    "style": ("style.jsonl",),
    "paralinguistic": ("paralingustic.jsonl", "paralinguistic.jsonl"),
}
_TASK_NAMES = {**{task: task for task in TASKS}, "paralingustic": "paralinguistic"}
_FIELDS = ("id", "task", "task_sub", "speaker", "lang", "gen_text", "prompt_audio", "prompt_text")
_TAG = re.compile(r"\[[^\[\]]*\]")
_COMMAS, _STOPS = ",，、", ".。!！?？;；:：…"
# From here on scripts are written without spaces between words.
_CJK = "\u2e80"


@dataclass(frozen=True)
class Row:
    """One thing to do and to judge.

    Attributes:
        id: unique, the same in every run, and fit for a file name.
        published_id: as the file has it; may repeat.
        task: kind of the change asked for, one of :data:`stepaudio.edits.EDIT_KINDS`.
        label: what is asked for, e.g. ``"happy"`` or ``"[Laughter]"``.
        speaker: name of the voice.
        lang: ``"en"``, ``"zh"``, ...
        text: the words, with the tag of the sound to insert if the task is paralinguistic.
        origin: file and line, for messages.
        prompt_audio: a recording of the voice in which iteration 0 speaks the words.
        prompt_text: the words of that recording.
        recording: iteration 0 itself, where it exists already.
        set: corpus or system it comes from; empty if not told.
    """

    id: str
    published_id: str
    task: str
    label: str
    speaker: str
    lang: str
    text: str
    origin: str
    prompt_audio: Path | None = None
    prompt_text: str = ""
    recording: Path | None = None
    set: str = ""

    @property
    def words(self) -> str:
        """What iteration 0 says: the text without tags."""
        return spoken_words(self.text)

    @property
    def edit(self) -> Edit:
        """The change as the pipeline takes it."""
        if self.task == "paralinguistic":
            return Edit.paralinguistic(self.text)
        if self.task == "speed":
            return Edit.speed(self.label)
        return Edit(self.task, self.label)  # type: ignore[arg-type]


def spoken_words(text: str) -> str:
    """Take the tags of sounds out of a text, and the spaces and commas they leave behind.

    Args:
        text: e.g. ``"Well [Sigh], why not?"``.

    Returns:
        e.g. ``"Well, why not?"``.
    """
    first, *others = _TAG.split(text)
    for part in others:
        first = _join(first.rstrip(), part.lstrip())
    return first.strip()


def _join(left: str, right: str) -> str:
    if not left:
        return right.lstrip(_COMMAS + " ")
    if not right:
        return left
    if left[-1] in _COMMAS and right[0] in _COMMAS + _STOPS:
        left = left[:-1].rstrip()
    elif left[-1] in _STOPS and right[0] in _COMMAS + _STOPS:
        right = right[1:].lstrip()
    if not left or not right:
        return left + right
    close = right[0] in _COMMAS + _STOPS or left[-1] >= _CJK or right[0] >= _CJK
    return left + ("" if close else " ") + right


def read_benchmark(folder: str | Path, tasks: Sequence[str] = ()) -> list[Row]:
    """Read the files of a benchmark folder.

    Args:
        folder: holds ``emotion.jsonl``, ``style.jsonl`` and ``paralingustic.jsonl``, or some of
            them, and the recordings they name.
        tasks: those wanted; empty takes every file that is there.

    Returns:
        The rows in the order of the files.

    Raises:
        EvaluationError: a file is missing, or a row is not usable; names file and line.
    """
    folder = Path(folder)
    for task in tasks:
        if task not in TASKS:
            raise EvaluationError(f"unknown task {task!r}; choose from {', '.join(TASKS)}")
    rows: list[Row] = []
    for task in tasks or TASKS:
        file = next((folder / n for n in _FILES[task] if (folder / n).is_file()), None)
        if file is not None:
            rows += [_row(values, folder, task, place) for place, values in read_lines(file)]
        elif tasks:
            raise EvaluationError(f"{folder} holds no {' or '.join(_FILES[task])}")
    if not rows:
        names = ", ".join(names[0] for names in _FILES.values())
        raise EvaluationError(f"{folder} holds no rows; it must contain {names}, or some of them")
    return unique_ids(rows)


def read_lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a JSON-lines file; empty lines are passed over.

    Args:
        file: in UTF-8.

    Yields:
        ``"name.jsonl:12"`` and the object of that line.

    Raises:
        EvaluationError: a line is not a JSON object, or the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{file}:{number}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise EvaluationError(f"{file}:{number}: expected an object, got {line[:40]!r}")
        yield f"{file}:{number}", value


def _row(values: Mapping[str, Any], folder: Path, task: str, place: str) -> Row:
    for field in _FIELDS:
        if not isinstance(values.get(field), str) or not values[field].strip():
            raise EvaluationError(f"{place}: {field!r} must be text, got {values.get(field)!r}")
    if _TASK_NAMES.get(values["task"]) != task:
        raise EvaluationError(f"{place}: the task is {values['task']!r} in a file of {task} rows")
    label, text, lang = values["task_sub"], values["gen_text"], values["lang"]
    if not re.fullmatch("[a-z]{2,3}", lang):
        raise EvaluationError(f"{place}: 'lang' must be a code such as 'en', got {lang!r}")
    if task == "paralinguistic" and _TAG.findall(text) != [label]:
        raise EvaluationError(
            f"{place}: the text must hold {label} once and no other tag, got {text!r}"
        )
    audio = folder / values["prompt_audio"]
    if not audio.is_file():
        raise EvaluationError(f"{place}: there is no recording {audio}")
    row = Row(
        id="",
        published_id=values["id"],
        task=task,
        label=label,
        speaker=values["speaker"],
        lang=lang,
        text=text,
        origin=place,
        prompt_audio=audio,
        prompt_text=values["prompt_text"],
    )
    try:
        _ = row.edit
    except EditError as error:
        raise EvaluationError(f"{place}: {error}") from error
    return row


def unique_ids(rows: Sequence[Row]) -> list[Row]:
    """Give every row an id of its own, made of what it asks for.

    Args:
        rows: in file order, which numbers rows that ask for exactly the same.

    Returns:
        The same rows with ids such as ``"style-generous-167-1f0c29ab"``.
    """
    seen: Counter[str] = Counter()
    named = []
    for row in rows:
        # Published ids repeat, but that of a recording says which one it is.
        voice = "" if row.prompt_audio is not None else row.published_id
        content = "\n".join((row.task, row.label, row.speaker, row.lang, voice, row.text))
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        parts = (row.task, row.label, row.speaker, digest)
        name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in parts if part)
        seen[name] += 1
        named.append(replace(row, id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return named
