"""All numbers of the experiment as plain values, for the page and for whoever doubts them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.nano.posttrain.jobs import read_times
from recipes.nano.posttrain.plan import Plan
from recipes.nano.posttrain.speed import online_speed, packed_speed
from recipes.nano.posttrain.stages import POLICIES, arm_names
from recipes.nano.posttrain.token_measures import plain_interval
from recipes.nano.posttrain.trainings import Folders
from stepaudio.evaluation.bootstrap import mean_interval
from stepaudio.evaluation.report import environment
from stepaudio.hub import read_json
from stepaudio.rl.grpo import GRPOConfig
from stepaudio.rl.ppo import PPOConfig
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.rl.train_reward import pairwise_accuracy
from stepaudio.training.config import load_config
from stepaudio.training.metrics import read_metrics
from stepaudio.training.rows import pair_rows

__all__ = ["MEASURES", "compare", "gather", "pooled"]

Line = Mapping[str, Any]

#: What is compared between policies, by name: of a line of ``items.jsonl``, None where unknown.
MEASURES: Mapping[str, Callable[[Line], float | None]] = {
    "changed": lambda line: _share(line["outcome"]["changed"]),
    "joint": lambda line: _share(line["outcome"]["success"]),
    "wer": lambda line: line["values"].get("words.wer"),
    "similarity": lambda line: line["values"].get("speaker:resemblyzer.similarity"),
}
#: Columns of a round that are kept for the curves.
_CURVES = ("score", "kl", "length", "ended", "reward_preference", "reward_words", "reward_length")


def gather(folders: Folders, plan: Plan) -> dict[str, Any]:
    """Read what the stages left.

    Args:
        folders: of the experiment, finished.
        plan: its sizes.

    Returns:
        Everything the page tells.
    """
    out = folders.out
    arms = arm_names(plan)
    heard = {
        name: read_json(out / "heard" / name / "report.json")
        for name in (*POLICIES, "sft-fixed", "margin-sft", *(f"margin-{arm}" for arm in arms))
    }
    lines = {name: _lines(out / "heard" / name / "items.jsonl") for name in heard}
    scorer = TokenRewardModel.from_pretrained(folders.model("reward")).eval()
    unseen = list(pair_rows(folders.data("held_preferences"), scorer.spec))
    margin = {
        arm: pooled([lines[f"margin-{arm}-{seed}"] for seed in range(plan.seeds)], "iter1")
        for arm in ("large", "small", "both")
    }
    start = [lines["margin-sft"]]
    return {
        "environment": environment(),
        **read_json(out / "experiment.json"),
        "margins": read_json(out / "margins.json"),
        "preferences": read_json(out / "answers.json"),
        "weights": read_json(out / "weights.json"),
        "reward_accuracy": pairwise_accuracy(scorer, unseen),
        "trainings": {name: _packed(folders, name) for name in (*arms, "reward", "dpo")},
        "online": {name: _online(folders, name) for name in ("ppo", "grpo")},
        "tokens": {name: read_json(out / "tokens" / f"{name}.json") for name in (*POLICIES, *arms)},
        "heard": {name: _heard(report) for name, report in heard.items()},
        "judges": heard["sft"]["judges"],
        "missing": heard["sft"]["missing"],
        "margin_arms": {"sft": pooled(start, "iter1"), **margin},
        "margin_differences": {
            f"{one} over {other}": compare(
                [lines[f"margin-{one}-{seed}"] for seed in range(plan.seeds)],
                [lines[f"margin-{other}-{seed}"] for seed in range(plan.seeds)],
                "iter1",
            )
            for one, other in (("large", "small"), ("both", "large"))
        },
        "policy_differences": {
            name: {
                f"{group}, {step}": compare(
                    [_of(lines[name], group)], [_of(lines["sft"], group)], step
                )
                for group in ("near", "far")
                for step in ("iter1", "iter3")
            }
            for name in ("dpo", "grpo", "ppo", "sft-fixed")
        },
        "seconds": read_times(out / "times.jsonl"),
    }  # fmt: skip


def pooled(runs: Sequence[Sequence[Line]], step: str) -> dict[str, Any]:
    """Means over the items of several runs, with the mean of every run.

    Args:
        runs: lines of ``items.jsonl``, of one seed each.
        step: such as ``"iter1"``.

    Returns:
        By measure: the interval by speakers over all runs, and ``seeds``, the mean of each.
    """
    found = {}
    for name, measure in MEASURES.items():
        wanted = [[line for line in run if line["step"] == step] for run in runs]
        every = [line for run in wanted for line in run]
        interval = mean_interval([measure(x) for x in every], [x["speaker"] for x in every])
        each = [mean_interval([measure(x) for x in run], [""] * len(run)).value for run in wanted]
        rounded = [None if value is None else round(value, 4) for value in each]
        found[name] = {**plain_interval(interval), "seeds": rounded}
    return found


def compare(
    ones: Sequence[Sequence[Line]], others: Sequence[Sequence[Line]], step: str
) -> dict[str, Any]:
    """Differences row by row, seed by seed.

    Args:
        ones: runs, one per seed.
        others: as many, of the same rows.
        step: such as ``"iter1"``.

    Returns:
        By measure: the interval of the mean difference, by speakers.
    """
    found = {}
    for name, measure in MEASURES.items():
        values: list[float | None] = []
        speakers: list[str] = []
        for one, other in zip(ones, others, strict=True):
            before = {line["row"]: measure(line) for line in other if line["step"] == step}
            for line in one:
                if line["step"] == step:
                    now, then = measure(line), before.get(line["row"])
                    values.append(None if now is None or then is None else now - then)
                    speakers.append(line["speaker"])
        found[name] = plain_interval(mean_interval(values, speakers))
    return found


def _share(told: bool | None) -> float | None:
    return None if told is None else float(told)


def _of(lines: Sequence[Line], group: str) -> list[Line]:
    return [line for line in lines if line["set"] == group]


def _lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _packed(folders: Folders, name: str) -> dict[str, Any]:
    rows = read_metrics(folders.run(name) / "metrics.jsonl")
    shown = ("loss", "accuracy", "chosen_logp")
    last = {key: round(rows[-1][key], 4) for key in shown if key in rows[-1]}
    return {**packed_speed(folders.run(name)), "first_loss": round(rows[0]["loss"], 4), **last}


def _online(folders: Folders, name: str) -> dict[str, Any]:
    config = load_config(PPOConfig if name == "ppo" else GRPOConfig, folders.settings(name))
    steps = config.passes * config.minibatches
    rows = read_metrics(folders.run(name) / "metrics.jsonl")[::steps]
    speed = online_speed(folders.run(name), steps, config.prompts_per_round * config.group_size)
    return {**speed, "curves": {key: [round(row[key], 4) for row in rows] for key in _CURVES}}


def _heard(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"config": report["config"], "joint": report["joint"], "tasks": report["tasks"]}
