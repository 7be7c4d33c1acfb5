"""Figures of a model card and the targets they are held against.

A target belongs to the figure of the same name in :data:`TARGETS`. It is met or missed by the value
measured; the interval beside it says how sure that is. A figure that could not be measured has no
value, and its target is neither met nor missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stepaudio.evaluation.bootstrap import Interval

__all__ = ["TARGETS", "Figure", "Target", "single"]

# Differences of rounded rates: 0.3 - 0.2 is not 0.1 in floats.
_HAIR = 1e-9


@dataclass(frozen=True)
class Target:
    """What a figure should reach.

    Attributes:
        sense: on which side of the bound it should be.
        bound: in the figure's own unit.
    """

    sense: Literal["at least", "at most"]
    bound: float

    def met(self, value: float | None) -> bool | None:
        """Whether a value is on the right side; None for none."""
        if value is None:
            return None
        if self.sense == "at least":
            return value >= self.bound - _HAIR
        return value <= self.bound + _HAIR


#: Targets of the embedded model, by section and figure.
TARGETS: Mapping[str, Target] = {
    "resynth.errors_added": Target("at most", 0.10),
    "resynth.similarity": Target("at least", 0.75),
    "resynth.p808": Target("at least", 3.3),
    "speak.errors": Target("at most", 0.15),
    "speak.similarity": Target("at least", 0.65),
    "emotion.gain": Target("at least", 0.15),
    "emotion.later": Target("at least", -0.02),
    "emotion.last": Target("at least", 0.60),
    "emotion.pairs_gain": Target("at least", 0.15),
    "emotion.pairs_later": Target("at least", -0.02),
    "emotion.pairs_last": Target("at least", 0.60),
    "emotion.errors_added": Target("at most", 0.10),
    "emotion.similarity_change": Target("at least", -0.10),
    "style.gain": Target("at least", 0.20),
    "style.gain_whisper": Target("at least", 0.20),
    "style.gain_child": Target("at least", 0.20),
    "style.gain_older": Target("at least", 0.20),
    "style.gain_exaggerated": Target("at least", 0.20),
    "speed.within": Target("at least", 0.90),
    "denoise.background": Target("at least", 0.5),
    "denoise.errors_added": Target("at most", 0.0),
    "silence.left": Target("at most", 0.15),
    "silence.no_word_lost": Target("at least", 0.95),
    "sounds.at_place": Target("at least", 0.60),
    "sounds.errors_added": Target("at most", 0.10),
    "chinese.errors": Target("at most", 0.35),
    "size.megabytes": Target("at most", 60.0),
    "size.rtf": Target("at most", 0.5),
}


@dataclass(frozen=True)
class Figure:
    """One number of a card.

    Attributes:
        name: within its section.
        title: what it is, for people.
        interval: value and ends.
        share: written in percent.
        digits: after the point.
        needs: the metric or judge that measures it; empty if none does.
    """

    name: str
    title: str
    interval: Interval
    share: bool = False
    digits: int = 2
    needs: str = ""

    def plain(self, section: str, missing: Mapping[str, str]) -> dict[str, Any]:
        """As the result file keeps it.

        Args:
            section: the figure belongs to.
            missing: metrics and judges that are not there, with the reason.

        Returns:
            Plain values; ``target`` is None without one, ``met`` if it cannot be told.
        """
        target = TARGETS.get(f"{section}.{self.name}")
        values: dict[str, Any] = {
            "name": self.name,
            "title": self.title,
            **self.interval.rounded(),
            "share": self.share,
            "digits": self.digits,
            "target": None if target is None else asdict(target),
            "met": None if target is None else target.met(self.interval.value),
        }
        if self.interval.value is None:
            values["missing"] = missing.get(self.needs) or "nothing to measure it on"
        return values


def single(value: float | None) -> Interval:
    """A number that is what it is, without an interval."""
    return Interval(value, None, None, int(value is not None), 0)
