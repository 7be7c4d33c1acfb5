"""Rates, means and differences of one section of a model card, each with its interval.

A recording that could not be made is never left out to the figure's advantage: all its words are
wrong, nothing asked for was heard in it, and a share counts it as failed. So it is where none could
be made: a figure is unknown only without the instrument that measures it, which is told by name and
not from what it said. Of a lost recording's voice and sound nothing can be told; how many there are
stands beside every section.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.bootstrap import (
    Interval,
    mean_interval,
    pooled_interval,
    speaker_mean_interval,
)
from stepaudio.evaluation.edit_benchmark import Item
from stepaudio.evaluation.gains import gain
from stepaudio.evaluation.normalize import characters as _characters
from stepaudio.evaluation.normalize import words as _words
from stepaudio.evaluation.scoring import Scored, asked_for, speaker_means

__all__ = ["Measured", "Of", "Test"]

#: A number of a row, None where it cannot be had.
Of: TypeAlias = Callable[[Row], "float | None"]
#: Whether a row passes, None where it cannot be told.
Test: TypeAlias = Callable[[Row], "bool | None"]


class Measured:
    """The items of one section, made and measured.

    Args:
        rows: all of the section.
        items: those made, or tried.
        scored: the same, measured.
        instruments: that measured the section, by
            :attr:`stepaudio.evaluation.measuring.Instruments.names`.
        seed: of the resampling.
        second: the same items as other judges heard them, by the names of these judges.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        items: Sequence[Item],
        scored: Sequence[Scored],
        instruments: Collection[str],
        seed: int,
        second: Mapping[str, Sequence[Scored]] | None = None,
    ) -> None:
        self.rows = list(rows)
        self.items = list(items)
        self.scored = list(scored)
        self.instruments = frozenset(instruments)
        self.seed = seed
        self.second = dict(second or {})
        self._items = {(item.row, item.step): item for item in items}
        self._scored = {(one.row, one.step): one for one in scored}
        self._speakers = [row.speaker or row.id for row in rows]

    @property
    def labels(self) -> list[str]:
        """What is asked for, in the order of the rows."""
        return list(dict.fromkeys(row.label for row in self.rows if row.label))

    def with_label(self, label: str) -> Measured:
        """The rows that ask for one label.

        Args:
            label: one of :attr:`labels`.

        Returns:
            Their items.
        """
        return self.where(lambda row: row.label == label)

    def where(self, wanted: Callable[[Row], bool]) -> Measured:
        """Some of the rows.

        Args:
            wanted: tells which.

        Returns:
            Their items.
        """
        rows = [row for row in self.rows if wanted(row)]
        ids = {row.id for row in rows}
        items = [item for item in self.items if item.row in ids]
        scored = [one for one in self.scored if one.row in ids]
        second = {
            name: [one for one in heard if one.row in ids] for name, heard in self.second.items()
        }
        return Measured(rows, items, scored, self.instruments, self.seed, second)

    def judged_by(self, name: str) -> Measured:
        """The same as another judge heard it.

        Args:
            name: of that judge, which takes the place of the task.

        Returns:
            The same items; nothing is heard in them if that judge was not asked.
        """
        rows = [replace(row, task=name) for row in self.rows]
        return Measured(rows, self.items, self.second.get(name, ()), self.instruments, self.seed)

    def item(self, row: Row, step: str) -> Item | None:
        """What was made of a row; None if it was not tried."""
        return self._items.get((row.id, step))

    def value(self, row: Row, step: str, name: str) -> float | None:
        """A number of a row, such as ``"prosody.tempo_ratio"``; None where it cannot be had."""
        one = self._scored.get((row.id, step))
        return None if one is None else one.values.get(name)

    def errors(self, step: str, *, characters: bool = False) -> Interval:
        """All word errors over all words.

        Args:
            step: of the items.
            characters: count these instead.

        Returns:
            The rate.
        """
        counts = [self._errors(row, step, characters) for row in self.rows]
        return self._pooled([c[0] for c in counts], [c[1] for c in counts])

    def errors_added(self, step: str, base: str, *, characters: bool = False) -> Interval:
        """How much the error rate rises, over rows that have both.

        Args:
            step: of the items.
            base: what they are compared with.
            characters: count these instead of words.

        Returns:
            The difference of the rates, recording by recording with the same words; a base that
            failed has no error to subtract, lest failing twice count as adding none.
        """
        above: list[float | None] = []
        below: list[float | None] = []
        for row in self.rows:
            now, words = self._errors(row, step, characters)
            before, _ = self._errors(row, base, characters)
            item = self.item(row, base)
            if before is not None and item is not None and item.wav is None:
                before = 0.0
            above.append(None if now is None or before is None else now - before)
            below.append(words)
        return self._pooled(above, below)

    def mean(self, step: str, name: str) -> Interval:
        """A plain mean of a number.

        Args:
            step: of the items.
            name: of the number.

        Returns:
            Over the rows that have it.
        """
        values = [self.value(row, step, name) for row in self.rows]
        return mean_interval(values, self._speakers, seed=self.seed)

    def change(self, step: str, base: str, name: str) -> Interval:
        """Mean difference of a number from another step of the same row.

        Args:
            step: of the items.
            base: what they are compared with.
            name: of the number.

        Returns:
            Over the rows that have both.
        """
        values: list[float | None] = []
        for row in self.rows:
            now, before = self.value(row, step, name), self.value(row, base, name)
            values.append(None if now is None or before is None else now - before)
        return mean_interval(values, self._speakers, seed=self.seed)

    def share(self, step: str, test: Test, needs: str = "") -> Interval:
        """How many rows pass; those without a recording do not.

        Args:
            step: that must be there.
            test: of a row whose recording is there.
            needs: the instrument that the test asks; empty if none.

        Returns:
            The share of the rows for which it can be told; nothing without the instrument.
        """
        values: list[float | None] = []
        for row in self.rows:
            item = self.item(row, step)
            passed: bool | None = None
            if item is not None and (not needs or needs in self.instruments):
                passed = test(row) if item.wav is not None else False
            values.append(None if passed is None else float(passed))
        return mean_interval(values, self._speakers, seed=self.seed)

    def ratio(self, above: Of, below: Of) -> Interval:
        """A sum over a sum.

        Args:
            above: of a row; None leaves it out.
            below: of a row; None leaves it out.

        Returns:
            The ratio.
        """
        return self._pooled([above(row) for row in self.rows], [below(row) for row in self.rows])

    def heard(self, step: str) -> Interval:
        """How often the judge hears what was asked for.

        Args:
            step: of the items.

        Returns:
            Averaged over rows, labels and speakers as the edit benchmark is; nothing without a
            judge.
        """
        if not self._judged:
            return Interval(None, None, None, 0, 0)
        items = [one for one in self.scored if one.step == step]
        told = {one.row: asked_for(one) for one in items}
        means = speaker_means(
            items, lambda one: None if told[one.row] is None else float(bool(told[one.row]))
        )
        interval = speaker_mean_interval(list(means.values()), list(means), seed=self.seed)
        counted = sum(value is not None for value in told.values())
        return Interval(interval.value, interval.low, interval.high, counted, interval.speakers)

    def gain(self, step: str, base: str) -> Interval:
        """How much more often the judge hears what was asked for, row by row.

        Args:
            step: of the items.
            base: what they are compared with.

        Returns:
            The gain; nothing without a judge.
        """
        if not self._judged:
            return Interval(None, None, None, 0, 0)
        return gain(self.scored, step, base, seed=self.seed).overall

    @property
    def _judged(self) -> bool:
        return any(f"judge of {row.task}" in self.instruments for row in self.rows)

    def _errors(self, row: Row, step: str, characters: bool) -> tuple[float | None, float | None]:
        names = ("char_errors", "chars") if characters else ("word_errors", "words")
        item = self.item(row, step)
        if item is None or item.wav is not None:
            return self.value(row, step, f"words.{names[0]}"), self.value(
                row, step, f"words.{names[1]}"
            )
        if "words" not in self.instruments:
            return None, None  # nobody listens
        length = float(len((_characters if characters else _words)(row.words, row.lang)))
        return length, length

    def _pooled(self, above: Sequence[float | None], below: Sequence[float | None]) -> Interval:
        return pooled_interval(above, below, self._speakers, seed=self.seed)
