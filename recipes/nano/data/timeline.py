"""Which moment of one recording is which moment of another that says the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.nano.data.symbols import SILENCE

__all__ = ["Timeline", "even", "moved"]

Times = npt.NDArray[np.float64]

#: Seconds by which one side of a cut is told from the other, and a run too short to be one.
INSTANT, NOTHING = 1e-4, 1e-3


@dataclass(frozen=True)
class Timeline:
    """Moments of a recording and of the one it was made from, both rising, in seconds.

    Attributes:
        row: moments of the recording.
        source: the same moments of its source.
    """

    row: Times
    source: Times

    @classmethod
    def between(cls, source: Mapping[str, Any], row: Mapping[str, Any]) -> Timeline | None:
        """From two rows of a manifest.

        Args:
            source: what the recording was made from.
            row: the recording.

        Returns:
            From the ``times`` in the row's labels, ``[source, row]`` pairs; else from the phones of
            both, if they are the same ones. None if nothing tells.
        """
        labels, before = row.get("labels") or {}, source.get("labels") or {}
        if "times" in labels:
            pairs = np.asarray(labels["times"], dtype=np.float64)
            return cls(pairs[:, 1], pairs[:, 0])
        edges, phones = _edges(labels.get("phones", ()))
        edges_before, phones_before = _edges(before.get("phones", ()))
        if not phones or phones != phones_before:
            return None
        return cls(edges, edges_before)

    def to_source(self, seconds: npt.ArrayLike) -> Times:
        """Moments of the source, from moments of the recording."""
        return np.interp(np.asarray(seconds, dtype=np.float64), self.row, self.source)

    def to_row(self, seconds: npt.ArrayLike) -> Times:
        """Moments of the recording, from moments of the source."""
        return np.interp(np.asarray(seconds, dtype=np.float64), self.source, self.row)

    def reversed(self) -> Timeline:
        """The same with both sides exchanged."""
        return Timeline(self.source, self.row)


def even(seconds: float, rate: float = 1.0) -> list[list[float]]:
    """``times`` of a recording that runs at a constant rate of a source of so many seconds."""
    return [[0.0, 0.0], [round(seconds, 4), round(seconds / rate, 4)]]


def moved(
    phones: Sequence[tuple[int, float]], times: Sequence[Sequence[float]]
) -> list[tuple[int, float]]:
    """Runs of phones of a recording in which stretches were taken out or silence was put in.

    Args:
        phones: runs of ``(phone, seconds)`` of the source.
        times: ``[source, row]`` moments; two of the same source moment stand for silence put in.

    Returns:
        Runs that cover the recording; phones that were cut out are not among them.
    """
    source, row = np.asarray(times, dtype=np.float64).T
    edges = np.cumsum([0.0, *(seconds for _, seconds in phones)])
    edges = np.minimum(edges, source[-1])
    out: list[tuple[int, float]] = []
    at = 0.0
    for (phone, _), begin, end in zip(phones, edges[:-1], edges[1:], strict=True):
        # Silence that was put in at an edge belongs to neither side.
        first, last = np.interp([begin + INSTANT, end - INSTANT], source, row)
        if first - at > NOTHING:
            out.append((SILENCE, round(first - at, 4)))
            at = first
        if last - at > NOTHING:
            out.append((int(phone), round(last - at, 4)))
            at = last
    if row[-1] - at > NOTHING:
        out.append((SILENCE, round(row[-1] - at, 4)))
    return out


def _edges(phones: Sequence[Sequence[float]]) -> tuple[Times, list[int]]:
    """Beginning, both edges of every phone that is spoken, and end; and those phones."""
    edges, spoken, time = [0.0], [], 0.0
    for phone, seconds in phones:
        if phone > SILENCE:
            edges += [time, time + seconds]
            spoken.append(int(phone))
        time += seconds
    return np.asarray([*edges, time]), spoken
