"""Prompts to learn from, what rewards must know of them, and their order: hardest first.

One JSON object per line: ``{"prompt": [ids], "text": "...", "audio": "a.wav", ...}`` with the
fields of :class:`PromptRow`; all but ``prompt`` are optional, keys that are not fields are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stepaudio.errors import DataError
from stepaudio.rl.guards import source_ids
from stepaudio.training.rows import Rows, token_ids
from stepaudio.types import LMSpec

__all__ = ["PromptRow", "check_segments", "hardest_first", "prompt_rows"]

_TEXTS = ("text", "lang", "audio", "speaker", "task", "label")


@dataclass(frozen=True)
class PromptRow:
    """One prompt.

    Attributes:
        ids: ``[T]`` int64 of the whole prompt.
        text: the words the answer should say; empty if unknown.
        lang: their language.
        audio: path of the recording whose voice speaks the answer; empty if there is none.
        speaker: name of that voice.
        task: kind of the edit.
        label: the label asked for.
        segments: preserved stretches of the recording in the prompt, for local edits: first unit
            of five tokens and the one after the last, in order and apart.
        length: wanted length relative to the recording in the prompt.
        difficulty: how badly the model to start from does, higher is harder; None if not measured.

    Raises:
        ValueError: an empty prompt, a wanted length of 0 or less, a difficulty that is not finite,
            or segments out of order.
    """

    ids: Tensor
    text: str = ""
    lang: str = "en"
    audio: str = ""
    speaker: str = ""
    task: str = ""
    label: str = ""
    segments: tuple[tuple[int, int], ...] = ()
    length: float = 1.0
    difficulty: float | None = None

    @property
    def tokens(self) -> int:
        """Ids of the prompt."""
        return len(self.ids)

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise ValueError("a prompt is empty")
        if not (math.isfinite(self.length) and self.length > 0):
            raise ValueError(f"length is {self.length} but must be a number above 0")
        if self.difficulty is not None and not math.isfinite(self.difficulty):
            raise ValueError(f"difficulty is {self.difficulty} but must be a finite number")
        bounds = [bound for segment in self.segments for bound in segment]
        if bounds != sorted(bounds) or (bounds and bounds[0] < 0):
            raise ValueError(f"segments {self.segments} must be in order and not overlap")


def prompt_rows(path: str | Path, spec: LMSpec) -> Rows[PromptRow]:
    """Open prompts; paths of recordings are relative to the file's folder.

    Args:
        path: a JSONL file.
        spec: of the model that shall answer them.

    Returns:
        The rows.

    Raises:
        DataError: a row is wrong; the message names the line.
    """
    folder = Path(path).parent.resolve()

    def parse(row: Mapping[str, Any]) -> PromptRow:
        ids = token_ids(row, "prompt", spec)
        if len(ids) + spec.tokens.unit_length > spec.context_length:
            raise ValueError(f"{len(ids)} ids leave no room in a context of {spec.context_length}")
        texts = {name: row[name] for name in _TEXTS if name in row}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise ValueError(f"{name!r} must be a text, not {value!r}")
        if texts.get("audio"):
            texts["audio"] = str(folder / texts["audio"])
        length, difficulty = row.get("length", 1.0), row.get("difficulty")
        for name, value in (("length", length), ("difficulty", difficulty)):
            if value is not None and type(value) not in (int, float):
                raise ValueError(f"{name!r} must be a number, not {value!r}")
        prompt = PromptRow(
            ids, **texts, segments=_segments(row), length=length, difficulty=difficulty
        )
        check_segments(prompt.segments, len(source_ids(ids, spec)) // spec.tokens.unit_length)
        return prompt

    return Rows(path, parse)


def check_segments(segments: Sequence[tuple[int, int]], units: int) -> None:
    """Refuse stretches that reach beyond their recording.

    Args:
        segments: first unit and the one after the last, of each stretch.
        units: of the recording.

    Raises:
        DataError: one of them ends later than the recording.
    """
    end = max((stop for _, stop in segments), default=0)
    if end > units:
        raise DataError(
            f"segments {list(segments)} reach to unit {end}, but the recording in the prompt has "
            f"only {units}; a unit is five tokens"
        )


def _segments(row: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    value = row.get("segments", [])
    good = isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 2 and all(type(bound) is int for bound in one)
        for one in value
    )
    if not good:
        raise ValueError(f"'segments' must be a list of [first, stop] units, not {value!r}")
    return tuple((first, stop) for first, stop in value)


def hardest_first(difficulties: Sequence[float], *, share: float = 1.0) -> list[int]:
    """Which prompts to use, in which order (paper section 3.2.3).

    The paper keeps the prompts that are hardest for the SFT model; how many is not said.

    Args:
        difficulties: one per prompt, higher is harder.
        share: of the prompts to keep, above 0; at least one is kept.

    Returns:
        Numbers of the prompts, hardest first; equal ones in the order given.

    Raises:
        ValueError: a share outside 0 to 1, or difficulties that are not finite.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share} but must be above 0 and at most 1")
    if not all(math.isfinite(one) for one in difficulties):
        raise ValueError("difficulties must be finite numbers")
    order = sorted(range(len(difficulties)), key=lambda i: -difficulties[i])
    return order[: max(1, math.ceil(share * len(order)))]
