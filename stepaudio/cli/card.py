"""``stepaudio eval card``: every figure of a model card, held against its target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.instruments import (
    JudgeKey,
    JudgePrice,
    Judges,
    JudgeUrl,
    MaxCost,
    load_asked_judges,
    split,
    warn_missing,
)
from stepaudio.cli.options import AsJson, Device, Force, Model, check_device
from stepaudio.cli.screen import Screen, tell

__all__ = ["card"]

_WHICH = "What is measured"
_HOW = "How it is made"


def card(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="Recordings of speakers the model has not heard, each with its set.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.json",
            help="Result file; page and pictures go beside it.",
            show_default=False,
        ),
    ],
    work: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where recordings are made and kept.")
    ] = Path("card"),
    only: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Only these sections: resynth, speak, emotion, style, speed, denoise, silence, "
            "sounds, chinese, size.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SECTION=]N",
            help="Most rows of each label, in every section or in one; may be repeated.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    speech: Annotated[
        str,
        typer.Option(
            metavar="SET[,SET]",
            help="English readings; accents are compared if sets differ in them.",
            rich_help_panel=_WHICH,
        ),
    ] = "librispeech",
    mandarin: Annotated[
        str, typer.Option(metavar="SET", help="Chinese.", rich_help_panel=_WHICH)
    ] = "magicdata_tts_zh",
    noise: Annotated[
        str, typer.Option(metavar="SET", help="Noises.", rich_help_panel=_WHICH)
    ] = "esc10",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with a model.", rich_help_panel=_HOW)
    ] = 1,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of the edits that are timed.", rich_help_panel=_HOW)
    ] = 2,
    seed: Annotated[
        int, typer.Option(help="Of rows, edits and resampling.", rich_help_panel=_HOW)
    ] = 0,
    judge: Judges = None,
    judge_url: JudgeUrl = None,
    judge_key: JudgeKey = None,
    judge_price: JudgePrice = "0,0",
    max_cost: MaxCost = None,
    model: Model = None,
    device: Device = "auto",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Measure a model card and write it with its targets.

    An interrupted run goes on where it stopped when called again with the same options.
    """
    from stepaudio.evaluation.card import CardPlan, chosen_sections, measure_card
    from stepaudio.evaluation.card_inputs import Corpora, read_material
    from stepaudio.evaluation.card_page import check_card_free, write_card
    from stepaudio.plotting import require_matplotlib

    sections = chosen_sections(split(only))
    limits = _limits(limit or [], sections)
    if output.suffix != ".json":
        raise typer.BadParameter(f"{output} does not end in .json.", param_hint="'--output'")
    check_card_free(output, force=force)
    require_matplotlib()
    check_device(device)
    material = read_material(manifest, Corpora(speech, mandarin, noise), seed)
    plan = CardPlan(work, model, device, seed, limits, workers, threads)
    with Screen() as screen:
        screen.wait("loading the judges")
        # Styles need no model; another judge of them may be asked for.
        asked = ["style=rules", *(judge or [])]
        judges, missing = load_asked_judges(asked, judge_url, judge_key, judge_price, max_cost)
        values = measure_card(sections, material, plan, judges, missing, progress=screen.count)
        written = write_card(output, values, force=force)
    warn_missing(values["missing"])
    targets = values["targets"]
    line = (
        f"{targets['met']} of {sum(targets.values())} targets met, {targets['missed']} missed, "
        f"{targets['unknown']} unknown: {output}"
    )
    values |= {"command": "eval card", "written": [str(path) for path in written]}
    tell(values, line, as_json)


def _limits(given: Sequence[str], sections: Iterable[str]) -> dict[str, int]:
    """``N`` for every section, ``SECTION=N`` for one, whatever comes first."""
    names = list(sections)
    everywhere: dict[str, int] = {}
    alone: dict[str, int] = {}
    for one in given:
        name, _, number = one.rpartition("=")
        if (name and name not in names) or not number.isdecimal() or not int(number):
            raise typer.BadParameter(
                f"{one!r} is neither a number from 1 on nor SECTION=N with one of "
                f"{', '.join(names)}.",
                param_hint="'--limit'",
            )
        if name:
            alone[name] = int(number)
        else:
            everywhere = dict.fromkeys(names, int(number))
    return everywhere | alone
