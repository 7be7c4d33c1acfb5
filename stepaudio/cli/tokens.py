"""``stepaudio resynth`` and ``stepaudio tokenize``: what the codes are and what they keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stepaudio.cli.corpus import tokenize_manifest
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
    Output,
    Policy,
    PolicyOption,
    Recording,
    Seed,
    Steps,
    check_device,
    find_consent,
    load_pipeline,
)
from stepaudio.cli.screen import Screen, describe, summary, tell
from stepaudio.cli.targets import check_sound, check_target

__all__ = ["resynth", "tokenize"]

_CORPUS = "Manifest"


def resynth(
    recording: Recording,
    output: Output,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    consent: Consent = None,
    policy: PolicyOption = Policy.standard,
    credentials: Credentials = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = Floating.auto,
    flow_dtype: FlowDtype = FlowFloating.float32,
    offload: Offload = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Turn a recording into codes and back, to hear what the codes keep."""
    check_sound(output, force=force, credentials=credentials)

    from stepaudio.audio import Audio
    from stepaudio.pipeline import EditPipeline
    from stepaudio.safety.policy import SafetyPolicy

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
            offload=offload,
        )
        result = pipeline.resynthesize(
            sound,
            seed=seed,
            steps=steps,
            guidance=guidance,
            consent=allowed,
            policy=policy.value,
            progress=screen.progress,
        )
        result.save(output, force=force, credentials=credentials)
    values = {
        "command": "resynth",
        "input": str(recording),
        "output": str(output),
        "policy": policy.value,
        **summary(result, sound),
    }
    tell(values, describe(values), as_json)


def tokenize(
    recording: Recording,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Write the codes here, not to stdout; the folder of the shards for a manifest.",
        ),
    ] = None,
    text_form: Annotated[
        bool,
        typer.Option(
            "--text-form", help="Codes as the language model reads them: <audio_12><audio_7>…"
        ),
    ] = False,
    per_shard: Annotated[
        int, typer.Option(min=1, help="Recordings of a shard.", rich_help_panel=_CORPUS)
    ] = 256,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Recordings tokenized together.", rich_help_panel=_CORPUS)
    ] = 8,
    ray: Annotated[
        int | None,
        typer.Option(min=1, help="So many workers on Ray.", rich_help_panel=_CORPUS),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Show the codes of a recording, or write those of a manifest (.jsonl) in shards."""
    if recording.suffix == ".jsonl":
        if output is None or text_form:
            raise typer.BadParameter("a manifest needs a folder, and has no text form.")
        tokenize_manifest(
            recording,
            output,
            model=model,
            device=device,
            per_shard=per_shard,
            batch_size=batch_size,
            workers=ray,
            as_json=as_json,
        )
        return
    if output is not None:
        check_target(output, force=force)

    import torch

    from stepaudio.audio import Audio
    from stepaudio.devices import resolve_device
    from stepaudio.hub import write_atomic
    from stepaudio.locate import locate
    from stepaudio.parts import load_part
    from stepaudio.tokenizers.interleave import to_text

    check_device(device)
    sound = Audio.load(recording)
    with Screen() as screen, torch.no_grad():
        screen.wait("loading the model")
        tokenizer = load_part(locate(model), "tokenizer", device=resolve_device(device))
        screen.wait("recording to codes")
        tokens = tokenizer.encode([sound])[0]
    about: dict[str, Any] = {
        "command": "tokenize",
        "input": str(recording),
        "output": None if output is None else str(output),
        "seconds_in": round(sound.seconds, 4),
        "seconds": round(tokens.seconds, 4),
        "units": tokens.num_units,
    }
    codes: dict[str, Any] = (
        {"text": to_text(tokens)}
        if text_form
        else {"linguistic": tokens.linguistic.tolist(), "semantic": tokens.semantic.tolist()}
    )
    if output is None:
        tell({**about, **codes}, codes.get("text", json.dumps(codes)), as_json)
        return
    content = codes["text"] if text_form else json.dumps(codes)
    write_atomic(
        output, lambda path: path.write_text(f"{content}\n", encoding="utf-8"), force=force
    )
    tell(about, f"wrote {output}: {tokens.num_units} units of {tokens.spec.unit_length}", as_json)
