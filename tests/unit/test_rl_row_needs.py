"""Rows that lack what a reward reads are refused before the first draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from debug_parts import debug_parts

from stepaudio.errors import DataError
from stepaudio.evaluation.classifier_judge import ClassifierJudge
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.parts import save_parts
from stepaudio.pipeline_base import Pipeline
from stepaudio.rl.from_settings import grpo_from_settings
from stepaudio.rl.grpo import GRPOConfig, GRPOStage
from stepaudio.rl.reward_choice import RewardChoice


class Ears:
    """A recogniser of English and a judge of two labels, which never listen."""

    labels, model = ("happy", "sad"), ModelId("ears", "1")

    def understands(self, lang: str) -> bool:
        return lang == "en"

    def transcribe(self, audios: Sequence[object], lang: str) -> list[str]:
        raise AssertionError

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        raise AssertionError


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_parts(debug_parts(), tmp_path_factory.mktemp("pipeline") / "debug")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The devices that pipelines are loaded to; instruments are fakes."""
    devices: list[Any] = []
    load = Pipeline.from_pretrained

    def spy(name: str, *, device: Any) -> Pipeline:
        devices.append(device)
        return load(name, device=device)

    monkeypatch.setattr(Pipeline, "from_pretrained", spy)
    monkeypatch.setattr("stepaudio.evaluation.words.WhisperRecognizer", Ears)
    monkeypatch.setattr("stepaudio.evaluation.words.need", lambda *names: None)
    monkeypatch.setattr(ClassifierJudge, "from_pretrained", lambda folder: Ears())
    return devices


def stage(folder: Path, pipeline: Path, kind: Any, **row: Any) -> GRPOStage:
    """The second of two rows is the one given."""
    offset = debug_offset(pipeline)
    recording = [offset + i for i in (0, 1, 12, 13, 14)] * 2
    good = {"audio": "a.wav", "text": "see you", "label": "sad", "segments": [[0, 2]]}
    rows = [{"prompt": [4, *recording], **good}, {"prompt": [5, *recording], **good, **row}]
    (folder / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    choice = RewardChoice(kind, folder="judge" if kind == "judge" else "")
    config = GRPOConfig(
        output=str(folder / "run"), data=str(folder / "p.jsonl"), model=str(pipeline),
        pipeline=str(pipeline), rewards={"mine": choice},
    )  # fmt: skip
    return grpo_from_settings(config)


def debug_offset(pipeline: Path) -> int:
    offset = json.loads((pipeline / "lm" / "config.json").read_text())["audio_offset"]
    assert isinstance(offset, int)
    return offset


@pytest.mark.parametrize(("kind", "row", "said"), [
    ("speaker", {"audio": ""}, "'audio'"),
    ("wer", {"text": ""}, "'text', .* none in ''"),
    ("cer", {"text": "[laughter] ..."}, "'text', .* none in '.laughter"),
    ("wer", {"lang": "zh", "text": "你好"}, "kind 'cer', for 'zh'"),
    ("judge", {"label": ""}, "'label'"),
    ("local_edit", {"segments": []}, "'segments'"),
    ("local_edit", {"segments": [[1, 1]]}, "'segments'"),
])  # fmt: skip
def test_what_a_row_does_not_say(
    kind: str, row: dict[str, Any], said: str, pipeline: Path, tmp_path: Path, loaded: list[Any]
) -> None:
    with pytest.raises(DataError, match=rf"^row 2 of .*p\.jsonl: the reward 'mine' needs {said}"):
        stage(tmp_path, pipeline, kind, **row)
    assert not loaded


@pytest.mark.parametrize(("kind", "row", "said"), [
    ("wer", {"lang": "fr"}, "a language that ears knows .*'fr'"),
    ("cer", {"lang": "zh", "text": "你好"}, "a language that ears knows .*'zh'"),
    ("judge", {"label": "hapy"}, "one of 'happy', 'sad' .*'hapy'"),
])  # fmt: skip
def test_what_an_instrument_does_not_know(
    kind: str, row: dict[str, Any], said: str, pipeline: Path, tmp_path: Path, loaded: list[Any]
) -> None:
    with pytest.raises(DataError, match=rf"^row 2 of .*p\.jsonl: the reward 'mine' needs {said}"):
        stage(tmp_path, pipeline, kind, **row)


@pytest.mark.parametrize("kind", ["wer", "cer", "judge", "local_edit", "duration"])
def test_good_rows_are_taken(kind: str, pipeline: Path, tmp_path: Path, loaded: list[Any]) -> None:
    made = stage(tmp_path, pipeline, kind)
    assert len(made.rows) == 2
    # Not yet to an accelerator: with several processes, all would take the first one.
    assert loaded == ["cpu"] * (kind in ("wer", "cer", "judge"))
