"""What was heard, as numbers: error rates, opinions, domain, stretches, and the watermark."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.trust.detector.copies import COPIES
from recipes.trust.detector.engines import ENGINES
from recipes.trust.detector.trial import CONDITIONS

__all__ = ["auc", "equal_error", "report"]

Values = NDArray[np.float64]
Row = dict[str, Any]


def equal_error(real: Iterable[float], made: Iterable[float]) -> float:
    """The rate at which as many recordings are taken for made as made sounds for recordings.

    Args:
        real: scores of recordings.
        made: scores of made sound, higher if it is right.

    Returns:
        0 to 1; between two thresholds the mean of both errors where they differ least.
    """
    low, high = np.sort(list(real)), np.sort(list(made))
    steps = np.concatenate([low, high, [np.inf]])
    alarms = 1 - np.searchsorted(low, steps, "left") / len(low)
    misses = np.searchsorted(high, steps, "left") / len(high)
    best = int(np.argmin(np.abs(alarms - misses)))
    return float((alarms[best] + misses[best]) / 2)


def auc(low: Iterable[float], high: Iterable[float]) -> float:
    """Probability that one of the second is above one of the first, ties half.

    Args:
        low: values.
        high: others.

    Returns:
        0 to 1; 0.5 if they cannot be told apart.
    """
    first, second = np.sort(list(low)), np.asarray(list(high))
    below = np.searchsorted(first, second, "left") + np.searchsorted(first, second, "right")
    return float(below.mean() / 2 / len(first))


def _shares(rows: Sequence[Row]) -> dict[str, Any]:
    """How many, and the share of each label."""
    labels = [row["label"] for row in rows]
    shares = {
        name: round(labels.count(name) / len(rows), 4) for name in ("real", "synthetic", "unknown")
    }
    return {"count": len(rows), **shares}


def _rate(value: float) -> float:
    return round(value, 4)


def report(
    heard: Sequence[Row], others: Sequence[Row], splices: Sequence[Row], marks: Sequence[Row]
) -> dict[str, Any]:
    """Everything that is measured.

    Args:
        heard: of :func:`recipes.trust.detector.trial.hear_all`.
        others: of :func:`~recipes.trust.detector.trial.hear_others`.
        splices: of :func:`~recipes.trust.detector.trial.hear_splices`.
        marks: of :func:`~recipes.trust.detector.trial.hear_marks`.

    Returns:
        Plain values.
    """
    plain = [row for row in heard if row["condition"] == CONDITIONS[0]]
    real = [row for row in plain if row["family"] == "real"]
    made = [row for row in plain if row["family"] != "real"]
    sets = sorted({row["set"] for row in real})
    return {
        "speakers": len({row["speaker"] for row in real}),
        "generators": [_generator(name, real, made) for name in (*COPIES, *ENGINES)],
        "codecs": [_codec(condition, heard) for condition in CONDITIONS],
        "people": [
            {"set": name, **_shares([row for row in real if row["set"] == name])} for name in sets
        ]
        + [
            {"set": who, **_shares([row for row in real if row["gender"] == gender])}
            for who, gender in (("all women", "f"), ("all men", "m"))
        ]
        + [{"set": "all", **_shares(real)}],
        "control": _control(real, sets),
        "calibration": _calibration(real, made),
        "others": [
            {"what": what, **_shares([row for row in others if row["set"] == what])}
            for what in sorted({row["set"] for row in others})
        ],
        "splices": _splices(splices, real),
        "marks": _marks(marks),
    }


def _generator(name: str, real: Sequence[Row], made: Sequence[Row]) -> Row:
    own = [row for row in made if row["engine"] == name]
    left_out = COPIES[name].family if name in COPIES else name
    kind = COPIES[name].kind if name in COPIES else ENGINES[name].kind
    heard = equal_error((row["score"] for row in real), (row["score"] for row in own))
    unheard = equal_error(
        (row["unheard"][left_out] for row in real), (row["unheard"][left_out] for row in own)
    )
    return {
        "name": name,
        "kind": kind,
        "equal_error_heard": _rate(heard),
        "equal_error_unheard": _rate(unheard),
        **_shares(own),
    }


def _codec(condition: str, heard: Sequence[Row]) -> Row:
    rows = [row for row in heard if row["condition"] == condition]
    real = [row for row in rows if row["family"] == "real"]
    made = [row for row in rows if row["family"] != "real"]
    own = [row for row in made if row["family"] == "nano"]
    scores = [[row["score"] for row in some] for some in (real, made, own)]
    return {
        "after": condition,
        "equal_error": _rate(equal_error(scores[0], scores[1])),
        "equal_error_own": _rate(equal_error(scores[0], scores[2])),
        "people": _shares(real),
        "made": _shares(made),
    }


def _control(real: Sequence[Row], sets: Sequence[str]) -> list[Row]:
    """One corpus of people against all others: 0.5 if the detector does not hear which it is."""
    found = []
    for name in sets:
        own = [row["score"] for row in real if row["set"] == name]
        rest = [row["score"] for row in real if row["set"] != name]
        found.append({"set": name, "auc": _rate(auc(rest, own))})
    return found


def _calibration(real: Sequence[Row], made: Sequence[Row]) -> list[Row]:
    """In bins of stated probability: how much is synthetic, both kinds counting the same."""
    borders = [0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0]
    rows = [
        (row["probability"], kind, 1 / len(some))
        for kind, some in ((0, real), (1, made))
        for row in some
        if row["probability"] is not None
    ]
    found = []
    for low, high in itertools.pairwise(borders):
        inside = [r for r in rows if low <= r[0] < high or r[0] == high == 1.0]
        weight = sum(w for *_, w in inside)
        if inside:
            found.append(
                {
                    "from": low,
                    "to": high,
                    "count": len(inside),
                    "stated": _rate(sum(p * w for p, _, w in inside) / weight),
                    "synthetic": _rate(sum(k * w for _, k, w in inside) / weight),
                }
            )
    return found


def _splices(splices: Sequence[Row], real: Sequence[Row]) -> Row:
    """Are stretches found, where are they, and how many recordings show one that is not there."""
    judged = [row for row in splices if row["within"] and row["without"]]
    within = [p for row in judged for p in row["within"]]
    without = [p for row in judged for p in row["without"]]
    hits = [
        any(start < row["end"] and end > row["start"] for start, end in row["spans"])
        for row in judged
    ]
    asked = [row for row in real if row["probability"] is not None]
    return {
        "count": len(splices),
        "judged": len(judged),
        "frame_auc": _rate(auc(without, within)) if judged else None,
        "found": _rate(float(np.mean(hits))) if judged else None,
        "called_real": _rate(float(np.mean([row["label"] == "real" for row in splices]))),
        "false_stretches": _rate(float(np.mean([bool(row["spans"]) for row in asked]))),
    }


def _marks(marks: Sequence[Row]) -> list[Row]:
    found = []
    for made, marked in ((True, True), (True, False), (False, False)):
        for condition in CONDITIONS[:2]:
            rows = [
                row
                for row in marks
                if (row["made"], row["marked"], row["condition"]) == (made, marked, condition)
            ]
            share = float(np.mean([row["found"] for row in rows]))
            found.append(
                {
                    "made": made,
                    "marked": marked,
                    "after": condition,
                    "watermark_found": _rate(share),
                    **_shares(rows),
                }
            )
    return found
