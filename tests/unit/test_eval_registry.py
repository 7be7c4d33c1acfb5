"""Metrics and judges by name; what is missing is told, never left out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from eval_fakes import YesJudge

from stepaudio.errors import CheckpointError, EvaluationError, JudgeError
from stepaudio.evaluation.contracts import Metric
from stepaudio.evaluation.llm_judge import LLMJudge
from stepaudio.evaluation.registry import (
    METRICS,
    JudgeSettings,
    MetricSettings,
    load_judges,
    load_metrics,
)

JUDGE = YesJudge(("happy",))


def make_judge() -> YesJudge:
    return JUDGE


NOT_A_JUDGE = dict


def test_metrics_that_need_nothing_are_there() -> None:
    found, missing = load_metrics(["prosody", "silence", "prosody"], MetricSettings())
    assert [one.metric.name for one in found] == ["prosody", "silence"]
    assert all(isinstance(one.metric, Metric) for one in found)
    assert not missing


def test_missing_packages_are_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("faster_whisper", "jiwer", "resemblyzer", "speechmos", "distillmos"):
        for name in [m for m in sys.modules if m.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
    found, missing = load_metrics(["words", "speaker", "dnsmos", "distillmos"], MetricSettings())
    assert not found
    assert set(missing) == {"words", "speaker", "dnsmos", "distillmos"}
    assert all("pip install 'stepaudio[eval]'" in reason for reason in missing.values())


def test_a_model_that_cannot_be_fetched_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: MetricSettings) -> Metric:
        raise OSError("no network\nat all")

    entry = METRICS["prosody"]
    monkeypatch.setitem(METRICS, "prosody", type(entry)(build))  # type: ignore[arg-type]
    assert load_metrics(["prosody"], MetricSettings()) == ([], {"prosody": "no network at all"})


def test_similarities_are_to_the_voice_and_of_a_whole_set() -> None:
    for name in ("speaker", "own-speaker"):
        assert (METRICS[name].source, METRICS[name].together) == ("voice", True)
    assert not METRICS["words"].together


def test_unknown_names() -> None:
    with pytest.raises(EvaluationError, match="unknown metric 'wer'; choose from words"):
        load_metrics(["wer"], MetricSettings())
    for name in ("claude", "gemini:", "emo:x", "rules:x"):
        with pytest.raises(EvaluationError, match="expected one of rules, folder"):
            load_judges({"emotion": name}, JudgeSettings())


@pytest.mark.parametrize("name", ["JUDGE", "make_judge"])
def test_a_judge_of_ones_own(name: str) -> None:
    judges, missing = load_judges({"emotion": f"python:{__name__}:{name}"}, JudgeSettings())
    assert judges == {"emotion": JUDGE}
    assert not missing


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at.all:x", "No module named 'nowhere'"),
        (f"{__name__}:nothing", "has no attribute 'nothing'"),
        (f"{__name__}:NOT_A_JUDGE", "is a dict, not a judge"),
    ],
)
def test_a_judge_that_is_none(name: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        load_judges({"emotion": f"python:{name}"}, JudgeSettings())


def test_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    settings = JudgeSettings("http://localhost:1/v1", "MY_KEY", 0.1, 0.2, max_cost=1.0)
    judges, _ = load_judges({"emotion": "openai:m", "paralinguistic": "gemini:n"}, settings)
    assert all(isinstance(judge, LLMJudge) for judge in judges.values())
    assert judges["emotion"].model.name == "localhost:1/m"
    assert judges["paralinguistic"].labels == ("1", "2", "3")
    with pytest.raises(EvaluationError, match="no question about 'speed'"):
        load_judges({"speed": "openai:m"}, settings)
    with pytest.raises(EvaluationError, match="say what it may cost"):
        load_judges({"emotion": "openai:m"}, JudgeSettings())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(JudgeError, match="MY_KEY"):
        load_judges({"emotion": "openai:m"}, settings)


def test_rules() -> None:
    judges, _ = load_judges({"style": "rules", "speed": "rules"}, JudgeSettings())
    assert {"whisper", "faster"} <= set(judges["style"].labels)
    with pytest.raises(EvaluationError, match="not for emotion"):
        load_judges({"emotion": "rules"}, JudgeSettings())


def test_a_folder_without_a_classifier(tmp_path: Path) -> None:
    for task in ("emotion", "paralinguistic"):
        with pytest.raises(CheckpointError):
            load_judges({task: f"folder:{tmp_path / 'none'}"}, JudgeSettings())
