"""``stepaudio speak`` and ``stepaudio voice``: new words in a voice heard once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    Output,
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
from stepaudio.cli.targets import check_sound, check_target

__all__ = ["speak", "voice"]

_SAVED = ".safetensors"


def speak(
    output: OutputOrStream,
    voice: Annotated[
        Path,
        typer.Option(
            metavar="V",
            help="Recording of the voice, or a file written by the command voice.",
            show_default=False,
        ),
    ],
    text: Annotated[str, typer.Option(help="What to say.", show_default=False)],
    voice_text: Annotated[
        str,
        typer.Option(help="The words spoken in the voice's recording; without, a worse match."),
    ] = "",
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
    """Speak a text in the voice of a recording."""
    if not text.strip():
        raise typer.BadParameter("there is nothing to say.", param_hint="'--text'")
    live = is_live(output)
    if live:
        check_live(credentials=credentials)
    else:
        check_sound(output, force=force, credentials=credentials)

    from stepaudio.audio import Audio
    from stepaudio.pipeline_speech import TTSPipeline
    from stepaudio.safety.policy import SafetyPolicy
    from stepaudio.voice import load_voice

    allowed = find_consent(consent)
    # Refuses what has no consent before any work is done.
    SafetyPolicy.of(policy.value).require("clone", allowed)
    check_device(device)
    sound = None if voice.suffix.lower() == _SAVED else Audio.load(voice).require_sound()
    heard = load_voice(voice) if sound is None else sound

    with Screen() as screen:
        pipeline = load_pipeline(
            TTSPipeline,
            screen,
            model=model,
            device=device,
            dtype=dtype,
            flow_dtype=flow_dtype,
            quantize=quantize,
            offload=offload,
        )
        how: dict[str, Any] = {
            "voice": heard,
            "voice_text": voice_text,
            "seed": seed,
            "sampling": sampling_of(pipeline, temperature),
            "steps": steps,
            "guidance": guidance,
            "consent": allowed,
            "policy": policy.value,
            "progress": screen.progress,
        }
        if live:
            result = play(pipeline.stream(text, **how))
        else:
            result = pipeline.speak(text, **how)
            result.save(output, force=force, credentials=credentials)
    values = {
        "command": "speak",
        "voice": str(voice),
        "output": str(output),
        "text": text,
        "policy": policy.value,
        **summary(result, sound),
    }
    tell(values, describe({**values, "seconds_in": None}), as_json, err=live)
    warn_if_cut(result)


def voice(
    recording: Recording,
    output: Output,
    text: Annotated[str, typer.Option(help="The words spoken in the recording.")] = "",
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = Floating.auto,
    offload: Offload = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Save the voice of a recording as a .safetensors file, for speak --voice."""
    check_target(output, force=force, suffixes=(_SAVED,))

    from stepaudio.audio import Audio
    from stepaudio.pipeline_speech import TTSPipeline
    from stepaudio.voice import save_voice

    check_device(device)
    sound = Audio.load(recording).require_sound()
    with Screen() as screen:
        pipeline = load_pipeline(
            TTSPipeline, screen, model=model, device=device, dtype=dtype, offload=offload
        )
        screen.wait("listening to the voice")
        heard = pipeline.voice_prompt(sound, text)
        save_voice(heard, output, force=force)
    # Of a long recording only a stretch is used.
    used = heard.mel.shape[-1] / float(heard.mel_spec.frame_rate)
    values = {
        "command": "voice",
        "input": str(recording),
        "output": str(output),
        "text": text,
        "seconds_in": round(sound.seconds, 4),
        "seconds_used": round(used, 4),
    }
    tell(values, f"wrote {output}: a voice from {used:.2f} s", as_json)
