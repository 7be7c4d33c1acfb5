"""What became of every tensor of a converted checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stepaudio.errors import CheckpointError
from stepaudio.hub import write_atomic

__all__ = ["REPORT_FILE", "ConversionReport", "FileCoverage"]

REPORT_FILE = "conversion.json"


@dataclass
class FileCoverage:
    """The tensors of one source file.

    Attributes:
        file: path of the source, relative to the folder that was converted.
        used: source name to the place it went to, e.g. ``flow: encoder_proj.weight``.
        unused: source name to the reason it was left out.
    """

    file: str
    used: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)

    def close(self, names: Iterable[str]) -> FileCoverage:
        """Check that every tensor of the file is accounted for.

        Args:
            names: all tensors of the file.

        Returns:
            Itself.

        Raises:
            CheckpointError: a tensor was neither used nor left out for a reason.
        """
        unknown = sorted(set(names) - set(self.used) - set(self.unused))
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise CheckpointError(
                f"{self.file} holds tensors of no known use: {', '.join(unknown[:5])}{more}; "
                "is it a newer version of the model?"
            )
        return self


@dataclass(frozen=True)
class ConversionReport:
    """Result of a conversion.

    Attributes:
        folder: the new pipeline folder.
        files: one entry per source file that holds tensors.
        notes: what was decided on the way, e.g. which vocoder was found.
    """

    folder: Path
    files: tuple[FileCoverage, ...]
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        """Number of source tensors used."""
        return sum(len(file.used) for file in self.files)

    @property
    def unused(self) -> int:
        """Number of source tensors left out."""
        return sum(len(file.unused) for file in self.files)

    def save(self, folder: Path) -> Path:
        """Write ``conversion.json``.

        Args:
            folder: where; it must not hold one yet.

        Returns:
            The file.

        Raises:
            OutputExistsError: it exists.
        """
        value = {
            "format": 1,
            "used": self.used,
            "unused": self.unused,
            "notes": self.notes,
            "files": [asdict(file) for file in self.files],
        }
        text = json.dumps(value, indent=2) + "\n"
        return write_atomic(
            folder / REPORT_FILE, lambda path: path.write_text(text, encoding="utf-8")
        )
