"""``stepaudio edit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.live import check_live, is_live, play
from stepaudio.cli.options import (
    AsJson,
    Consent,
    Credentials,
    Device,
    Dtype,
    Floating,
    FlowDtype,
    FlowFloating,
    Force,
    Guidance,
    Model,
    Offload,
    OutputOrStream,
    Policy,
    PolicyOption,
    Quantize,
    Recording,
    Seed,
    Steps,
    Temperature,
    check_device,
    find_consent,
    load_pipeline,
    sampling_of,
)
from stepaudio.cli.screen import Screen, describe, summary, tell, warn_if_cut
from stepaudio.cli.targets import check_picture, check_sound
from stepaudio.edits import EDIT_KINDS, PARALINGUISTIC_TAGS, REMOVE, Edit

if TYPE_CHECKING:
    from stepaudio.audio import Audio
    from stepaudio.result import EditResult

__all__ = ["edit"]

_WHAT = "What to do: exactly one"
_HOW = "How to do it"


def _labels(kind: str) -> str:
    row = next(row for name, row in EDIT_KINDS.items() if name == kind)
    return ", ".join(label for label in row.labels if label != REMOVE) + "."


def edit(
    recording: Recording,
    output: OutputOrStream,
    emotion: Annotated[
        str | None,
        typer.Option(metavar="X", help=_labels("emotion"), rich_help_panel=_WHAT),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(metavar="X", help=_labels("style"), rich_help_panel=_WHAT),
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option(
            metavar="X", help=f"{_labels('speed')} See also --strength.", rich_help_panel=_WHAT
        ),
    ] = None,
    denoise: Annotated[
        bool, typer.Option("--denoise", help="Remove noise.", rich_help_panel=_WHAT)
    ] = False,
    trim_silence: Annotated[
        bool, typer.Option("--trim-silence", help="Remove silent parts.", rich_help_panel=_WHAT)
    ] = False,
    paralinguistic: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="The new text with sounds in it. Sounds: "
            + ", ".join(tag.strip("[]") for tag in PARALINGUISTIC_TAGS)
            + ", each in square brackets.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    remove: Annotated[
        str | None,
        typer.Option(metavar="emotion|style", help="Take that away.", rich_help_panel=_WHAT),
    ] = None,
    text: Annotated[
        str,
        typer.Option(
            help="The words spoken in the recording; only denoise and trim-silence do without.",
            rich_help_panel=_HOW,
        ),
    ] = "",
    strength: Annotated[
        int | None,
        typer.Option(help="1 to 3 for emotion and style, 1 or 2 for speed.", rich_help_panel=_HOW),
    ] = None,
    span: Annotated[
        str | None,
        typer.Option(
            metavar="FROM:TO",
            help="Edit only from and to these seconds, such as 1.2:2.4; --text has their words.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    iterations: Annotated[
        int,
        typer.Option(
            min=1, help="How many times, each on the result before.", rich_help_panel=_HOW
        ),
    ] = 1,
    fixed_prompt: Annotated[
        bool,
        typer.Option(
            "--fixed-prompt",
            help="Keep the voice of the first recording through all iterations.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    keep_iterations: Annotated[
        bool,
        typer.Option(
            "--keep-iterations",
            help="Also write OUT.1, OUT.2, … before the suffix.",
            rich_help_panel="Result",
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="PNG", help="Draw before and after.", rich_help_panel="Result"
        ),
    ] = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    temperature: Temperature = None,
    consent: Consent = None,
    policy: PolicyOption = Policy.standard,
    credentials: Credentials = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = Floating.auto,
    flow_dtype: FlowDtype = FlowFloating.float32,
    quantize: Quantize = None,
    offload: Offload = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Edit a recording: emotion, style, speed, noise, silence, non-verbal sounds."""
    wanted = _one_edit(emotion, style, speed, denoise, trim_silence, paralinguistic, remove)
    if strength is not None:
        wanted = replace(wanted, strength=strength)

    from stepaudio.audio import Audio, sound_format
    from stepaudio.pipeline import EditPipeline
    from stepaudio.prompts import edit_turns
    from stepaudio.safety.policy import SafetyPolicy

    # Refuses missing words before any work is done.
    edit_turns(wanted, "<audio_0>", text)
    part = None if span is None else _times(span)
    live = is_live(output)
    if live:
        check_live(
            iterations=iterations > 1,
            keep_iterations=keep_iterations,
            span=span is not None,
            plot=picture is not None,
            credentials=credentials,
        )
    kept = _kept(output, iterations) if keep_iterations else []
    for path in () if live else (output, *kept):
        check_sound(path, force=force, credentials=credentials)
    if picture is not None:
        check_picture(picture, force=force)
    allowed = find_consent(consent)
    SafetyPolicy.of(policy.value).require("edit", allowed)
    check_device(device)
    sound = Audio.load(recording).require_sound()

    with Screen() as screen:
        pipeline = load_pipeline(
            EditPipeline,
            screen,
            model=model,
            device=device,
            dtype=dtype,
            flow_dtype=flow_dtype,
            quantize=quantize,
            offload=offload,
        )
        if not live:
            # What cannot hold the rate is refused before the slow work.
            sound_format(output, rate=pipeline.result_rate(sound, wanted, text=text, span=part))
        how: dict[str, Any] = {
            "text": text,
            "seed": seed,
            "sampling": sampling_of(pipeline, temperature),
            "steps": steps,
            "guidance": guidance,
            "consent": allowed,
            "policy": policy.value,
            "progress": screen.progress,
        }
        results: list[EditResult] = []
        if live:
            results.append(play(pipeline.stream(sound, wanted, **how)))
        else:
            how |= {"n": iterations, "fixed_prompt": fixed_prompt, "span": part}
            screen.prefix = f"1/{iterations} " if iterations > 1 else ""
            for number, result in enumerate(pipeline.iterate(sound, wanted, **how), start=1):
                results.append(result)
                if kept:
                    result.save(kept[number - 1], force=force, credentials=credentials)
                screen.prefix = f"{number + 1}/{iterations} " if number < iterations else ""
            results[-1].save(output, force=force, credentials=credentials)
        result = results[-1]
        if picture is not None:
            _draw(pipeline, sound, result, recording, output, picture, force)

    whole = _together(results)
    values = {
        "command": "edit",
        "input": str(recording),
        "output": str(output),
        "edits": [asdict(one) for one in result.edits],
        "span": result.span,
        "policy": policy.value,
        **summary(whole, sound),
        "iterations": [
            {"output": str(kept[i]) if kept else None, **summary(one, _before(sound, results, i))}
            for i, one in enumerate(results)
        ],
        "plot": None if picture is None else str(picture),
    }
    tell(values, describe(values), as_json, err=live)
    warn_if_cut(whole)


def _one_edit(
    emotion: str | None,
    style: str | None,
    speed: str | None,
    denoise: bool,
    trim_silence: bool,
    paralinguistic: str | None,
    remove: str | None,
) -> Edit:
    asked = [
        name
        for name, value in {
            "--emotion": emotion,
            "--style": style,
            "--speed": speed,
            "--denoise": denoise or None,
            "--trim-silence": trim_silence or None,
            "--paralinguistic": paralinguistic,
            "--remove": remove,
        }.items()
        if value is not None
    ]
    if len(asked) != 1:
        got = " and ".join(asked) if asked else "none"
        raise typer.BadParameter(
            "give exactly one of --emotion, --style, --speed, --denoise, --trim-silence, "
            f"--paralinguistic, --remove; got {got}."
        )
    if emotion is not None:
        return Edit.emotion(emotion)
    if style is not None:
        return Edit.style(style)
    if speed is not None:
        return Edit.speed(speed)
    if paralinguistic is not None:
        return Edit.paralinguistic(paralinguistic)
    if remove is not None:
        return Edit.remove(remove)
    return Edit.denoise() if denoise else Edit.trim_silence()


def _times(span: str) -> tuple[float, float]:
    try:
        start, end = (float(time) for time in span.split(":"))
    except ValueError:
        raise typer.BadParameter(
            f"{span!r} is not two times in seconds with a colon between, such as 1.2:2.4.",
            param_hint="'--span'",
        ) from None
    return start, end


def _kept(output: Path, iterations: int) -> list[Path]:
    return [output.with_suffix(f".{i}{output.suffix}") for i in range(1, iterations + 1)]


def _before(sound: Audio, results: Sequence[EditResult], number: int) -> Audio:
    return results[number - 1].audio if number else sound


def _together(results: Sequence[EditResult]) -> EditResult:
    """All iterations as one: the first one's seed repeats them all, and each may lose the end."""
    from stepaudio.synthesis import outcome

    last = results[-1]
    timings = {name: sum(one.timings[name] for one in results) for name in last.timings}
    ratio = 1.0
    for one in results:
        ratio *= one.length_ratio or 1.0
    reason = outcome(one.stop_reason for one in results)
    return replace(
        last, seed=results[0].seed, timings=timings, length_ratio=ratio, stop_reason=reason
    )


def _draw(
    pipeline: Any,
    sound: Audio,
    result: EditResult,
    recording: Path,
    output: Path,
    picture: Path,
    force: bool,
) -> None:
    from stepaudio.plotting import Panel, draw_picture

    before = Panel(recording.name, sound, pipeline.tokenize(sound))
    after = Panel(output.name, result.audio, result.tokens)
    draw_picture([before, after], picture, force=force)
