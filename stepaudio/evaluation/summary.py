"""From items to tables: per task, language group and step, each number with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from stepaudio.evaluation.bootstrap import (
    Interval,
    mean_interval,
    pooled_interval,
    speaker_mean_interval,
)
from stepaudio.evaluation.edit_benchmark import RESYNTHESIS
from stepaudio.evaluation.gains import EDITED, gains
from stepaudio.evaluation.scoring import (
    JointRule,
    Outcome,
    Scored,
    corrected,
    first_of_each,
    off_list,
    outcome,
    speaker_means,
    upstream,
)

__all__ = ["ALL", "outcomes", "summarise"]

#: The group of all languages.
ALL = "all"

# A rate over a set is all errors over all words; the counts are not averaged themselves.
_POOLED = {
    "words.wer": ("words.word_errors", "words.words"),
    "words.cer": ("words.char_errors", "words.chars"),
}
_COUNTS = frozenset(name for pair in _POOLED.values() for name in pair) | {"words.words_left_out"}


def outcomes(
    items: Sequence[Scored], rule: JointRule, baseline: str
) -> dict[tuple[str, str], Outcome]:
    """Compare every item with the baseline of its row.

    Args:
        items: of all steps.
        rule: the margins.
        baseline: step that items are compared with.

    Returns:
        By row and step; whether a resynthesis changed is not told, for it was not asked to.
    """
    bases = {item.row: item for item in items if item.step == baseline}
    found = {(i.row, i.step): outcome(i, bases.get(i.row), rule) for i in items}
    return {
        key: replace(one, changed=None) if key[1] == RESYNTHESIS else one
        for key, one in found.items()
    }


def summarise(
    items: Sequence[Scored],
    *,
    rule: JointRule,
    baseline: str,
    labels: Mapping[str, Sequence[str]],
    seed: int = 0,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Numbers of a run.

    Args:
        items: of all steps; an item given twice counts once, except in the upstream number.
        rule: of joint success.
        baseline: step that items are compared with.
        labels: answers that count, by task; tasks without a judge are absent.
        seed: of the resampling.

    Returns:
        Plain values by task, group (``"all"``, each language, and each corpus or system the
        recordings come from, if there are several) and step.
    """
    once = outcomes(first_of_each(items), rule, baseline)
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for task in dict.fromkeys(item.task for item in items):
        of_task = [item for item in items if item.task == task]
        for group in _groups(of_task):
            members = [item for item in of_task if group in (ALL, item.lang, item.set)]
            cells = {
                step: _cell(
                    [item for item in members if item.step == step], once, labels.get(task), seed
                )
                for step in dict.fromkeys(item.step for item in members)
            }
            if task in labels and EDITED in cells:
                cells[EDITED]["gains"] = _gained(members, seed)
            tables.setdefault(task, {})[group] = cells
    return tables


def _groups(items: Sequence[Scored]) -> list[str]:
    """Everything, then each language and each corpus or system if there are several."""
    langs = sorted({item.lang for item in items})
    sets = sorted({item.set for item in items if item.set} - set(langs))
    return [ALL, *(langs if len(langs) > 1 else []), *(sets if len(sets) > 1 else [])]


def _cell(
    given: Sequence[Scored],
    compared: Mapping[tuple[str, str], Outcome],
    labels: Sequence[str] | None,
    seed: int,
) -> dict[str, Any]:
    items = first_of_each(given)
    speakers = [item.speaker for item in items]
    cell: dict[str, Any] = {
        "rows": len(items),
        "repeated": len(given) - len(items),
        "failed": sum(not item.made for item in items),
    }
    if labels is not None:
        cell |= _judged(given, items, labels, seed)
    # Success is that of an edit, and a resynthesis is none.
    if labels is not None and items[0].step != RESYNTHESIS:
        found = [compared[item.row, item.step] for item in items]
        for name, values in {
            "joint": [one.success for one in found],
            "words_kept": [one.words_kept for one in found],
            "speaker_kept": [one.speaker_kept for one in found],
        }.items():
            shares = [None if told is None else float(told) for told in values]
            cell[name] = _plain(speaker_mean_interval(shares, speakers, seed=seed))
    cell["metrics"] = {}
    for name in dict.fromkeys(name for item in items for name in item.values):
        if name in _POOLED:
            pairs = [[item.values.get(part) for item in items] for part in _POOLED[name]]
            interval = pooled_interval(pairs[0], pairs[1], speakers, seed=seed)
        elif name in _COUNTS:
            continue
        else:
            numbers = [item.values.get(name) for item in items]
            interval = mean_interval(numbers, speakers, seed=seed)
        cell["metrics"][name] = _plain(interval)
    return cell


def _judged(
    given: Sequence[Scored], items: Sequence[Scored], labels: Sequence[str], seed: int
) -> dict[str, Any]:
    means = speaker_means(items, corrected)
    interval = speaker_mean_interval(list(means.values()), list(means), seed=seed)
    theirs = speaker_means(given, upstream)
    by_label = {}
    for label in dict.fromkeys(item.label for item in items):
        own = speaker_means([item for item in items if item.label == label], corrected)
        by_label[label] = _round(sum(own.values()) / len(own))
    answers: dict[str, Counter[str]] = {}
    for item in items:
        said = "(no recording)" if not item.made else (item.answer or "(no answer)")
        answers.setdefault(item.label, Counter())[said] += 1
    return {
        "corrected": _plain(replace(interval, n=len(items))),
        "upstream": {
            "value": _round(sum(theirs.values()) / len(theirs)) if theirs else None,
            "n": sum(upstream(item) is not None for item in given),
        },
        "off_list": sum(off_list(item, labels) for item in items),
        "unanswered": sum(item.made and not item.answer for item in items),
        "by_label": by_label,
        "by_speaker": {name: _round(value) for name, value in means.items()},
        "answers": {label: dict(counts.most_common()) for label, counts in answers.items()},
    }


def _gained(items: Sequence[Scored], seed: int) -> dict[str, dict[str, Any]]:
    return {
        base: {
            "all": _plain(gain.overall),
            "by_label": {label: _plain(one) for label, one in gain.by_label.items()},
        }
        for base, gain in gains(items, seed=seed).items()
    }


def _plain(interval: Interval) -> dict[str, Any]:
    return {
        key: _round(value) if isinstance(value, float) else value
        for key, value in asdict(interval).items()
    }


def _round(value: float) -> float:
    return round(value, 4)
