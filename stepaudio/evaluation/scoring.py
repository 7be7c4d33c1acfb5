"""What counts as success: the benchmark's numbers, and joint success. Every definition is here.

**Accuracy** (emotion, style): 1 if the judge's answer is the label asked for, else 0.
**Score** (paralinguistic): the judge's 1 to 3. Both are averaged over the rows of a label, over the
labels of a speaker, then over speakers. Two versions stand side by side:

- *corrected*: every row counts once. An answer outside the judge's list, no answer and no recording
  are wrong (score 1). ``act_cute`` means ``act_coy`` and ``whisper (ASMR)`` means ``whisper``: the
  published judge prompt offers these words instead of the labels.
- *upstream*: as the published scripts count. Answers outside their list and rows without an answer
  are dropped, so the average is over fewer rows; ``act_cute`` is among the dropped. Rows given
  twice count twice.

**Joint success** of an item: the change that was asked for is made, and the words are kept, and the
speaker is kept, all three, against the same row's baseline (iteration 0, or its resynthesis where
iteration 0 is a real recording). See :class:`JointRule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stepaudio.errors import EvaluationError

__all__ = [
    "JointRule",
    "Outcome",
    "Scored",
    "asked_for",
    "corrected",
    "first_of_each",
    "heard_label",
    "off_list",
    "outcome",
    "speaker_means",
    "upstream",
]

_SCORES = ("1", "2", "3")
_ALIASES = {"act_cute": "act_coy", "whisper (asmr)": "whisper"}
# What the published judge script lets through besides "None", its word for no style at all.
_UPSTREAM = {
    "emotion": frozenset(("natural", "happy", "sad", "angry", "fear", "surprised")),
    "style": frozenset(
        ("child", "exaggerated", "recite", "generous", "act_coy", "older", "whisper")
    ),
}
# Other judges have other words for the same two answers.
_UPSTREAM_WORDS = {"neutral": "natural", "none": "None"}


@dataclass(frozen=True)
class Scored:
    """An item with all that was measured on it.

    Attributes:
        row: id of the row.
        step: ``"iter0"``, ``"iter1"``, … or ``"resynth"``.
        task: kind of the change asked for.
        label: the label asked for.
        lang: of the words.
        speaker: name of the voice.
        made: there is a recording.
        answer: of the judge; None if it was not asked.
        values: numbers by ``"metric.name"``; None where one could not be had.
        set: corpus or system that iteration 0 comes from; empty if not told.
    """

    row: str
    step: str
    task: str
    label: str
    lang: str
    speaker: str
    made: bool = True
    answer: str | None = None
    values: Mapping[str, float | None] = field(default_factory=dict)
    set: str = ""


def asked_for(item: Scored, *, sound_score: int = 3) -> bool | None:
    """Whether the judge heard what was asked for.

    Args:
        item: with an answer.
        sound_score: least score of an inserted sound that counts as made.

    Returns:
        None if no judge was asked about a recording that is there.
    """
    if not item.made:
        return False
    if item.answer is None:
        return None
    if item.task == "paralinguistic":
        return corrected(item) >= sound_score
    return _plain(item.answer) == item.label.lower()


def corrected(item: Scored) -> float:
    """Points of the corrected number: 0 or 1, or 1 to 3 for a sound."""
    if item.task == "paralinguistic":
        answer = (item.answer or "").strip() if item.made else ""
        return float(answer) if answer in _SCORES else 1.0
    return float(bool(asked_for(item)))


def upstream(item: Scored) -> float | None:
    """Points as the published scripts give them; None where they drop the row."""
    if not item.made or item.answer is None:
        return None
    if item.task == "paralinguistic":
        try:
            return float(item.answer)
        except ValueError:
            return None
    answer = _UPSTREAM_WORDS.get(item.answer, item.answer)
    if answer != "None" and answer not in _UPSTREAM.get(item.task, frozenset()):
        return None
    return float(answer == item.label)


def off_list(item: Scored, labels: Sequence[str]) -> bool:
    """Whether a judge answered with none of its labels.

    Args:
        item: with an answer.
        labels: the judge's.

    Returns:
        False also if there is no answer.
    """
    if not item.made or not item.answer:
        return False
    return heard_label(item.answer, labels) is None


def heard_label(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer means.

    Args:
        answer: of a judge.
        labels: the judge's.

    Returns:
        One of the labels; None for anything else.
    """
    return {label.lower(): label for label in labels}.get(_plain(answer))


def _plain(answer: str) -> str:
    answer = answer.strip().lower()
    return _ALIASES.get(answer, answer)


def first_of_each(items: Iterable[Scored]) -> list[Scored]:
    """Drop items that repeat the row and step of an earlier one."""
    kept: dict[tuple[str, str], Scored] = {}
    for item in items:
        kept.setdefault((item.row, item.step), item)
    return list(kept.values())


def speaker_means(
    items: Iterable[Scored], points: Callable[[Scored], float | None]
) -> dict[str, float]:
    """Average per speaker: over the rows of each label, then over the labels.

    Args:
        items: of one step.
        points: of an item; None leaves it out.

    Returns:
        By speaker; their plain mean is the benchmark's number.
    """
    table: dict[str, dict[str, list[float]]] = {}
    for item in items:
        value = points(item)
        if value is not None:
            table.setdefault(item.speaker, {}).setdefault(item.label, []).append(value)
    return {
        speaker: sum(sum(v) / len(v) for v in labels.values()) / len(labels)
        for speaker, labels in table.items()
    }


@dataclass(frozen=True)
class JointRule:
    """When an item counts as a joint success; reports record it.

    Attributes:
        word_margin: the error rate may exceed the baseline's by this much.
        similarity_margin: the similarity to the source may fall below the baseline's by this much.
        sound_score: least score of an inserted sound that counts as made.
        errors: names of the error rate; the first that the baseline has is compared, so that
            languages written without spaces are compared by characters.
        similarity: names of the similarity to the prompt or the real recording, likewise.
    """

    word_margin: float = 0.10
    similarity_margin: float = 0.10
    sound_score: int = 3
    errors: tuple[str, ...] = ("words.wer", "words.cer")
    similarity: tuple[str, ...] = (
        "speaker:resemblyzer.similarity",
        "speaker:stepaudio/CAMPPlus.similarity",
    )

    def __post_init__(self) -> None:
        if not (self.word_margin >= 0 and self.similarity_margin >= 0):
            raise EvaluationError("margins of joint success must be 0 or more")
        if self.sound_score not in (1, 2, 3):
            raise EvaluationError(f"the score of a sound is 1, 2 or 3, not {self.sound_score}")


@dataclass(frozen=True)
class Outcome:
    """The three conditions of joint success; None where one cannot be told.

    Attributes:
        changed: the judge heard what was asked for.
        words_kept: error rate ≤ baseline + margin.
        speaker_kept: similarity ≥ baseline − margin.
    """

    changed: bool | None
    words_kept: bool | None
    speaker_kept: bool | None

    @property
    def success(self) -> bool | None:
        """All three; None if any cannot be told, whatever the others are.

        A row that fails one condition is left out all the same if another is unknown: counting
        only its failures would bend the share downwards.
        """
        three = (self.changed, self.words_kept, self.speaker_kept)
        return None if None in three else all(three)


def outcome(item: Scored, baseline: Scored | None, rule: JointRule) -> Outcome:
    """Compare an item with the baseline of its row.

    An item without a recording fails all three. A number that the baseline has and the item lacks
    (nothing left to recognise) counts as lost; one that the baseline lacks cannot be compared.

    Args:
        item: to be judged.
        baseline: of the same row; None if there is none.
        rule: the margins.

    Returns:
        The conditions.
    """
    if not item.made:
        return Outcome(False, False, False)
    words = speaker = None
    if baseline is not None and baseline.made:
        words = _kept(item, baseline, rule.errors, rule.word_margin, sign=1)
        speaker = _kept(item, baseline, rule.similarity, rule.similarity_margin, sign=-1)
    return Outcome(asked_for(item, sound_score=rule.sound_score), words, speaker)


def _kept(
    item: Scored, baseline: Scored, names: Sequence[str], margin: float, *, sign: int
) -> bool | None:
    """Whether the first number that the baseline has got worse by no more than a margin."""
    for name in names:
        before, now = baseline.values.get(name), item.values.get(name)
        if before is not None:
            # A hair of room: 0.1 + 0.1 is not 0.2 in floats.
            return now is not None and sign * (now - before) <= margin + 1e-9
    return None
