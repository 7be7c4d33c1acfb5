"""Metrics and judges by name, for the command line and for reports.

What cannot be built because a package or a model is not there is reported as missing, with the
reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stepaudio.errors import EvaluationError, MissingExtraError
from stepaudio.evaluation.contracts import Judge, Metric
from stepaudio.evaluation.measuring import Instrument

__all__ = [
    "JUDGE_KINDS",
    "METRICS",
    "JudgeSettings",
    "MetricSettings",
    "load_judges",
    "load_metrics",
]


@dataclass(frozen=True)
class MetricSettings:
    """What metrics must be told.

    Attributes:
        whisper: size, folder or hub id of the recogniser.
        model: whose speaker encoder is used; None is the embedded model's.
    """

    whisper: str = "tiny.en"
    model: str | None = None


@dataclass(frozen=True)
class JudgeSettings:
    """What judges behind an endpoint must be told.

    Attributes:
        url: of the server; None is the vendor's own.
        key_variable: environment variable that holds the key; None is the vendor's own.
        price_in: of a thousand tokens read.
        price_out: of a thousand tokens written.
        max_cost: of all requests of one judge; None refuses to ask anything that costs.
    """

    url: str | None = None
    key_variable: str | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    max_cost: float | None = None


@dataclass(frozen=True)
class _Entry:
    build: Callable[[MetricSettings], Metric]
    source: Literal["before", "voice"] = "before"
    together: bool = False


def _words(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.recognizer import WhisperRecognizer
    from stepaudio.evaluation.words import WordErrors

    return WordErrors(WhisperRecognizer(settings.whisper))


def _speaker(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.speakers import ResemblyzerVoice, SpeakerSimilarity

    return SpeakerSimilarity(ResemblyzerVoice())


def _own_speaker(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.speakers import PipelineVoice, SpeakerSimilarity
    from stepaudio.locate import locate
    from stepaudio.parts import load_part

    return SpeakerSimilarity(PipelineVoice(load_part(locate(settings.model), "speaker")))


def _dnsmos(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.quality import Dnsmos

    return Dnsmos()


def _distillmos(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.quality import DistillMos

    return DistillMos()


def _prosody(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.prosody import Prosody

    return Prosody()


def _silence(settings: MetricSettings) -> Metric:
    from stepaudio.evaluation.silence import Silence

    return Silence()


#: Metrics by name.
METRICS: Mapping[str, _Entry] = {
    "words": _Entry(_words),
    "speaker": _Entry(_speaker, source="voice", together=True),
    "own-speaker": _Entry(_own_speaker, source="voice", together=True),
    "dnsmos": _Entry(_dnsmos),
    "distillmos": _Entry(_distillmos),
    "prosody": _Entry(_prosody),
    "silence": _Entry(_silence),
}

#: Kinds of judges; all but the first need a name after a colon.
JUDGE_KINDS = ("rules", "folder", "gemini", "openai", "python")


def load_metrics(
    names: Sequence[str] | None, settings: MetricSettings
) -> tuple[list[Instrument], dict[str, str]]:
    """Build metrics.

    Args:
        names: keys of :data:`METRICS`; None is all of them.
        settings: what they must be told.

    Returns:
        The metrics, and for each one that is missing the reason.

    Raises:
        EvaluationError: a name that no metric has.
    """
    built: list[Instrument] = []
    missing: dict[str, str] = {}
    for name in METRICS if names is None else dict.fromkeys(names):
        if name not in METRICS:
            raise EvaluationError(f"unknown metric {name!r}; choose from {', '.join(METRICS)}")
        entry = METRICS[name]
        try:
            built.append(Instrument(entry.build(settings), entry.source, entry.together))
        except (MissingExtraError, OSError) as error:  # OSError: a model cannot be downloaded
            missing[name] = " ".join(str(error).split())
    return built, missing


def load_judges(
    wanted: Mapping[str, str], settings: JudgeSettings
) -> tuple[dict[str, Judge], dict[str, str]]:
    """Build judges.

    Args:
        wanted: by task, ``"rules"`` for styles and speeds that can be measured,
            ``"folder:PATH"`` of a classifier trained by the recipe, ``"gemini:MODEL"``,
            ``"openai:MODEL"`` for anything that speaks OpenAI's format, or
            ``"python:package.module:name"``, a judge or something that makes one.
        settings: what endpoints must be told.

    Returns:
        The judges by task, and for each task whose judge is missing the reason.

    Raises:
        EvaluationError: no such kind of judge, nothing of that name, or no cap on the cost.
        JudgeError: an endpoint cannot be asked at all.
        CheckpointError: a folder holds no classifier, or one that was never measured.
    """
    judges: dict[str, Judge] = {}
    missing: dict[str, str] = {}
    for task, name in wanted.items():
        kind, _, rest = name.partition(":")
        if kind not in JUDGE_KINDS or bool(rest) == (kind == "rules"):
            kinds = ", ".join(one if one == "rules" else f"{one}:…" for one in JUDGE_KINDS)
            raise EvaluationError(f"judge {name!r} of {task}: expected one of {kinds}")
        try:
            if kind == "rules":
                judges[task] = _rules(task)
            elif kind == "folder":
                judges[task] = _classifier(task, rest)
            elif kind == "python":
                judges[task] = _python_judge(rest)
            else:
                judges[task] = _endpoint(task, kind, rest, settings)
        except (MissingExtraError, OSError) as error:  # OSError: as for metrics
            missing[f"judge of {task}"] = " ".join(str(error).split())
    return judges, missing


def _rules(task: str) -> Judge:
    from stepaudio.evaluation.style_judge import StyleJudge

    if task not in ("style", "speed"):
        raise EvaluationError(f"there are rules for style and speed, not for {task}")
    return StyleJudge()


def _classifier(task: str, folder: str) -> Judge:
    from stepaudio.evaluation.classifier_judge import ClassifierJudge
    from stepaudio.evaluation.event_judge import EventJudge

    if task == "paralinguistic":
        return EventJudge.from_pretrained(folder)
    return ClassifierJudge.from_pretrained(folder)


def _python_judge(name: str) -> Judge:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except MissingExtraError:
        raise
    except (ImportError, AttributeError, ValueError) as error:
        raise EvaluationError(f"judge python:{name}: {error}") from error
    # A class has the members of its instances too.
    judge = found() if isinstance(found, type) or not isinstance(found, Judge) else found
    if not isinstance(judge, Judge):
        raise EvaluationError(f"judge python:{name} is a {type(judge).__name__}, not a judge")
    return judge


def _endpoint(task: str, kind: str, model: str, settings: JudgeSettings) -> Judge:
    from stepaudio.evaluation.judge_prompts import EMOTION, PARALINGUISTIC, STYLE
    from stepaudio.evaluation.llm_endpoints import GeminiEndpoint, OpenAIEndpoint
    from stepaudio.evaluation.llm_judge import LLMJudge, Price

    questions = {one.name: one for one in (EMOTION, STYLE, PARALINGUISTIC)}
    if task not in questions:
        raise EvaluationError(f"there is no question about {task!r}, only {', '.join(questions)}")
    if settings.max_cost is None:
        raise EvaluationError(f"judge {kind}:{model}: say what it may cost (0 if it is free)")
    endpoint = (GeminiEndpoint if kind == "gemini" else OpenAIEndpoint)(
        model, base_url=settings.url, key_variable=settings.key_variable
    )
    price = Price(per_1k_input=settings.price_in, per_1k_output=settings.price_out)
    return LLMJudge(endpoint, questions[task], price=price, max_cost=settings.max_cost)
