"""What can be said of a policy without sound: on prompts of held-out speakers and texts.

The rewards among these numbers are what was trained for; they say whether the training worked, not
whether the edits are good.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recipes.nano.posttrain.trainings import Folders, reward_choices
from stepaudio.evaluation.bootstrap import Interval, mean_interval
from stepaudio.hub import read_json, write_atomic
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.divergence import kl_estimate
from stepaudio.rl.guards import length_ratios, source_ids
from stepaudio.rl.measures import unique_units
from stepaudio.rl.policy import LMPolicy
from stepaudio.rl.prompt_rows import PromptRow, prompt_rows
from stepaudio.rl.reward_choice import RewardChoice, build_rewards
from stepaudio.rl.rollout import Drawn, roll_out
from stepaudio.seeds import derive_seed
from stepaudio.tokenizers.interleave import deinterleave, to_text, truncate_ids
from stepaudio.training.language_model import AnswerLogProbs
from stepaudio.training.packing import pack
from stepaudio.training.rows import completion_rows
from stepaudio.types import LMSpec, SamplingParams

__all__ = ["HELD_OUT", "measure_tokens", "plain_interval", "surprise"]

#: Completions of held-out speakers, the half of larger and the half of smaller margins.
HELD_OUT = ("held_large", "held_small")
#: Answers whose tokens are shown, and units of each.
_SHOWN, _UNITS = 3, 4


def measure_tokens(name: str, folders: Folders, sampling: SamplingParams) -> None:
    """Measure one policy and write ``tokens/NAME.json``; nothing if it is there.

    Args:
        name: of the training; ``"sft"`` is the model to start from.
        folders: of the experiment, with a trained reward model.
        sampling: how to draw.
    """
    path = folders.out / "tokens" / f"{name}.json"
    if path.exists():
        return
    lm = Step1LM.from_pretrained(folders.model(name)).eval()
    policy = LMPolicy(lm, reference=Step1LM.from_pretrained(folders.lm))
    rows = list(prompt_rows(folders.data("held_out"), lm.spec))
    # The same draws for every policy, so that they differ in nothing but the policy.
    seeds = [derive_seed(0, f"held out {number}") for number in range(len(rows))]
    drawn = roll_out(policy, [row.ids for row in rows], sampling, seeds=seeds, draw_batch=64)
    found = {
        "policy": name,
        "numbers": _numbers(rows, drawn, folders, lm.spec),
        "surprise": {data: plain_interval(surprise(lm, folders.data(data))) for data in HELD_OUT},
        "examples": [
            _example(*pair, lm.spec) for pair in list(zip(rows, drawn, strict=True))[:_SHOWN]
        ],
    }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, lambda place: place.write_text(text, encoding="utf-8"))


@torch.no_grad()
def surprise(lm: Step1LM, data: Path) -> Interval:
    """Nats per token of the answers that are there.

    Args:
        lm: the model.
        data: prompts and completions.

    Returns:
        The mean over rows, each counting the same.
    """
    model = AnswerLogProbs(lm)
    values = [-float(model(pack([row])).mean()) for row in completion_rows(data, lm.spec)]
    return mean_interval(values, [""] * len(values))


def plain_interval(interval: Interval) -> dict[str, Any]:
    """An interval as plain values, rounded."""
    return {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in asdict(interval).items()
    }


def _numbers(
    rows: Sequence[PromptRow], drawn: Sequence[Drawn], folders: Folders, spec: LMSpec
) -> dict[str, Any]:
    weights = read_json(folders.out / "weights.json")
    choices = {n: RewardChoice(**c) for n, c in reward_choices(folders, weights).items()}
    rewards = build_rewards(choices, spec, pipeline=folders.pipeline, device="cpu")
    responses = [one.response for one in drawn]
    score = rewards(rows, responses)
    ratios = length_ratios([row.ids for row in rows], responses, spec)
    values: dict[str, list[float]] = {
        "score": score.tolist(),
        **{name: part.tolist() for name, part in rewards.parts.items()},
        "kl": [float(kl_estimate(one.log_probs, one.reference).sum()) for one in drawn],
        "length_over_wanted": [
            float(ratio) / row.length for ratio, row in zip(ratios, rows, strict=True)
        ],
        "ended": [float(one.ended) for one in drawn],
        "unique_units": [unique_units(response, spec) for response in responses],
    }
    speakers = [row.speaker for row in rows]
    return {
        name: plain_interval(mean_interval(numbers, speakers)) for name, numbers in values.items()
    }


def _example(row: PromptRow, drawn: Drawn, spec: LMSpec) -> dict[str, str]:
    def shown(ids: torch.Tensor) -> str:
        whole = truncate_ids(ids, spec.tokens)[: _UNITS * spec.tokens.unit_length]
        return to_text(deinterleave(whole, spec.tokens, spec.audio_offset))

    return {
        "edit": f"{row.task}:{row.label}",
        "text": row.text,
        "source": shown(source_ids(row.ids, spec)),
        "answer": shown(drawn.response),
    }
