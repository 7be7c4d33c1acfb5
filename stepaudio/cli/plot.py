"""``stepaudio plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepaudio.cli.options import AsJson, Device, Force, Model, Recording, check_device
from stepaudio.cli.screen import Screen, tell
from stepaudio.cli.targets import check_picture

__all__ = ["plot"]


def plot(
    recording: Recording,
    picture: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PNG", help="Picture: .png, .svg or .pdf.", show_default=False
        ),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="Another recording beside it, such as its edit."),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens/--no-tokens", help="Show codes, which takes a model.")
    ] = True,
    model: Model = None,
    device: Device = "auto",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw recordings side by side: spectrogram, pitch and codes."""
    check_picture(picture, force=force)

    import torch

    from stepaudio.audio import Audio
    from stepaudio.devices import resolve_device
    from stepaudio.locate import locate
    from stepaudio.parts import load_part
    from stepaudio.plotting import Panel, draw_picture

    check_device(device)
    paths = [recording] if other is None else [recording, other]
    panels = [Panel(path.name, Audio.load(path)) for path in paths]
    with Screen() as screen, torch.no_grad():
        if tokens:
            screen.wait("loading the model")
            tokenizer = load_part(locate(model), "tokenizer", device=resolve_device(device))
            screen.wait("recording to codes")
            panels = [
                Panel(panel.title, panel.audio, tokenizer.encode([panel.audio])[0])
                for panel in panels
            ]
        screen.wait("drawing")
        draw_picture(panels, picture, force=force)
    values = {
        "command": "plot",
        "input": [str(path) for path in paths],
        "output": str(picture),
        "seconds": [round(panel.audio.seconds, 4) for panel in panels],
    }
    tell(values, f"wrote {picture}", as_json)
