"""Arguments and options that several commands share, and how they become a pipeline."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from stepaudio.cli.screen import Screen
    from stepaudio.pipeline_base import Pipeline
    from stepaudio.safety.consent import ConsentRecord
    from stepaudio.types import SamplingParams

__all__ = [
    "AsJson",
    "Consent",
    "Credentials",
    "Device",
    "Dtype",
    "Floating",
    "FlowDtype",
    "FlowFloating",
    "Force",
    "Guidance",
    "Model",
    "Offload",
    "Output",
    "OutputOrStream",
    "Policy",
    "PolicyOption",
    "Quantize",
    "Recording",
    "Rounding",
    "Seed",
    "Steps",
    "Temperature",
    "check_device",
    "find_consent",
    "load_pipeline",
    "sampling_of",
]

P = TypeVar("P", bound="Pipeline")

_MODEL = "Model"
_RESULT = "Result"
_TRUST = "Consent"


class Floating(str, Enum):
    """Floating types of the language model."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class FlowFloating(str, Enum):
    """Floating types of the flow decoder."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Rounding(str, Enum):
    """Types of the language model's rounded weights."""

    int8 = "int8"
    int4 = "int4"


class Policy(str, Enum):
    """How careful to be with voices."""

    strict = "strict"
    standard = "standard"
    research = "research"


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


Recording = Annotated[
    Path,
    typer.Argument(metavar="IN", help="Recording: WAV, FLAC, OGG, MP3…", show_default=False),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="File to write; its suffix decides the format.",
        show_default=False,
    ),
]
OutputOrStream = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT|-",
        help="File to write; its suffix decides the format. - streams WAV to stdout.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Replace files that exist.", rich_help_panel=_RESULT)
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel=_RESULT),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Repeats a result; drawn and reported if not given.", rich_help_panel=_MODEL),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|HUB-ID",
        help="Model to use; the one that comes with the package if not given.",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where to run, such as cpu; auto takes an accelerator if there is one.",
        rich_help_panel=_MODEL,
    ),
]
Dtype = Annotated[
    Floating, typer.Option(help="Floating type of the language model.", rich_help_panel=_MODEL)
]
FlowDtype = Annotated[
    FlowFloating,
    typer.Option(
        help="Floating type of the flow decoder; bfloat16 is faster on CPUs that multiply in it.",
        rich_help_panel=_MODEL,
    ),
]
Quantize = Annotated[
    Rounding | None,
    typer.Option(
        help="Round the language model's weights as they are read: less memory, faster on CPUs.",
        rich_help_panel=_MODEL,
    ),
]
Offload = Annotated[
    bool,
    typer.Option(
        "--offload",
        help="Have only the part of the model in memory that works; slower.",
        rich_help_panel=_MODEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, help="Solver steps of the decoder; the model's own.", rich_help_panel=_MODEL
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        callback=_finite,
        help="Guidance rate of the decoder; the model's own.",
        rich_help_panel=_MODEL,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        callback=_finite,
        help="Of the language model, 0 is greedy; the model's own.",
        rich_help_panel=_MODEL,
    ),
]
Consent = Annotated[
    str | None,
    typer.Option(metavar="FILE|ID", help="The speaker's consent record.", rich_help_panel=_TRUST),
]
Credentials = Annotated[
    bool,
    typer.Option(
        "--credentials",
        help="Write the provenance into the file too (C2PA; WAV and MP3).",
        rich_help_panel=_RESULT,
    ),
]
PolicyOption = Annotated[
    Policy,
    typer.Option(
        "--policy",
        help="What needs consent; research asks for none, is logged and stamped into the result.",
        rich_help_panel=_TRUST,
    ),
]


def find_consent(name: str | None) -> ConsentRecord | None:
    """The record that an option names.

    Args:
        name: file or id; None names none.

    Returns:
        The record, not yet checked.
    """
    if name is None:
        return None
    from stepaudio.safety.store import TrustStore

    return TrustStore().find(name)


def check_device(name: str) -> None:
    """Refuse a device that is not there.

    Args:
        name: from the command line.

    Raises:
        typer.BadParameter: no such device.
    """
    import torch

    from stepaudio.devices import available_devices, resolve_device

    try:
        # Only a value that comes back proves that the device works.
        torch.zeros(1, device=resolve_device(name)).item()
    except (RuntimeError, AssertionError):
        there = ", ".join(available_devices())
        raise typer.BadParameter(
            f"{name!r} is not a device of this machine; it has {there}.", param_hint="'--device'"
        ) from None


def load_pipeline(
    kind: type[P],
    screen: Screen,
    *,
    model: str | None,
    device: str,
    dtype: Floating,
    flow_dtype: FlowFloating = FlowFloating.float32,
    quantize: Rounding | None = None,
    offload: bool = False,
) -> P:
    """Load a model.

    Args:
        kind: of pipeline.
        screen: shows that it takes a while.
        model: folder or hub id; None is the embedded one.
        device: a name that :func:`check_device` has accepted.
        dtype: of the language model.
        flow_dtype: of the flow decoder.
        quantize: what to round the language model's weights to.
        offload: have only the part in memory that works.

    Returns:
        The pipeline.
    """
    screen.wait("loading the model")
    return kind.from_pretrained(
        model,
        device=device,
        dtype=dtype.value,
        flow_dtype=flow_dtype.value,
        quantize=None if quantize is None else quantize.value,
        offload="stage" if offload else None,
    )


def sampling_of(pipeline: Pipeline, temperature: float | None) -> SamplingParams | None:
    """The model's own sampling at another temperature; None if it stays as it is."""
    if temperature is None:
        return None
    return replace(pipeline.defaults.sampling, temperature=temperature)
