"""How well a scorer ranks pairs of people it has not heard, with intervals over these people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from recipes.margin.pairs import LABELS, RatedPairs
from stepaudio.data.manifest import Utterance
from stepaudio.data.margin import MarginScorer, to_margin
from stepaudio.evaluation.bootstrap import Interval, mean_interval

__all__ = ["acted_rows", "intensity_trial", "rank_interval", "spearman", "trial"]

_DRAWS = 500
_BINS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.01)
_FLOOR = 6.0


def rank_interval(
    scores: NDArray[np.float64], targets: NDArray[np.float64], speakers: NDArray[np.str_]
) -> Interval:
    """Spearman's rank correlation; whole speakers are resampled.

    Args:
        scores: ``[N]``.
        targets: ``[N]``.
        speakers: ``[N]``.

    Returns:
        The correlation with its 95 % interval; None where there is none.
    """
    value = spearman(scores, targets)
    names = np.unique(speakers)
    if value is None or len(names) < 2:
        return Interval(value, None, None, len(scores), len(names))
    where = {name: np.flatnonzero(speakers == name) for name in names}
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(_DRAWS):
        drawn = np.concatenate([where[name] for name in rng.choice(names, len(names))])
        draws.append(spearman(scores[drawn], targets[drawn]))
    low, high = np.percentile([draw for draw in draws if draw is not None], [2.5, 97.5])
    return Interval(value, float(low), float(high), len(scores), len(names))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Rank correlation, ties having their mean rank; None where one of both is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def trial(
    margins: NDArray[np.float64], pairs: RatedPairs, rows: Sequence[Utterance]
) -> dict[str, Any]:
    """Compare margins with listeners on pairs of the same words.

    Args:
        margins: ``[N, L]``, 1 to 10, of speakers not heard in training.
        pairs: they belong to.
        rows: their recordings.

    Returns:
        ``rank_all_labels``: every pair asked about every label, with the highest correlation that
        scores without ties can have; ``rank_matched``: neutral to acted, asked about the acted
        label only, where ratings run from 80 to 100 %; ``right_label``: how often the acted label
        has the largest margin; ``selection``: what the floor of 6 keeps; ``calibration``.
    """
    same = pairs.same_text
    true = to_margin(pairs.targets)
    who = np.repeat(pairs.speakers[same], len(LABELS))
    jitter = np.random.default_rng(0).random(true[same].size) * 1e-6
    acted = acted_rows(pairs, rows)
    at = np.flatnonzero(acted >= 0)
    own, listeners = margins[at, acted[at]], true[at, acted[at]]
    kept, large = margins[same] >= _FLOOR, true[same] >= _FLOOR
    by_label = {
        label: _rounded(spearman(margins[same][:, n], true[same][:, n]))
        for n, label in enumerate(LABELS.values())
    }
    return {
        "rank_all_labels": _plain(rank_interval(margins[same].ravel(), true[same].ravel(), who)),
        "rank_all_labels_ceiling": _rounded(
            spearman(true[same].ravel() + jitter, true[same].ravel())
        ),
        "rank_by_label": by_label,
        "rank_matched": _plain(rank_interval(own, listeners, pairs.speakers[at])),
        "right_label": _plain(
            mean_interval(
                (margins[at].argmax(1) == acted[at]).astype(float).tolist(),
                pairs.speakers[at].tolist(),
            )
        ),
        "selection": {
            "floor": _FLOOR,
            "kept": int(kept.sum()),
            "precision": round(float(large[kept].mean()), 4),
            "recall": round(float(kept[large].mean()), 4),
        },
        "calibration": _reliability(margins[same].ravel(), true[same].ravel()),
    }


def acted_rows(pairs: RatedPairs, rows: Sequence[Utterance]) -> NDArray[np.int64]:
    """Column of the acted label of each pair of the same words from neutral; -1 for other pairs."""
    names = list(LABELS)
    found = np.full(len(pairs.before), -1)
    for n, (before, after) in enumerate(zip(pairs.before, pairs.after, strict=True)):
        emotion = rows[after].emotion
        plain = rows[before].emotion == "neutral" and emotion != "neutral"
        if pairs.same_text[n] and plain and emotion in names:
            found[n] = names.index(emotion)
    return found


def intensity_trial(
    scorer: MarginScorer, rows: Sequence[Utterance], vectors: NDArray[np.float64]
) -> dict[str, Any]:
    """Another corpus, language and people: is a strong emotion further from neutral than a normal?

    Args:
        scorer: trained without these people.
        rows: recordings of ``intensity`` ``"normal"`` and ``"strong"`` with ``text_id``.
        vectors: ``[R, F]`` of them.

    Returns:
        ``rank``: correlation of the margin with 0 (another neutral recording), 1 (normal) and 2
        (strong); ``strong_wins``: how often the strong one of two has the larger margin; both
        also by emotion.
    """
    takes: dict[tuple[str, str, str, str], list[int]] = {}
    for n, row in enumerate(rows):
        key = (row.speaker, row.text_id, row.emotion, row.intensity or "normal")
        takes.setdefault(key, []).append(n)
    asked = [name for name in LABELS if name != "neutral"]
    before, after, column, level, group = [], [], [], [], []
    for (speaker, text, emotion, _), plain in sorted(takes.items()):
        if emotion != "neutral":
            continue
        for name, first in product(asked, plain):
            wanted = [(other, 0) for other in plain if other != first]
            for strength, value in (("normal", 1), ("strong", 2)):
                found = takes.get((speaker, text, name, strength), [])
                wanted += [(other, value) for other in found]
            for other, value in wanted:
                before.append(first)
                after.append(other)
                column.append(list(LABELS).index(name))
                level.append(value)
                group.append(f"{first}/{name}")
    margins = scorer.score_vectors(vectors[before], vectors[after])[np.arange(len(after)), column]
    levels, columns = np.array(level, float), np.array(column)
    speakers = np.array([rows[n].speaker for n in before])
    wins, whose, label = _wins(margins, levels, np.array(group), speakers, columns)
    by_label = {}
    for number, name in enumerate(LABELS.values()):
        mine = columns == number
        if mine.any():
            by_label[name] = {
                "rank": _rounded(spearman(margins[mine], levels[mine])),
                "strong_wins": round(float(wins[label == number].mean()), 4),
            }
    return {
        "rank": _plain(rank_interval(margins, levels, speakers)),
        "strong_wins": _plain(mean_interval(wins.tolist(), whose.tolist())),
        "by_label": by_label,
    }


def _wins(
    margins: NDArray[np.float64],
    levels: NDArray[np.float64],
    groups: NDArray[np.str_],
    speakers: NDArray[np.str_],
    columns: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.str_], NDArray[np.int64]]:
    """Strong against normal of the same words from the same neutral recording; a tie is a half."""
    wins, whose, labels = [], [], []
    for group in np.unique(groups):
        inside = groups == group
        for strong, normal in product(
            np.flatnonzero(inside & (levels == 2)), np.flatnonzero(inside & (levels == 1))
        ):
            wins.append(float((np.sign(margins[strong] - margins[normal]) + 1) / 2))
            whose.append(speakers[strong])
            labels.append(columns[strong])
    return np.array(wins), np.array(whose), np.array(labels)


def _reliability(margins: NDArray[np.float64], true: NDArray[np.float64]) -> list[dict[str, float]]:
    rows = []
    for low, high in pairwise(_BINS):
        inside = (margins >= low) & (margins < high)
        if inside.any():
            rows.append(
                {
                    "from": low,
                    "to": min(high, 10.0),
                    "n": int(inside.sum()),
                    "said": round(float(margins[inside].mean()), 3),
                    "listeners": round(float(true[inside].mean()), 3),
                }
            )
    return rows


def _plain(interval: Interval) -> dict[str, float | int | None]:
    return {name: _rounded(value) for name, value in vars(interval).items()}


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value
