"""How much of everything makes so many hours.

The corpus is what it is, once as recorded and once with other heads. What is beyond that is shared
out (:data:`SHARES`); texts, speakers and edits per recording follow from it and from how long a row
of each stage is: more hours mean more synthetic speakers and more edits of the same people.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from recipes.nano.data.voice_change import CHANGES

__all__ = ["SHARES", "Plan", "drawn", "planned"]

#: Of the hours beyond the corpus, by stage.
SHARES = {
    "synthetic": 0.30, "kokoro-en": 0.03, "kokoro-zh": 0.05, "transform": 0.36,
    "nonverbal": 0.10, "noise": 0.10, "silence": 0.06,
}  # fmt: skip
#: Mean seconds of a row: one sentence of hibari-tts, of Kokoro in English and in Mandarin.
SYNTHETIC, ENGLISH, MANDARIN = 4.0, 4.0, 6.0
#: Changed renderings of a synthetic sentence: they cost nearly nothing once it has been computed.
SYNTHETIC_EDITS = 3.0
#: Length against the recording it is made from: changes by rule, a sound put in, silence rows.
CHANGED = sum(1 / change.rate for change in CHANGES.values()) / len(CHANGES)
WITH_SOUND, SILENCE_ROWS = 1.25, 1.9
#: How often a change of a piece's voice comes once more, further; and what a change then makes.
AGAIN = 0.5
TRANSFORMED = CHANGED + AGAIN * sum(
    1 / change.again().rate for change in CHANGES.values() if not change.only_tempo
) / len(CHANGES)


@dataclass(frozen=True)
class Plan:
    """What the stages make.

    Attributes:
        hours: expected of each stage.
        synthetic: sentences of hibari-tts; each is also changed :data:`SYNTHETIC_EDITS` times.
        english: sentences of Kokoro in English.
        mandarin: sentences of Kokoro in Mandarin.
        edits: changed recordings of each piece, on average.
        sounds: recordings with a sound put in, of each piece.
        noisy: recordings with noise, of each piece.
        silence: share of the pieces that are trimmed and lengthened.
    """

    hours: dict[str, float]
    synthetic: int
    english: int
    mandarin: int
    edits: float
    sounds: float
    noisy: float
    silence: float


def planned(hours: float, corpus_hours: float) -> Plan:
    """What makes so many hours.

    Args:
        hours: wanted in all.
        corpus_hours: of recorded speech.

    Returns:
        The plan.

    Raises:
        ValueError: the corpus and its other voices alone are longer.
    """
    people = 2 * corpus_hours
    rest = hours - people
    if rest <= 0:
        raise ValueError(f"the corpus, twice, has {people:.1f} h; ask for more than that")
    given = {stage: share * rest for stage, share in SHARES.items()}
    pieces = people + given["kokoro-en"] + given["kokoro-zh"]
    edits = given["transform"] / (pieces * TRANSFORMED)
    silence = given["silence"] / (pieces * SILENCE_ROWS)
    return Plan(
        hours={s: round(h, 2) for s, h in {"voices": corpus_hours, **given}.items()},
        synthetic=_count(given["synthetic"], SYNTHETIC * (1 + SYNTHETIC_EDITS * CHANGED)),
        english=_count(given["kokoro-en"], ENGLISH),
        mandarin=_count(given["kokoro-zh"], MANDARIN),
        edits=round(edits, 3),
        sounds=round(given["nonverbal"] / (pieces * WITH_SOUND), 3),
        noisy=round(given["noise"] / pieces, 3),
        silence=round(silence, 3),
    )


def _count(hours: float, seconds: float) -> int:
    """Sentences of so many seconds in so many hours, at least one."""
    return max(1, round(hours * 3600 / seconds))


def drawn(choices: Iterable[str], mean: float, rng: random.Random) -> list[str]:
    """Some of the choices, so many on average: the whole number below it, or one more.

    Args:
        choices: what there is; none is taken twice.
        mean: number wanted; more than there are gives all.
        rng: draws.

    Returns:
        The chosen ones.
    """
    pool = sorted(choices)
    count = int(mean) + (rng.random() < mean % 1)
    return rng.sample(pool, min(count, len(pool)))
