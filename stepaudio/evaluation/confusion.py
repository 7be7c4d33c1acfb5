"""How far a judge can be trusted: what it says of recordings whose label is known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from typing_extensions import Self

from stepaudio.errors import CheckpointError
from stepaudio.hub import config_from_dict, read_json, write_atomic

__all__ = ["CONFUSION_FILE", "Confusion"]

#: In the folder of a judge's model.
CONFUSION_FILE = "confusion.json"


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix with its story.

    Attributes:
        labels: of rows and columns.
        counts: one row per true label, one column per label heard.
        speakers: whose recordings were judged, none of which the judge had been trained on.
        protocol: how that was made sure of, in words.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    speakers: tuple[str, ...] = ()
    protocol: str = ""

    def __post_init__(self) -> None:
        size = len(self.labels)
        if len(self.counts) != size or any(len(row) != size for row in self.counts):
            raise ValueError(f"{size} labels need as many rows and columns of counts")

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        pairs: Iterable[tuple[str, str]],
        *,
        speakers: Iterable[str] = (),
        protocol: str = "",
    ) -> Self:
        """Count.

        Args:
            labels: of rows and columns.
            pairs: true label and label heard, one per recording.
            speakers: whose recordings they are.
            protocol: how the recordings were kept from training.

        Returns:
            The matrix.

        Raises:
            ValueError: a label that is not in the list.
        """
        index = {label: number for number, label in enumerate(labels)}
        counts = [[0] * len(index) for _ in index]
        for true, heard in pairs:
            if true not in index or heard not in index:
                raise ValueError(f"{true!r} heard as {heard!r} is not in {tuple(labels)}")
            counts[index[true]][index[heard]] += 1
        rows = tuple(tuple(row) for row in counts)
        return cls(tuple(labels), rows, tuple(sorted(set(speakers))), protocol)

    @property
    def total(self) -> int:
        """Recordings judged."""
        return sum(map(sum, self.counts))

    @property
    def accuracy(self) -> float | None:
        """Share of recordings heard right; None without recordings."""
        right = sum(row[number] for number, row in enumerate(self.counts))
        return right / self.total if self.total else None

    @property
    def recalls(self) -> dict[str, float]:
        """Share heard right of each label that occurs."""
        return {
            label: row[number] / sum(row)
            for number, (label, row) in enumerate(zip(self.labels, self.counts, strict=True))
            if sum(row)
        }

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the recalls, which frequent labels cannot lift; None without recordings."""
        recalls = self.recalls
        return sum(recalls.values()) / len(recalls) if recalls else None

    def summary(self) -> str:
        """One line for beside a number."""
        if self.accuracy is None or self.balanced_accuracy is None:
            return "never measured"
        return (
            f"{self.accuracy:.1%} right ({self.balanced_accuracy:.1%} balanced) of {self.total} "
            f"recordings of {len(self.speakers)} unseen speakers"
        )

    def markdown(self) -> str:
        """The matrix as a Markdown table, shares of each row in percent."""
        lines = ["| is \\ heard | " + " | ".join(self.labels) + " | of |"]
        lines.append("|---" * (len(self.labels) + 2) + "|")
        for label, row in zip(self.labels, self.counts, strict=True):
            shares = " | ".join(f"{100 * n / max(1, sum(row)):.0f}" for n in row)
            lines.append(f"| {label} | {shares} | {sum(row)} |")
        return "\n".join(lines) + "\n"

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write ``confusion.json``; the rates stand in it for readers.

        Args:
            folder: of the model.
            force: allow replacing the file.

        Returns:
            The file.

        Raises:
            OutputExistsError: the file exists and ``force`` is False.
        """
        rates = {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}
        text = json.dumps({**asdict(self), **rates, "recalls": self.recalls}, indent=2) + "\n"
        path = Path(folder) / CONFUSION_FILE
        return write_atomic(path, lambda p: p.write_text(text, encoding="utf-8"), force=force)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Args:
            folder: of the model.

        Returns:
            The matrix; rates are counted again.

        Raises:
            CheckpointError: missing or damaged.
        """
        path = Path(folder) / CONFUSION_FILE
        values = read_json(path)
        for rate in ("accuracy", "balanced_accuracy", "recalls"):
            values.pop(rate, None)
        matrix = config_from_dict(cls, values, path)
        if not all(isinstance(n, int) and n >= 0 for row in matrix.counts for n in row):
            raise CheckpointError(f"{path}: counts must be whole numbers")
        return matrix
