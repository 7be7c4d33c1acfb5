"""What the first edit adds: to what was heard before it, and to what the codec does by itself.

A weak codec makes many voices sound sad, edited or not. The judge therefore also hears the plain
resynthesis, and the gain over it is the edit's own. A row is compared with itself, so that rows
differ in nothing but the edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stepaudio.evaluation.bootstrap import Interval, speaker_mean_interval
from stepaudio.evaluation.edit_benchmark import RESYNTHESIS
from stepaudio.evaluation.scoring import Scored, corrected, first_of_each, speaker_means

__all__ = ["BASES", "EDITED", "Gain", "gain", "gains"]

#: The step whose gain is told.
EDITED = "iter1"
#: The steps it is compared with.
BASES = ("iter0", RESYNTHESIS)


@dataclass(frozen=True)
class Gain:
    """How much more often the asked change is heard than before.

    Attributes:
        overall: difference of the corrected numbers, averaged as they are.
        by_label: the same for each label asked for.
    """

    overall: Interval
    by_label: Mapping[str, Interval]


def gains(items: Iterable[Scored], *, seed: int = 0) -> dict[str, Gain]:
    """Gain of :data:`EDITED` over each of :data:`BASES`, row by row.

    Args:
        items: of one task, all steps, each judged.
        seed: of the resampling.

    Returns:
        By step compared with; steps that no item has are absent.
    """
    items = list(items)
    steps = {item.step for item in items}
    if EDITED not in steps:
        return {}
    return {base: gain(items, EDITED, base, seed=seed) for base in BASES if base in steps}


def gain(items: Iterable[Scored], step: str, base: str, *, seed: int = 0) -> Gain:
    """Gain of one step over another, row by row.

    Args:
        items: of one task, each judged.
        step: whose gain is told.
        base: what it is compared with.
        seed: of the resampling.

    Returns:
        The gain.
    """
    once = first_of_each(items)
    before = {item.row: item for item in once if item.step == base}
    edited = [item for item in once if item.step == step]
    differences = {one.row: _difference(one, before.get(one.row)) for one in edited}
    return Gain(
        _mean(edited, differences, seed),
        {
            label: _mean([one for one in edited if one.label == label], differences, seed)
            for label in dict.fromkeys(one.label for one in edited)
        },
    )


def _difference(edited: Scored, before: Scored | None) -> float | None:
    # A sound compared with none would gain from the failure of the other.
    if before is None or (edited.made and not before.made):
        return None
    return corrected(edited) - corrected(before)


def _mean(items: Sequence[Scored], differences: Mapping[str, float | None], seed: int) -> Interval:
    means = speaker_means(items, lambda item: differences[item.row])
    interval = speaker_mean_interval(list(means.values()), list(means), seed=seed)
    return replace(interval, n=sum(differences[item.row] is not None for item in items))
