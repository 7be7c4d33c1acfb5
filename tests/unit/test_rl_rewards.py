from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from debug_parts import debug_parts, speech
from fakes import FakeRewardModel

from stepaudio.errors import ConfigError, DataError, TrainingError
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.pipeline_base import Pipeline
from stepaudio.rl.audio_rewards import JudgeReward, MetricReward, Renderer, word_reward
from stepaudio.rl.guards import GuardConfig, guard_penalties, length_ratios, source_ids
from stepaudio.rl.local_edits import (
    LocalEditReward,
    LocalEditScores,
    as_units,
    length_agreement,
    preserved_order,
    preserved_similarity,
    source_share,
)
from stepaudio.rl.measures import unique_units
from stepaudio.rl.prompt_rows import PromptRow, hardest_first, prompt_rows
from stepaudio.rl.reward_choice import RewardChoice, build_rewards
from stepaudio.rl.rewards import DurationReward, ModelReward, WeightedRewards
from stepaudio.types import LMSpec, TokenSpec

#: Ids 0..9 text with the end at 3, 10..12 linguistic, 13..16 semantic.
SPEC = LMSpec(20, 10, TokenSpec(3, 4), (3,), 100)
A, B, C, D = [10, 11, 13, 14, 15], [12, 12, 16, 16, 16], [11, 10, 13, 13, 13], [10, 10, 14, 14, 14]


def ids(*parts: list[int]) -> torch.Tensor:
    return torch.tensor([i for part in parts for i in part], dtype=torch.int64)


def test_the_recording_in_a_prompt_is_its_last_run_of_audio() -> None:
    prompt = ids([1], A, [2, 4], B, C, [5])
    assert source_ids(prompt, SPEC).tolist() == B + C
    assert source_ids(ids(A), SPEC).tolist() == A
    assert len(source_ids(ids([1, 2]), SPEC)) == 0
    ratios = length_ratios([prompt, ids([1, 2])], [ids(A), ids(A)], SPEC)
    assert ratios[0] == 0.5
    assert ratios[1].isnan()


def test_guards_by_hand() -> None:
    config = GuardConfig(missing_end=2.0, length=10.0, shortest=0.5, longest=2.0)
    ratios = torch.tensor([1.0, 4.0, 0.25, 2.0, float("nan"), 0.0])
    ended = torch.tensor([True, True, True, False, False, True])
    twice = 10 * math.log(2)
    expected = [0.0, twice, twice, 2.0, 2.0, 10 * math.log(500)]
    torch.testing.assert_close(guard_penalties(ratios, ended, config), torch.tensor(expected))
    with pytest.raises(ConfigError, match="shortest"):
        GuardConfig(shortest=3.0)


def test_duration() -> None:
    rows = [PromptRow(ids([1], A, B)), PromptRow(ids([1], A, B), length=0.5), PromptRow(ids([1]))]
    found = DurationReward(SPEC, tolerance=0.5)(rows, [ids(A, B), ids(A, B), ids(A)])
    torch.testing.assert_close(found, torch.tensor([1.0, 0.25, 0.0]))


def test_local_edit_numbers_by_hand() -> None:
    source, answer = as_units(ids(A, B, C, D), SPEC), as_units(ids(A, B, D, [12]), SPEC)
    assert [list(unit) for unit in answer] == [A, B, D]
    # Kept: A B, then C D, of which C is gone.
    segments = [(0, 2), (2, 4)]
    assert preserved_similarity(source, answer, segments) == 0.75
    assert preserved_similarity(source, source, segments) == 1.0
    assert preserved_similarity(source, [], segments) == 0.0
    assert preserved_similarity(source, answer, []) == 1.0
    # A stretch is found after what was put in before it, but not after too much.
    x = (12, 10, 16, 15, 16)
    assert preserved_similarity(source, [x] * 30 + source, [(0, 4)]) == 1.0
    assert preserved_similarity(source, [x] * 31 + source, [(0, 4)]) == 0.75
    assert source_share(source, [*answer, x]) == 0.75
    assert source_share(source, []) == 0.0
    assert preserved_order(source, answer, segments) == 0.5
    assert preserved_order(source, [source[2], source[0]], segments) == 0.5
    assert preserved_order(source, [source[0], source[2]], segments) == 1.0
    assert length_agreement(4, 4.0) == 1.0
    assert length_agreement(5, 4.0) == pytest.approx(math.exp(-2.5))
    row = PromptRow(ids([1], A, B, C, D), segments=((0, 2), (2, 4)))
    found = LocalEditReward(SPEC)([row, row], [ids(A, B, D), ids(A, B, C, D)])
    expected = [0.75 + 1.0 + 0.5 + math.exp(-2.5), 4.0]
    torch.testing.assert_close(found, torch.tensor(expected))
    # Out of nine units, only two could ever be found.
    for judged in (preserved_similarity, preserved_order):
        with pytest.raises(DataError, match="reach to unit 9, but"):
            judged(source, source, [(0, 9)])
    only = LocalEditReward(SPEC, LocalEditScores(0.0, 2.0, 0.0, 0.0))
    assert only([row, PromptRow(ids([1]))], [ids(A, B, D), ids(A)]).tolist() == [2.0, 0.0]


def test_a_sum_remembers_its_parts() -> None:
    rows, responses = [PromptRow(torch.tensor([4]))] * 3, [torch.tensor([i]) for i in (1, 2, 3)]
    model = ModelReward(FakeRewardModel(), micro_batch=2)

    def ones(prompts: Sequence[PromptRow], responses: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.ones(len(responses))

    both = WeightedRewards({"model": model, "ones": ones}, {"model": 2.0, "ones": -1.0})
    assert both(rows, responses).tolist() == [1.0, 3.0, 5.0]
    assert both.parts["model"].tolist() == [1.0, 2.0, 3.0]
    short = WeightedRewards({"ones": ones, "short": lambda prompts, responses: torch.ones(2)})
    with pytest.raises(TrainingError, match=r"'short' returned a Tensor of shape \[2\] for 3"):
        short(rows, responses)
    with pytest.raises(ValueError, match="same names"):
        WeightedRewards({"ones": ones}, {})


def test_hardest_first() -> None:
    assert hardest_first([0.0, 3.0, -1.0, 3.0]) == [1, 3, 0, 2]
    assert hardest_first([0.0, 3.0, -1.0, 3.0], share=0.3) == [1, 3]
    with pytest.raises(ValueError, match="share"):
        hardest_first([0.0], share=0.0)
    with pytest.raises(ValueError, match="finite"):
        hardest_first([float("nan")])


def test_variety() -> None:
    assert unique_units(ids(A, B, A, A, [10]), SPEC) == 0.5
    assert unique_units(ids([10]), SPEC) == 1.0


def test_rows_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    row = {
        "prompt": [1, *A, *B], "audio": "a.wav", "segments": [[0, 2]], "length": 2, "more": None,
    }  # fmt: skip
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"prompt": [3], "difficulty": 0.5}))
    first, second = prompt_rows(path, SPEC)
    assert (first.audio, first.segments, first.length) == (str(tmp_path / "a.wav"), ((0, 2),), 2)
    assert (second.difficulty, second.audio, second.ids.tolist()) == (0.5, "", [3])
    for wrong, said in (
        ({"prompt": []}, "prompt"),
        ({"prompt": [1], "text": 3}, "text"),
        ({"prompt": [1], "segments": [[2, 1]]}, "in order"),
        ({"prompt": [1], "segments": [1]}, "segments"),
        ({"prompt": [1], "length": 0}, "length"),
        ({"prompt": [1], "difficulty": math.nan}, "difficulty is nan"),
        ({"prompt": [1, *A, *B], "segments": [[0, 1], [5, 7]]}, "unit 7, .* has only 2"),
        ({"prompt": [1], "segments": [[0, 1]]}, "has only 0"),
        ({"prompt": [1] * 100}, "no room"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=f"line 1: .*{said}"):
            prompt_rows(path, SPEC)


def test_choices() -> None:
    chosen = {"a": RewardChoice("duration", weight=2.0), "b": RewardChoice("local_edit")}
    built = build_rewards(chosen, SPEC)
    row = PromptRow(ids([1], A, B))
    assert built([row], [ids(A, B)]).tolist() == [6.0]
    with pytest.raises(ConfigError, match="no reward"):
        build_rewards({}, SPEC)
    with pytest.raises(ConfigError, match="needs a folder"):
        RewardChoice("judge")
    with pytest.raises(ConfigError, match="no use"):
        RewardChoice("wer", folder="x")


class Listener:
    """A metric, a recogniser and a judge that tell what they were given."""

    name, labels, model = "listener", ("happy", "sad"), ModelId("listener", "1")
    calls = 0

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        self.calls += 1
        return [{"seconds": sample.audio.seconds} for sample in samples]

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        return [Verdict("sad", {"happy": 0.25, "sad": 0.75}) for _ in samples]

    def understands(self, lang: str) -> bool:
        return True

    def transcribe(self, audios: Sequence[object], lang: str) -> list[str]:
        return ["see you tomorrow"] * len(audios)


def test_rewards_that_listen(tmp_path: Path) -> None:
    parts = debug_parts()
    voice = tmp_path / "voice.wav"
    speech().save(voice)
    spec = parts.lm.spec
    unit = [spec.audio_offset + i for i in (0, 1, 12, 13, 14)]
    rows = [
        PromptRow(ids([4]), audio=str(voice), text="see you all", label=label)
        for label in ("happy", "sad", "sad")
    ]
    responses = [ids(unit), ids(unit, unit, [unit[0]]), ids(unit[:2])]
    render = Renderer(Pipeline(parts))
    ears = Listener()
    lengths = MetricReward(render, ears, "seconds", missing=-1.0)
    torch.testing.assert_close(lengths(rows, responses), torch.tensor([0.12, 0.24, -1.0]))
    assert JudgeReward(render, ears)(rows, responses).tolist() == [0.25, 0.75, 0.0]
    # One sound for all rewards, and the same sound for the same answer in another batch.
    first = render(rows, responses)
    for one, other in zip(render(rows, responses), first, strict=True):
        assert (one and one.audio) is (other and other.audio)
    again = render(rows[:1], responses[:1])[0]
    assert again is not None
    assert first[0] is not None
    torch.testing.assert_close(again.audio.samples, first[0].audio.samples, atol=1e-5, rtol=0)
    # What else is known of a recording is that of the row asked about, not of the one before.
    asked = render([replace(row, text="good bye", lang="zh") for row in rows], responses)
    assert asked[1] is not None
    assert first[1] is not None
    assert (asked[1].text, asked[1].lang, asked[1].label) == ("good bye", "zh", "sad")
    assert asked[1].source is first[1].source
    pytest.importorskip("jiwer")
    words = word_reward(render, ears)(rows, responses)
    torch.testing.assert_close(words, torch.tensor([2 / 3, 2 / 3, 0.0]))
    with pytest.raises(ValueError, match="neither"):
        word_reward(render, ears, unit="per")


def test_the_voices_used_last_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepaudio.rl.audio_rewards._VOICES", 2)
    parts = debug_parts()
    unit = ids([parts.lm.spec.audio_offset + i for i in (0, 1, 12, 13, 14)])
    pipeline = Pipeline(parts)
    made: list[object] = []
    make = pipeline.voice_prompt
    monkeypatch.setattr(pipeline, "voice_prompt", lambda audio: made.append(audio) or make(audio))
    rows = []
    for seed in range(3):
        speech(seed=seed).save(tmp_path / f"{seed}.wav")
        rows.append(PromptRow(ids([4]), audio=str(tmp_path / f"{seed}.wav")))
    render = Renderer(pipeline)
    for number in (0, 1, 0, 2, 0):
        render([rows[number]], [unit])
    assert len(made) == 3
    assert len(render._voices) == 2
    # 1 was used before 0 and had to go; a batch of more voices than that is spoken all the same.
    assert None not in render([rows[0], *rows], [unit] * 4)
    assert len(made) == 5
    assert len(render._voices) == 2


def test_what_makes_the_sound_is_moved() -> None:
    parts = debug_parts()
    render, ears = Renderer(Pipeline(parts)), Listener()
    both = WeightedRewards(
        {"seconds": MetricReward(render, ears, "seconds"), "judge": JudgeReward(render, ears)}
    )
    both.to(torch.device("meta"))
    for part in (parts.tokenizer, parts.speaker, parts.flow, parts.vocoder):
        assert isinstance(part, torch.nn.Module)
        assert {weight.device.type for weight in part.parameters()} == {"meta"}
    # The language model is not used, and may be large.
    assert isinstance(parts.lm, torch.nn.Module)
    assert next(parts.lm.parameters()).device.type == "cpu"
