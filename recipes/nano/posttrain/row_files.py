"""Files of rows for all trainings, and what is known of them before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from recipes.nano.posttrain import answers
from recipes.nano.posttrain.answers import Question
from recipes.nano.posttrain.material import Example, arms, shuffled, with_margins
from recipes.nano.posttrain.plan import Plan
from recipes.nano.posttrain.trainings import Folders, reward_choices
from stepaudio.data.manifest import read_jsonl, write_jsonl
from stepaudio.data.margin import MarginScorer
from stepaudio.data.preferences import survivors, write_preferences
from stepaudio.data.rows import edit_row, write_rows
from stepaudio.interfaces import TextTokenizer
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.content import ContentReward
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.reward_choice import RewardChoice, build_rewards
from stepaudio.types import LMSpec

__all__ = ["write_answers", "write_arms", "write_prompts"]

# Recordings listened to for each pair that an arm of the margin experiment keeps.
_POOL = 5
#: Importance of each reward, once it has been scaled to deviation 1.
_IMPORTANCE = {"preference": 1.0, "words": 1.0, "length": 0.5}
_THRESHOLDS = (2.0, 4.0, 6.0, 8.0)
# Two answers that differ by less are the same to a reward.
_EQUAL = 1e-3


def write_arms(
    folders: Folders, plan: Plan, text: TextTokenizer, split: tuple[list[Example], list[Example]]
) -> dict[str, Any]:
    """Rows of the arms of the margin experiment and of held-out speakers, chosen by margin.

    Args:
        folders: of the experiment.
        plan: sizes.
        text: of the model.
        split: whom to learn from, and who is held out.

    Returns:
        What the margins are.
    """
    learned, kept = split
    scorer = MarginScorer.embedded().eval()

    def rated(examples: list[Example], most: int) -> list[Example]:
        known = [one for one in examples if one.pair.category in scorer.config.labels]
        return with_margins(shuffled(known, "margins")[:most], scorer)

    pool = rated(learned, _POOL * plan.pairs)
    chosen = arms(pool, plan.pairs)
    halves = arms(rated(kept, 4 * plan.held_out), 2 * plan.held_out)
    del halves["both"]
    for name, examples in {**chosen, **{f"held_{n}": e for n, e in halves.items()}}.items():
        rows = [edit_row(text, one.pair, one.before, one.after) for one in examples]
        write_rows(folders.data(name), rows, force=True)
    return {
        "rated": len(pool),
        "speakers": len({one.pair.speaker for one in learned}),
        "held_out_speakers": len({one.pair.speaker for one in kept}),
        "arms": {name: _margins(examples) for name, examples in chosen.items()},
        "held_out": {name: _margins(examples) for name, examples in halves.items()},
    }


def write_answers(
    folders: Folders,
    plan: Plan,
    text: TextTokenizer,
    lm: Step1LM,
    split: tuple[list[Example], list[Example]],
) -> dict[str, Any]:
    """Prompts, answers of the model to them, and preferences among all answers.

    Args:
        folders: of the experiment.
        plan: sizes.
        text: of the model.
        lm: the model to start from.
        split: whom to learn from, and who is held out.

    Returns:
        How many pairs there are, and how many other thresholds would leave.
    """
    learned, kept = split
    lengths = answers.wanted_lengths(learned)
    spec = lm.spec

    def ask(examples: list[Example], count: int) -> list[Question]:
        chosen = shuffled(examples, "prompts")[:count]
        return answers.questions(chosen, examples, text, lengths, spec.audio_offset)

    asked, held = ask(learned, plan.prompts), ask(kept, plan.held_out)
    everyone = [question.row.ids for question in (*asked, *held)]
    turns = [
        answers.draw_answers(lm, everyone, plan.sampling, f"answers {turn}")
        for turn in range(plan.draws)
    ]
    drawn = list(zip(*turns, strict=True))
    # One that was cut off has no end that could be preferred.
    whole = [[ids for ids, ended in own if ended] for own in drawn]
    content, end = _content(spec, folders.pipeline), spec.end_ids[0]
    rated = answers.rated_answers(asked, whole[: len(asked)], content, end)
    pairs = answers.some_of(rated, plan.margin, plan.preferences, 0)
    write_preferences(folders.data("preferences"), pairs, force=True)
    unseen = answers.rated_answers(held, whole[len(asked) :], content, end)
    tests = answers.some_of(unseen, plan.margin, 2 * plan.held_out, 0)
    write_preferences(folders.data("held_preferences"), tests, force=True)
    lines = [
        {**answers.prompt_line(q.row), "answers": [(ids.tolist(), ended) for ids, ended in own]}
        for q, own in zip(asked, drawn[: len(asked)], strict=True)
    ]
    write_jsonl(folders.data("drawn"), lines, force=True)
    write_jsonl(folders.data("held_out"), [answers.prompt_line(q.row) for q in held], force=True)
    return {
        "answers": len(rated),
        "ended": sum(map(len, whole)) / (plan.draws * len(whole)),
        "pairs": len(pairs),
        "held_out_pairs": len(tests),
        "survivors": survivors(rated, "judge", _THRESHOLDS),
        "lengths": {name: round(value, 4) for name, value in sorted(lengths.items())},
    }


def write_prompts(folders: Folders, spec: LMSpec) -> dict[str, float]:
    """Prompts with how hard each is for the model to start from.

    Args:
        folders: of the experiment, with answers and a trained reward model.
        spec: of the model.

    Returns:
        What each reward weighs: its importance over its deviation among those answers.
    """
    rows, replies, whole = [], [], []
    for _, line in read_jsonl(folders.data("drawn")):
        own, ids = line.pop("answers"), torch.tensor(line.pop("prompt"))
        rows += [PromptRow(ids, **line)] * len(own)
        replies += [torch.tensor(answer) for answer, _ in own]
        whole += [ended for _, ended in own]
    ones = dict.fromkeys(_IMPORTANCE, 1.0)
    choices = {n: RewardChoice(**c) for n, c in reward_choices(folders, ones).items()}
    rewards = build_rewards(choices, spec, pipeline=folders.pipeline, device="cpu")
    rewards(rows, replies)
    weights = {
        name: round(share / max(float(rewards.parts[name].std(correction=0)), _EQUAL), 4)
        for name, share in _IMPORTANCE.items()
    }
    # As the guards will: an answer without an end costs one deviation.
    scores = torch.tensor(whole).float() - 1.0
    for name, weight in weights.items():
        scores = scores + weight * rewards.parts[name]
    found: dict[int, tuple[PromptRow, list[float]]] = {}
    for row, score in zip(rows, scores.tolist(), strict=True):
        found.setdefault(id(row), (row, []))[1].append(score)
    lines = [answers.prompt_line(row, -sum(own) / len(own)) for row, own in found.values()]
    write_jsonl(folders.data("prompts"), lines, force=True)
    return weights


def _content(spec: LMSpec, pipeline: str | None) -> ContentReward:
    choice: Mapping[str, RewardChoice] = {"words": RewardChoice("content")}
    reward = build_rewards(choice, spec, pipeline=pipeline, device="cpu").rewards["words"]
    assert isinstance(reward, ContentReward)
    return reward


def _margins(examples: list[Example]) -> dict[str, Any]:
    """How many, how large, and how many reach the paper's floor of 6."""
    margins = sorted(one.margin for one in examples if not math.isnan(one.margin))
    middle = margins[len(margins) // 2] if margins else None
    return {
        "pairs": len(examples),
        "synthetic": sum(one.synthetic for one in examples),
        "lowest": margins[0] if margins else None,
        "median": middle,
        "highest": margins[-1] if margins else None,
        "at_least_6": sum(margin >= 6 for margin in margins),
    }
