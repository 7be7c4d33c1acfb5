"""What every measurement reads and says: samples in, named numbers out, and who measured.

A metric that needs a package or a model that is not there says so with
:class:`~stepaudio.errors.MissingExtraError` when it is built; reports then list it as missing. A
number that cannot be had for one sample (no voiced frame, no text) is ``None``, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stepaudio.audio import Audio

__all__ = ["Judge", "Metric", "ModelId", "Sample", "Verdict"]


@dataclass(frozen=True)
class ModelId:
    """Which model measured, for the report.

    Attributes:
        name: package and model, e.g. ``"faster-whisper/tiny.en"``.
        version: of the package, plus a digest of the weights where that says more.
    """

    name: str
    version: str


@dataclass(frozen=True)
class Sample:
    """One recording to be measured.

    Attributes:
        id: unique within a report.
        audio: the recording.
        text: the words it should say; empty if unknown.
        lang: ``"en"``, ``"zh"``, ...
        source: the recording before the edit, or the voice prompt; None if there is none.
        speaker: name of the voice; samples of one speaker are resampled together.
        task: kind of the change asked for (``"emotion"``, ``"style"``, ...); empty if none was.
        label: the label asked for, e.g. ``"happy"``.
    """

    id: str
    audio: Audio
    text: str = ""
    lang: str = "en"
    source: Audio | None = None
    speaker: str = ""
    task: str = ""
    label: str = ""


@runtime_checkable
class Metric(Protocol):
    """Something that turns recordings into numbers."""

    @property
    def name(self) -> str:
        """Key of the report, e.g. ``"words"``."""

    @property
    def model(self) -> ModelId:
        """What measured."""

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Named numbers of every sample, in order; None where one cannot be had."""


@dataclass(frozen=True)
class Verdict:
    """What a judge heard.

    Attributes:
        answer: a label of the judge's list, or what it said instead.
        scores: per label, if the judge gives them.
        raw: the judge's own words, kept for the report; empty for a classifier.
    """

    answer: str
    scores: Mapping[str, float] | None = None
    raw: str = ""


@runtime_checkable
class Judge(Protocol):
    """Something that says which of a list of labels it hears.

    For emotion and style these are names; for how well a sound event is there, ``"1"`` to ``"3"``.
    """

    @property
    def model(self) -> ModelId:
        """What judged."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Answers that count; any other is wrong."""

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """A verdict per sample, in order."""
