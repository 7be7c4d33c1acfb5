"""Answers with ratings, the preferences that follow from them, and prompts to learn from.

A rating from 1 to 10 is given by how an answer came about, for no one else was there to give it:

- 10: the recording that was made as asked, by rule or by an actor;
- 1: the recording as it was, or made as something else was asked;
- an answer drawn from the model: 5.5, halfway, for nobody says how far it went; less by the words
  it loses (:class:`stepaudio.rl.content.ContentReward`), down to 1 where it keeps no more of them
  than another recording has by chance.

So the reward model hears no judge that the result is measured with, and nothing becomes sound.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recipes.nano.posttrain.material import Example
from stepaudio.data.preferences import PreferencePair, RatedAnswer, preference_pairs
from stepaudio.data.rows import edit_row
from stepaudio.interfaces import TextTokenizer
from stepaudio.lm.generate import collect
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.content import ContentReward
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.seeds import seeded
from stepaudio.tokenizers.interleave import interleave
from stepaudio.types import SamplingParams, SpeechTokens

__all__ = [
    "Question", "draw_answers", "prompt_line", "questions", "rated_answers", "some_of",
    "wanted_lengths",
]  # fmt: skip

_BATCH = 32
#: Answers of other labels beside each one that was asked for.
_OTHERS = 2
_MADE, _HALFWAY, _NOT_MADE = 10.0, 5.5, 1.0


@dataclass(frozen=True)
class Question:
    """A prompt and recordings that answer it well or badly.

    Attributes:
        row: the prompt, with what rewards must know.
        asked: ``[R]`` int64 the recording made as asked, without the end.
        others: the recording as it was, and as it was made for other labels.
    """

    row: PromptRow
    asked: Tensor
    others: tuple[Tensor, ...]


def wanted_lengths(examples: Sequence[Example]) -> dict[str, float]:
    """How long what is asked for is, relative to what was there.

    Args:
        examples: to learn from.

    Returns:
        The geometric mean by category, such as ``{"emotion:sad": 1.2}``.
    """
    logs: dict[str, list[float]] = defaultdict(list)
    for one in examples:
        logs[one.pair.category].append(math.log(one.after.num_units / one.before.num_units))
    return {category: math.exp(statistics.fmean(found)) for category, found in logs.items()}


def questions(
    chosen: Sequence[Example],
    examples: Sequence[Example],
    text: TextTokenizer,
    lengths: Mapping[str, float],
    offset: int,
) -> list[Question]:
    """Prompts with recordings that answer them.

    Args:
        chosen: one prompt each.
        examples: all that may be used, for the recordings of other labels.
        text: of the model.
        lengths: from :func:`wanted_lengths`.
        offset: of audio ids.

    Returns:
        One per example, in order.
    """
    of_source: dict[str, list[Example]] = defaultdict(list)
    for one in examples:
        of_source[one.pair.before].append(one)

    def ids(tokens: SpeechTokens) -> Tensor:
        return interleave(tokens, offset=offset)

    found = []
    for one in chosen:
        pair = one.pair
        others = [
            ids(other.after)
            for other in of_source[pair.before]
            if other.pair.category != pair.category
        ]
        row = PromptRow(
            torch.tensor(edit_row(text, pair, one.before, one.after).prompt),
            text=pair.text,
            lang=one.lang,
            audio=one.audio,
            speaker=pair.speaker,
            task=pair.edit.kind,
            label=pair.edit.label,
            length=round(lengths[pair.category], 4),
        )
        found.append(Question(row, ids(one.after), (ids(one.before), *others[:_OTHERS])))
    return found


def draw_answers(
    lm: Step1LM, prompts: Sequence[Tensor], sampling: SamplingParams, seed: str
) -> list[tuple[Tensor, bool]]:
    """One answer of a model to each prompt.

    Args:
        lm: the model.
        prompts: ``[T_i]`` int64 ids each.
        sampling: how to draw.
        seed: of the draws.

    Returns:
        ``[R_i]`` int64 ids each, without the end, and whether it ended by itself.
    """
    drawn: list[tuple[Tensor, bool]] = []
    for start in range(0, len(prompts), _BATCH):
        part = range(start, min(start + _BATCH, len(prompts)))
        generators = [seeded(0, f"{seed} {number}") for number in part]
        with torch.no_grad():
            steps = lm.generate([prompts[n] for n in part], sampling, generators=generators)
            streams, reasons = collect(steps)
        drawn += [(ids, why == "end") for ids, why in zip(streams, reasons, strict=True)]
    return drawn


def rated_answers(
    asked: Sequence[Question],
    drawn: Sequence[Sequence[Tensor]],
    content: ContentReward,
    end: int,
) -> list[RatedAnswer]:
    """All answers to all prompts.

    Args:
        asked: the prompts.
        drawn: answers of the model to each.
        content: hears how many words an answer keeps.
        end: id that ends an answer.

    Returns:
        Rated as the module says, on the scale of judges.
    """
    chance = statistics.fmean(_by_chance(asked, content)) if len(asked) > 1 else 0.0
    rated = []
    for question, own in zip(asked, drawn, strict=True):
        row, prompt = question.row, tuple(question.row.ids.tolist())

        def rate(ids: Tensor, rating: float, prompt: tuple[int, ...] = prompt) -> RatedAnswer:
            return RatedAnswer(prompt, (*ids.tolist(), end), rating, "judge")

        answers = [question.asked, *own]
        kept = content([row] * len(answers), answers).tolist()
        best = max(kept[0] - chance, 1e-3)
        rated.append(rate(question.asked, _MADE))
        rated += [rate(ids, _NOT_MADE) for ids in question.others]
        for ids, value in zip(own, kept[1:], strict=True):
            share = min(1.0, max(0.0, (value - chance) / best))
            rated.append(rate(ids, _NOT_MADE + (_HALFWAY - _NOT_MADE) * share))
    return rated


def some_of(
    answers: Sequence[RatedAnswer], margin: float, wanted: int, seed: int
) -> list[PreferencePair]:
    """Preferences, as many as are wanted, evenly over the prompts.

    Args:
        answers: from :func:`rated_answers`.
        margin: ratings differ by more than this.
        wanted: pairs at most.
        seed: of the choice.

    Returns:
        The pairs: one of every prompt before a second one of any.
    """
    pairs = preference_pairs(answers, thresholds={"judge": margin})
    order = torch.randperm(len(pairs), generator=seeded(seed, "preferences")).tolist()
    turns: dict[tuple[int, ...], int] = defaultdict(int)
    ranked = []
    for place in order:
        prompt = pairs[place].prompt
        ranked.append((turns[prompt], place))
        turns[prompt] += 1
    # Stable: within a turn in the drawn order.
    return [pairs[place] for _, place in sorted(ranked, key=lambda one: one[0])[:wanted]]


def prompt_line(row: PromptRow, difficulty: float | None = None) -> dict[str, object]:
    """A prompt as a line of a file; see :mod:`stepaudio.rl.prompt_rows`."""
    line: dict[str, object] = {
        "prompt": row.ids.tolist(), "text": row.text, "lang": row.lang, "audio": row.audio,
        "speaker": row.speaker, "task": row.task, "label": row.label, "length": row.length,
    }  # fmt: skip
    return line if difficulty is None else {**line, "difficulty": round(difficulty, 5)}


def _by_chance(asked: Sequence[Question], content: ContentReward) -> list[float]:
    """Content that the recording asked for by the next prompt has for this one."""
    rows = [question.row for question in asked]
    strangers = [asked[(n + 1) % len(asked)].asked for n in range(len(asked))]
    values: list[float] = content(rows, strangers).tolist()
    return values
