"""The large-margin experiment on made-up numbers: who learns what, ratings, comparisons, words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.nano.posttrain.__main__ import find_model
from recipes.nano.posttrain.answers import Question, rated_answers, some_of, wanted_lengths
from recipes.nano.posttrain.jobs import read_times, run_jobs
from recipes.nano.posttrain.material import Example, arms, split
from recipes.nano.posttrain.page import short_names, verdict
from recipes.nano.posttrain.plan import REFERENCE, Plan
from recipes.nano.posttrain.result import compare, pooled
from recipes.nano.posttrain.speed import online_speed, packed_speed
from recipes.nano.posttrain.trainings import (
    Folders,
    online_settings,
    packed_settings,
    write_settings,
)
from stepaudio.data.pairs import EditPair
from stepaudio.edits import Edit
from stepaudio.rl.grpo import GRPOConfig
from stepaudio.rl.ppo import PPOConfig
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.train_reward import RewardConfig
from stepaudio.training.config import load_config
from stepaudio.training.sft import SFTConfig
from stepaudio.types import SpeechTokens, TokenSpec

SPEC = TokenSpec(3, 4)


def codes(units: int) -> SpeechTokens:
    return SpeechTokens(
        torch.zeros(2 * units, dtype=torch.int64), torch.zeros(3 * units, dtype=torch.int64), SPEC
    )


def example(
    name: str,
    *,
    speaker: str = "a",
    text: str = "hello",
    label: str = "happy",
    margin: float | None = None,
    units: int = 10,
    synthetic: bool = False,
) -> Example:
    pair = EditPair(Edit.emotion(label), f"0/{name}", f"0/{name}-x", text, speaker, margin)
    return Example(pair, codes(10), codes(units), "a.wav", "b.wav", "en", synthetic)


def test_a_plan_for_the_reference_is_the_plan_and_a_small_one_keeps_the_least() -> None:
    assert Plan.for_minutes(REFERENCE) == Plan()
    small = Plan.for_minutes(0.1, seeds=1)
    assert (small.pairs, small.clips, small.ppo_rounds, small.seeds) == (16, 1, 3, 1)
    # Settings that are no amounts stay.
    assert (small.margin, small.draws, small.online_rate) == (4.0, 2, Plan.online_rate)
    assert Plan.for_minutes(2 * REFERENCE).pairs == 2 * Plan.pairs
    with pytest.raises(ValueError, match="above 0"):
        Plan.for_minutes(0)


def test_held_out_are_whole_speakers_and_every_text_they_say() -> None:
    everyone = [
        example(f"{speaker}{n}", speaker=f"speaker {speaker}", text=f"Text {(speaker + n) % 40}.")
        for speaker in range(60)
        for n in range(2)
    ]
    learned, kept = split(everyone)
    assert learned
    assert kept
    assert not {one.pair.speaker for one in learned} & {one.pair.speaker for one in kept}
    assert not {one.pair.text for one in learned} & {one.pair.text for one in kept}
    # Case and punctuation make no other text.
    loud = replace(learned[0], pair=replace(learned[0].pair, text=kept[0].pair.text.upper()))
    assert loud not in split([*everyone, loud])[0]


def test_arms_differ_in_margin_alone() -> None:
    examples = [
        example(f"{label}{synthetic}{n}", label=label, synthetic=synthetic, margin=1.0 + n)
        for label in ("happy", "sad")
        for synthetic in (False, True)
        for n in range(6)
    ]
    found = arms([*examples, example("unrated")], 8)
    assert len(found["large"]) == len(found["small"]) == 8
    assert {one.margin for one in found["large"]} == {5.0, 6.0}
    assert {one.margin for one in found["small"]} == {1.0, 2.0}
    for arm in ("large", "small"):
        kinds = [(one.pair.edit.label, one.synthetic) for one in found[arm]]
        assert all(kinds.count(kind) == 2 for kind in set(kinds))
    assert found["both"] == found["large"] + found["small"]
    # Never the same pair in both sets, however many are wanted.
    all_of_it = arms(examples[:5], 100)
    assert not {one.pair.after for one in all_of_it["large"]} & {
        one.pair.after for one in all_of_it["small"]
    }


def test_wanted_lengths_are_geometric_means() -> None:
    lengths = wanted_lengths([example("a", units=5), example("b", units=20)])
    assert lengths == {"emotion:happy": pytest.approx(1.0)}
    assert wanted_lengths([example("a", units=12)])["emotion:happy"] == pytest.approx(1.2)


class Content:
    """The first id of an answer, in tenths; 0.2 for the answer to another prompt."""

    def __call__(self, rows: Sequence[PromptRow], responses: Sequence[torch.Tensor]) -> Any:
        return torch.tensor(
            [
                float(ids[0]) / 10 if int(ids[1]) == int(row.ids[0]) else 0.2
                for row, ids in zip(rows, responses, strict=True)
            ]
        )


def questions() -> list[Question]:
    return [
        Question(PromptRow(torch.tensor([n])), torch.tensor([7, n]), (torch.tensor([9, n, 9]),))
        for n in (20, 21)
    ]


def test_ratings_by_hand() -> None:
    drawn = [[torch.tensor([7, 20, 1]), torch.tensor([2, 20, 2])], []]
    answers = rated_answers(questions(), drawn, Content(), end=3)  # type: ignore[arg-type]
    assert [(one.prompt, one.completion, one.rating) for one in answers] == [
        ((20,), (7, 20, 3), 10.0),
        ((20,), (9, 20, 9, 3), 1.0),
        # As many words as the recording made as asked: halfway. As many as by chance: none.
        ((20,), (7, 20, 1, 3), pytest.approx(5.5)),
        ((20,), (2, 20, 2, 3), pytest.approx(1.0)),
        ((21,), (7, 21, 3), 10.0),
        ((21,), (9, 21, 9, 3), 1.0),
    ]
    pairs = some_of(answers, 4.0, 3, seed=0)
    # One pair of each prompt comes before a second one of any.
    assert {pair.prompt for pair in pairs[:2]} == {(20,), (21,)}
    assert len(pairs) == 3
    assert all(pair.margin > 4 for pair in pairs)


def test_settings_are_read_as_they_were_meant(tmp_path: Path) -> None:
    folders, plan = Folders(tmp_path, tmp_path / "lm", "pipe"), Plan(seeds=2)
    packed = packed_settings(folders, plan)
    assert len(packed) == 3 * 2 + 2
    read = {
        name: load_config(
            RewardConfig if stage == "reward" else SFTConfig,
            write_settings(folders.settings(name), v),
        )
        for name, (stage, v) in packed.items()
        if stage in ("sft", "reward")
    }
    large, both = read["large-1"], read["both-1"]
    assert isinstance(large, SFTConfig)
    assert isinstance(both, SFTConfig)
    # As many steps for the half as for the whole.
    assert (large.epochs, both.epochs, large.seed) == (2, 1, 1)
    assert large.data != both.data
    online = online_settings(folders, plan, {"preference": 2.0, "words": 3.0, "length": 0.5})
    ppo = load_config(PPOConfig, write_settings(folders.settings("ppo"), online["ppo"][1]))
    grpo = load_config(GRPOConfig, write_settings(folders.settings("grpo"), online["grpo"][1]))
    assert ppo.critic == str(folders.model("reward"))
    assert ppo.critic_steps == 20 < ppo.rounds * ppo.minibatches
    assert grpo.group_size == 8
    for config in (ppo, grpo):
        assert config.pipeline == "pipe"
        assert {n: (r.kind, r.weight) for n, r in config.rewards.items()} == {
            "preference": ("reward_model", 2.0), "words": ("content", 3.0),
            "length": ("duration", 0.5),
        }  # fmt: skip


def test_jobs_run_in_order_and_their_times_add_up(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        run_jobs({n: lambda n=n: said.append(n) for n in "ab"}, 1, tmp_path / "times.jsonl")
    assert said == ["a", "b", "a", "b"]
    assert len((tmp_path / "times.jsonl").read_text().splitlines()) == 4
    assert set(read_times(tmp_path / "times.jsonl")) == {"a", "b"}
    assert read_times(tmp_path / "none") == {}


def test_shares_of_the_time_by_hand(tmp_path: Path) -> None:
    # Two rounds of two steps; the first step of a round has drawn.
    rows = [
        {"step": n + 1, "seconds": 7.0 if n % 2 == 0 else 1.0, "draw_seconds": 5.0,
         "reward_seconds": 1.0, "length": 50.0, "weight": 100.0}
        for n in range(4)
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = online_speed(tmp_path, steps_per_round=2, answers_per_round=4)
    # 16 s: 10 of drawing, 2 of reward, 4 of updates.
    assert found["shares"] == {"drawing": 0.625, "reward": 0.125, "update": 0.25}
    assert found["drawn_tokens_per_second"] == 2 * 4 * 50 / 10
    assert found["learned_tokens_per_second"] == 400 / 4
    assert packed_speed(tmp_path)["learned_per_second"] == 400 / 16


def line(row: str, speaker: str, changed: bool | None, wer: float | None) -> dict[str, Any]:
    return {
        "row": row, "step": "iter1", "speaker": speaker, "set": "near",
        "outcome": {"changed": changed, "success": None}, "values": {"words.wer": wer},
    }  # fmt: skip


def test_runs_are_pooled_and_compared_row_by_row() -> None:
    first = [line("x", "a", True, 0.5), line("y", "b", False, None)]
    second = [line("x", "a", True, 0.3), line("y", "b", True, 0.1)]
    found = pooled([first, second], "iter1")
    assert found["changed"]["value"] == 0.75
    assert found["changed"]["seeds"] == [0.5, 1.0]
    assert found["wer"]["value"] == pytest.approx(0.3)
    assert found["joint"]["value"] is None
    difference = compare([second], [first], "iter1")
    assert difference["changed"]["value"] == 0.5
    # Only the row that has both.
    assert difference["wer"]["value"] == pytest.approx(-0.2)
    assert compare([second], [first], "iter2")["changed"]["n"] == 0


def test_a_verdict_needs_an_interval_without_zero() -> None:
    def said(low: float | None, high: float | None, more: bool) -> str:
        value = 0.5 * ((low or 0.0) + (high or 0.0))
        return verdict({"value": value, "low": low, "high": high}, more_is_better=more)

    assert said(0.1, 0.3, True) == said(-0.3, -0.1, False) == "better"
    assert said(0.1, 0.3, False) == said(-0.3, -0.1, True) == "worse"
    assert said(-0.1, 0.3, True) == said(0.0, 0.3, True) == said(None, None, True)


def test_longer_paths_are_named_before_those_they_lie_in() -> None:
    given = {
        "test": "/a/test.jsonl", "emotion_judge": "/a/judge", "features": ["/a/f", "/a/f2"],
        "lm": "/a/model/lm", "text": "/a/model/text", "pipeline": "/a/model",
    }  # fmt: skip
    names = short_names("/a", given)
    text = "/a/runs /a/f2 /a/f /a/model/lm /a/model /a/judge"
    for path, name in names.items():
        text = text.replace(path, name)
    assert text == "OUT/runs FEATURES2 FEATURES1 LM PIPELINE JUDGE"


def test_a_model_is_found_in_three_kinds_of_folders(tmp_path: Path) -> None:
    whole, training, alone = (tmp_path / name for name in ("whole", "training", "alone"))
    for file in (whole / "pipeline.json", training / "model/config.json", alone / "config.json"):
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    assert find_model(str(whole), None) == (whole / "lm", whole / "text", str(whole))
    assert find_model(str(whole), "other")[2] == "other"
    assert find_model(str(training), "p") == (training / "model", training / "text", "p")
    assert find_model(str(alone), str(whole)) == (alone, whole / "text", str(whole))
    with pytest.raises(ValueError, match="no language model"):
        find_model(str(tmp_path), None)


def test_no_margin_is_not_a_number() -> None:
    assert math.isnan(example("a").margin)
