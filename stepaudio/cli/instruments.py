"""Options that say what measures, and how they become metrics and judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepaudio.evaluation.benchmark_data import Row
    from stepaudio.evaluation.contracts import Judge
    from stepaudio.evaluation.measuring import Instruments

__all__ = [
    "MEASURE",
    "JudgeKey",
    "JudgePrice",
    "JudgeUrl",
    "Judges",
    "MaxCost",
    "Metrics",
    "Whisper",
    "load_asked_judges",
    "load_instruments",
    "pair",
    "split",
    "warn_missing",
]

#: Panel of the help.
MEASURE = "How they are measured"

Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,…",
        help="Only these metrics: words, speaker, own-speaker, dnsmos, distillmos, prosody, "
        "silence; 'none' for none.",
        rich_help_panel=MEASURE,
    ),
]
Whisper = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Recogniser of the words; tiny.en for English alone, otherwise base.",
        rich_help_panel=MEASURE,
    ),
]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        metavar="TASK=KIND[:NAME]",
        help="Judge of a task, such as style=rules, emotion=folder:PATH, emotion=gemini:MODEL or "
        "style=openai:MODEL; repeatable. A card also takes emotion_pairs=folder:PATH.",
        rich_help_panel=MEASURE,
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Server of the judges.", rich_help_panel=MEASURE),
]
JudgeKey = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Environment variable that holds their key.",
        rich_help_panel=MEASURE,
    ),
]
JudgePrice = Annotated[
    str,
    typer.Option(
        metavar="IN,OUT", help="Price of 1000 tokens read and written.", rich_help_panel=MEASURE
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0.0, help="What each judge may cost at most.", rich_help_panel=MEASURE),
]


def load_instruments(
    rows: list[Row],
    metrics: str | None,
    whisper: str | None,
    model: str | None,
    judges: list[str] | None,
    url: str | None,
    key: str | None,
    price: str,
    max_cost: float | None,
) -> Instruments:
    """Metrics and judges, as the command line asks for them.

    Args:
        rows: to be measured.
        metrics: names; None is all there are.
        whisper: size of the recogniser; None chooses by the languages.
        model: whose speaker encoder is used.
        judges: one ``TASK=KIND:NAME`` each.
        url: of the judges' server.
        key: environment variable that holds the judges' key.
        price: two numbers.
        max_cost: of each judge.

    Returns:
        What is there, and what is missing.

    Raises:
        typer.BadParameter: an option that cannot be understood.
    """
    from stepaudio.evaluation.measuring import Instruments
    from stepaudio.evaluation.registry import MetricSettings, load_metrics

    english = all(row.lang == "en" for row in rows)
    names = None if metrics is None else [] if metrics == "none" else list(split(metrics))
    found, missing = load_metrics(
        names, MetricSettings(whisper or ("tiny.en" if english else "base"), model)
    )
    known, absent = load_asked_judges(judges, url, key, price, max_cost)
    wanted = {*known, *(name.removeprefix("judge of ") for name in absent)}
    for task in dict.fromkeys(row.task for row in rows if row.label):
        if task not in wanted:
            absent[f"judge of {task}"] = "none was asked for; see --judge"
    return Instruments(found, known, {**missing, **absent})


def load_asked_judges(
    judges: list[str] | None,
    url: str | None,
    key: str | None,
    price: str,
    max_cost: float | None,
) -> tuple[dict[str, Judge], dict[str, str]]:
    """Judges, as the command line asks for them.

    Args:
        judges: one ``TASK=KIND:NAME`` each.
        url: of their server.
        key: environment variable that holds their key.
        price: two numbers.
        max_cost: of each judge.

    Returns:
        The judges by task, and the reason for each ``"judge of TASK"`` that is missing.

    Raises:
        typer.BadParameter: an option that cannot be understood.
    """
    from stepaudio.evaluation.registry import JudgeSettings, load_judges

    wanted = dict(pair(one, "=", "--judge") for one in judges or [])
    prices = pair(price, ",", "--judge-price")
    try:
        costs = [float(one) for one in prices]
    except ValueError:
        raise typer.BadParameter(
            f"{price!r} is not two numbers.", param_hint="'--judge-price'"
        ) from None
    return load_judges(wanted, JudgeSettings(url, key, costs[0], costs[1], max_cost))


def split(value: str | None) -> tuple[str, ...]:
    """The parts of a list with commas; none of None."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def pair(value: str, mark: str, option: str) -> tuple[str, str]:
    """Both sides of a mark.

    Args:
        value: from the command line.
        mark: between them.
        option: for the message.

    Returns:
        The sides.

    Raises:
        typer.BadParameter: no mark, or nothing on a side of it.
    """
    first, found, second = value.partition(mark)
    if not found or not first.strip() or not second.strip():
        raise typer.BadParameter(f"{value!r} has no {mark!r} in it.", param_hint=f"'{option}'")
    return first.strip(), second.strip()


def warn_missing(missing: dict[str, str]) -> None:
    """Say on stderr what could not be measured, and why."""
    for name, reason in missing.items():
        typer.secho(f"missing: {name}: {reason}", fg=typer.colors.YELLOW, err=True)
