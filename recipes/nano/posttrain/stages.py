"""The stages in their order; each leaves files and is passed over where they are.

Rows come first, then every training, then what needs a trained reward model, then what is heard. A
run that was stopped goes on: rows are written once, trainings from their last checkpoint,
recordings and numbers one by one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from recipes.nano.posttrain import answers, inputs
from recipes.nano.posttrain.answers import Question
from recipes.nano.posttrain.jobs import run_jobs
from recipes.nano.posttrain.listening import Trial, listen
from recipes.nano.posttrain.material import (
    Example,
    arms,
    read_examples,
    shuffled,
    split,
    with_margins,
)
from recipes.nano.posttrain.plan import Plan
from recipes.nano.posttrain.token_measures import measure_tokens
from recipes.nano.posttrain.trainings import (
    Folders,
    online_settings,
    packed_settings,
    reward_choices,
    run_training,
    write_settings,
)
from stepaudio.data.manifest import read_jsonl, write_jsonl
from stepaudio.data.margin import MarginScorer
from stepaudio.data.preferences import survivors, write_preferences
from stepaudio.data.rows import edit_row, write_rows
from stepaudio.hub import read_json, write_atomic
from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.content import ContentReward
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.reward_choice import RewardChoice, build_rewards
from stepaudio.tokenizers.text import SentencePieceText

__all__ = ["POLICIES", "Experiment", "Ways", "arm_names"]

#: The model to start from and what the methods make of it.
POLICIES = ("sft", "dpo", "grpo", "ppo")
#: What is heard of the arms of the margin experiment, which are many.
_ARM_METRICS = ("words", "speaker", "prosody")
# Recordings listened to for each pair that an arm of the margin experiment keeps.
_POOL = 5
#: Importance of each reward, once it has been scaled to deviation 1.
_IMPORTANCE = {"preference": 1.0, "words": 1.0, "length": 0.5}
_THRESHOLDS = (2.0, 4.0, 6.0, 8.0)

Say = Callable[[str], None]


def arm_names(plan: Plan) -> list[str]:
    """Trainings of the margin experiment."""
    return [f"{arm}-{seed}" for arm in ("large", "small", "both") for seed in range(plan.seeds)]


@dataclass(frozen=True)
class Ways:
    """What the experiment is given.

    Attributes:
        features: folders to learn from.
        text: folder of the text tokenizer of the model.
        test: manifest of people never trained on.
        emotion_judge: folder of a classifier of acted speech.
        sets: of the manifest.
        workers: processes.
    """

    features: tuple[str, ...]
    text: Path
    test: str
    emotion_judge: str
    sets: tuple[str, ...] = inputs.SETS
    workers: int = 2


class Experiment:
    """All of it.

    Args:
        folders: where things are and go.
        ways: what is given.
        plan: sizes.
        say: told what is being done.

    Raises:
        ValueError: the folder holds an experiment of other sizes or another model.
    """

    def __init__(self, folders: Folders, ways: Ways, plan: Plan, say: Say = print) -> None:
        self.folders, self.ways, self.plan, self.say = folders, ways, plan, say
        lm = Step1LM.from_pretrained(folders.lm)
        self.lm, self.spec = lm, lm.spec
        self.text = SentencePieceText.from_pretrained(ways.text)
        self.times = folders.out / "times.jsonl"
        given = asdict(ways) | {"text": str(ways.text), "features": list(ways.features)}
        given |= {"sets": list(ways.sets), "lm": str(folders.lm), "pipeline": folders.pipeline}
        del given["workers"]
        self._claim({"plan": asdict(plan), "given": given})

    def run(self) -> None:
        """Everything that is not there yet."""
        folders, plan, workers = self.folders, self.plan, self.ways.workers
        self._stage("rows", "margins.json", self._rows)
        trained = packed_settings(folders, plan)
        self._train({name: trained[name] for name in arm_names(plan)}, self._answers)
        self._train({name: trained[name] for name in ("reward", "dpo")})
        self._stage("difficulties", "weights.json", self._prompts)
        self._train(online_settings(folders, plan, read_json(folders.out / "weights.json")))
        names = [*POLICIES, *arm_names(plan)]
        measured = {
            f"tokens {name}": partial(measure_tokens, name, folders, plan.sampling)
            for name in names
        }
        run_jobs(measured, workers, self.times)
        run_jobs(self._trials(), workers, self.times)

    def _stage(self, name: str, last: str, work: Callable[[], None]) -> None:
        """Work that runs here, unless the file it writes last is there."""
        if not (self.folders.out / last).exists():
            self.say(name)
            run_jobs({name: work}, 1, self.times)

    def _train(
        self,
        settings: Mapping[str, tuple[str, dict[str, Any]]],
        beside: Callable[[], None] | None = None,
    ) -> None:
        """Trainings at once, and work that needs none of them before."""
        if beside is not None:
            self._stage("answers", "survivors.json", beside)
        jobs = {}
        for name, (stage, values) in settings.items():
            path = write_settings(self.folders.settings(name), values)
            if not self.folders.model(name).exists():
                jobs[name] = partial(run_training, stage, path)
        if jobs:
            self.say(f"training {', '.join(jobs)}")
            run_jobs(jobs, self.ways.workers, self.times)

    def _rows(self) -> None:
        """Rows of the arms and of the held-out speakers, with their margins."""
        folders, plan = self.folders, self.plan
        learned, kept = self._examples()
        scorer = MarginScorer.embedded().eval()
        known = scorer.config.labels
        pool = [one for one in shuffled(learned, "margins") if one.pair.category in known]
        rated = with_margins(pool[: _POOL * plan.pairs], scorer)
        chosen = arms(rated, plan.pairs)
        asked = [one for one in shuffled(kept, "margins") if one.pair.category in known]
        halves = arms(with_margins(asked[: 4 * plan.held_out], scorer), 2 * plan.held_out)
        halves.pop("both")
        for name, examples in {**chosen, **{f"held_{n}": e for n, e in halves.items()}}.items():
            rows = [edit_row(self.text, one.pair, one.before, one.after) for one in examples]
            write_rows(folders.data(name), rows, force=True)
        self._write("margins.json", {
            "rated": len(rated),
            "speakers": len({one.pair.speaker for one in learned}),
            "held_out_speakers": len({one.pair.speaker for one in kept}),
            "arms": {name: _margins(examples) for name, examples in chosen.items()},
            "held_out": {name: _margins(examples) for name, examples in halves.items()},
        })  # fmt: skip

    def _answers(self) -> None:
        """Prompts, answers of the model to them, and preferences among all answers."""
        folders, plan = self.folders, self.plan
        learned, kept = self._examples()
        lengths = answers.wanted_lengths(learned)
        offset, end = self.spec.audio_offset, self.spec.end_ids[0]

        def ask(examples: list[Example], count: int, salt: str) -> list[Question]:
            chosen = shuffled(examples, salt)[:count]
            return answers.questions(chosen, examples, self.text, lengths, offset)

        asked = ask(learned, plan.prompts, "prompts")
        held = ask(kept, plan.held_out, "prompts")
        content = self._content()
        everyone = [question.row.ids for question in (*asked, *held)]
        turns = [
            answers.draw_answers(self.lm, everyone, plan.sampling, f"answers {turn}")
            for turn in range(plan.draws)
        ]
        drawn = list(zip(*turns, strict=True))
        # One that was cut off has no end that could be preferred.
        whole = [[ids for ids, ended in own if ended] for own in drawn]
        ours, theirs = whole[: len(asked)], whole[len(asked) :]
        rated = answers.rated_answers(asked, ours, content, end)
        pairs = answers.some_of(rated, plan.margin, plan.preferences, 0)
        write_preferences(folders.data("preferences"), pairs, force=True)
        unseen = answers.rated_answers(held, theirs, content, end)
        tests = answers.some_of(unseen, plan.margin, 2 * plan.held_out, 0)
        write_preferences(folders.data("held_preferences"), tests, force=True)
        write_jsonl(
            folders.data("drawn"),
            (
                {**answers.prompt_line(q.row), "answers": [(a.tolist(), e) for a, e in own]}
                for q, own in zip(asked, drawn, strict=False)
            ),
            force=True,
        )
        write_jsonl(
            folders.data("held_out"), (answers.prompt_line(q.row) for q in held), force=True
        )
        self._write("survivors.json", {
            "answers": len(rated),
            "ended": sum(map(len, ours)) / (plan.draws * len(asked)),
            "pairs": len(pairs),
            "held_out_pairs": len(tests),
            "survivors": survivors(rated, "judge", _THRESHOLDS),
            "lengths": {name: round(value, 4) for name, value in sorted(lengths.items())},
        })  # fmt: skip

    def _prompts(self) -> None:
        """How hard each prompt is for the model to start from, and what each reward weighs."""
        rows, replies, whole = [], [], []
        for _, line in read_jsonl(self.folders.data("drawn")):
            own, ids = line.pop("answers"), torch.tensor(line.pop("prompt"))
            rows += [PromptRow(ids, **line)] * len(own)
            replies += [torch.tensor(answer) for answer, _ in own]
            whole += [ended for _, ended in own]
        ones = dict.fromkeys(_IMPORTANCE, 1.0)
        choices = {n: RewardChoice(**c) for n, c in reward_choices(self.folders, ones).items()}
        rewards = build_rewards(choices, self.spec, pipeline=self.folders.pipeline, device="cpu")
        rewards(rows, replies)
        weights = {
            name: round(share / max(float(rewards.parts[name].std(correction=0)), 1e-3), 4)
            for name, share in _IMPORTANCE.items()
        }
        # As the guards will: an answer without an end costs one deviation.
        scores = torch.tensor(whole).float() - 1.0
        for name, weight in weights.items():
            scores = scores + weight * rewards.parts[name]
        found: dict[int, tuple[PromptRow, list[float]]] = {}
        for row, score in zip(rows, scores.tolist(), strict=True):
            found.setdefault(id(row), (row, []))[1].append(score)
        write_jsonl(
            self.folders.data("prompts"),
            (answers.prompt_line(row, -sum(own) / len(own)) for row, own in found.values()),
            force=True,
        )
        self._write("weights.json", weights)

    def _trials(self) -> dict[str, Callable[[], None]]:
        """Everything that is heard; the longest first, so that nobody idles at the end."""
        ways, folders = self.ways, self.folders
        recordings = inputs.usable(ways.test, ways.sets)
        rows = inputs.policy_rows(recordings, self.plan.clips, folders.out / "inputs")
        few = inputs.emotion_rows(recordings, self.plan.margin_clips)
        judges = {"emotion": f"folder:{ways.emotion_judge}", "style": "rules"}
        trials = [(Trial(policy, policy), rows) for policy in POLICIES]
        trials.append((Trial("sft-fixed", "sft", fixed_prompt=True), rows))
        arms_heard = ["sft", *arm_names(self.plan)]
        trials += [
            (Trial(f"margin-{name}", name, iterations=1, metrics=_ARM_METRICS), few)
            for name in arms_heard
        ]
        return {
            f"heard {trial.name}": partial(listen, trial, of, folders, ways.text, judges)
            for trial, of in trials
        }

    def _examples(self) -> tuple[list[Example], list[Example]]:
        return split(read_examples(self.ways.features, self.spec.tokens, self.plan.longest))

    def _content(self) -> ContentReward:
        built = build_rewards(
            {"words": RewardChoice("content")}, self.spec, pipeline=self.folders.pipeline
        )
        reward = built.rewards["words"]
        assert isinstance(reward, ContentReward)
        return reward

    def _claim(self, wanted: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(wanted))
        path = self.folders.out / "experiment.json"
        if path.exists():
            there = read_json(path)
            other = [k for k in ("plan", "given") if there.get(k) != wanted[k]]
            if other:
                raise ValueError(
                    f"{self.folders.out} holds an experiment with another {' and '.join(other)}; "
                    "name another folder, or repeat the old options to go on"
                )
        self._write("experiment.json", wanted)

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_atomic(
            self.folders.out / name, lambda p: p.write_text(text, encoding="utf-8"), force=True
        )


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
