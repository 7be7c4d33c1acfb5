"""The stages in their order; each leaves files and is passed over where they are.

Rows come first, then every training, then what needs a trained reward model, then what is heard. A
run that was stopped goes on: rows are written once, trainings from their last checkpoint,
recordings and numbers one by one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recipes.nano.posttrain import inputs
from recipes.nano.posttrain.jobs import run_jobs
from recipes.nano.posttrain.listening import Trial, listen
from recipes.nano.posttrain.material import Example, read_examples, split
from recipes.nano.posttrain.plan import Plan
from recipes.nano.posttrain.row_files import write_answers, write_arms, write_prompts
from recipes.nano.posttrain.token_measures import measure_tokens
from recipes.nano.posttrain.trainings import (
    Folders,
    online_settings,
    packed_settings,
    run_training,
    write_settings,
)
from stepaudio.hub import read_json, weights_digest, write_atomic
from stepaudio.lm.step1 import Step1LM
from stepaudio.tokenizers.text import SentencePieceText

__all__ = ["POLICIES", "Experiment", "Ways", "arm_names"]

#: The model to start from and what the methods make of it.
POLICIES = ("sft", "dpo", "grpo", "ppo")
#: What is heard of the arms of the margin experiment, which are many.
_ARM_METRICS = ("words", "speaker", "prosody")

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
        given["weights"] = weights_digest(lm)
        del given["workers"]
        self._claim({"plan": asdict(plan), "given": given})

    def run(self) -> None:
        """Everything that is not there yet."""
        folders, plan, text = self.folders, self.plan, self.text
        self._stage("margins", lambda: write_arms(folders, plan, text, self._split()))
        self._stage("answers", lambda: write_answers(folders, plan, text, self.lm, self._split()))
        trained = packed_settings(folders, plan)
        # Those that others wait for are begun first.
        first = ("reward", "dpo", *arm_names(plan))
        self._train({name: trained[name] for name in first})
        self._stage("weights", lambda: write_prompts(folders, self.spec))
        self._train(online_settings(folders, plan, read_json(folders.out / "weights.json")))
        measured = {
            f"tokens {name}": partial(measure_tokens, name, folders, plan.sampling)
            for name in (*POLICIES, *arm_names(plan))
        }
        run_jobs(measured, self.ways.workers, self.times)
        run_jobs(self._trials(), self.ways.workers, self.times)

    def _stage(self, name: str, work: Callable[[], Mapping[str, Any]]) -> None:
        """Work whose last trace is a file of its name; nothing where that is there."""
        if not (self.folders.out / f"{name}.json").exists():
            self.say(name)
            run_jobs({name: lambda: self._write(f"{name}.json", work())}, 1, self.times)

    def _train(self, settings: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
        """Trainings at once."""
        jobs = {}
        for name, (stage, values) in settings.items():
            path = write_settings(self.folders.settings(name), values)
            if not self.folders.model(name).exists():
                jobs[name] = partial(run_training, stage, path)
        if jobs:
            self.say(f"training {', '.join(jobs)}")
            run_jobs(jobs, self.ways.workers, self.times)

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

    def _split(self) -> tuple[list[Example], list[Example]]:
        return split(read_examples(self.ways.features, self.spec.tokens, self.plan.longest))

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
