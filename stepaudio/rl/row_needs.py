"""What the chosen rewards must know of every prompt, checked before the first draw.

A row that lacks it would not fail: all its answers would be paid the same, and teach nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepaudio.errors import DataError
from stepaudio.evaluation.normalize import CHARACTER_LANGUAGES, characters, words
from stepaudio.evaluation.words import WordErrors
from stepaudio.rl.audio_rewards import JudgeReward, MetricReward
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.reward_choice import RewardChoice
from stepaudio.rl.rewards import Reward

__all__ = ["check_known", "check_said"]


def check_said(rows: Sequence[PromptRow], source: str, choices: Mapping[str, RewardChoice]) -> None:
    """Refuse rows that do not say what a reward reads; no model has to be loaded for it.

    Args:
        rows: prompts.
        source: where they come from, for the error.
        choices: rewards by name.

    Raises:
        DataError: names the row, the reward and what it needs.
    """
    for name, choice in choices.items():
        for number, row in enumerate(rows, start=1):
            if need := _unsaid(row, choice):
                raise _refusal(source, number, name, need)


def check_known(rows: Sequence[PromptRow], source: str, rewards: Mapping[str, Reward]) -> None:
    """Refuse languages and labels that the instruments of the rewards do not know.

    Args:
        rows: prompts.
        source: where they come from, for the error.
        rewards: as built, by name.

    Raises:
        DataError: names the row, the reward and what it needs.
    """
    for name, reward in rewards.items():
        for number, row in enumerate(rows, start=1):
            if need := _unknown(row, reward):
                raise _refusal(source, number, name, need)


def _refusal(source: str, number: int, name: str, need: str) -> DataError:
    return DataError(
        f"row {number} of {source}: the reward {name!r} needs {need}; mend the row or leave it out"
    )


def _unsaid(row: PromptRow, choice: RewardChoice) -> str:
    """What a row should say and does not; empty if nothing is missing."""
    if choice.listens and not row.audio:
        return "'audio', the recording whose voice shall speak"
    if choice.kind in ("wer", "cer"):
        spaced = row.lang not in CHARACTER_LANGUAGES
        if not (words(row.text, row.lang) if spaced else characters(row.text, row.lang)):
            return f"'text', the words to be said, and finds none in {row.text!r}"
        if choice.kind == "wer" and not spaced:
            return f"kind 'cer', for {row.lang!r} is written without spaces between words"
    if choice.kind == "judge" and not row.label:
        return "'label', the label asked for"
    if choice.kind == "local_edit" and not any(stop > start for start, stop in row.segments):
        return "'segments', the stretches of the recording to be kept"
    return ""


def _unknown(row: PromptRow, reward: Reward) -> str:
    """What a row says and an instrument does not know; empty if it knows everything."""
    if isinstance(reward, MetricReward) and isinstance(reward.metric, WordErrors):
        recognizer = reward.metric.recognizer
        if not recognizer.understands(row.lang):
            return f"a language that {recognizer.model.name} knows as 'lang', not {row.lang!r}"
    if isinstance(reward, JudgeReward) and row.label not in reward.judge.labels:
        return f"one of {', '.join(map(repr, reward.judge.labels))} as 'label', not {row.label!r}"
    return ""
