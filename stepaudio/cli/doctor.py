"""``stepaudio doctor``: is everything here, and does it work?"""

from __future__ import annotations

import json
import platform
import re
import time
from importlib import metadata
from typing import Any

import typer

from stepaudio import __version__
from stepaudio.cli.options import AsJson
from stepaudio.errors import StepAudioError

__all__ = ["doctor"]

# The name at the beginning of a requirement, and the extra that asks for it.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def doctor(as_json: AsJson = False) -> None:
    """Check versions, devices, the model that comes with the package, and one short edit.

    Exit code 1 if something that every edit needs is missing or broken; extras are optional.
    """
    needed, extras = _requirements()
    missing = [name for name, found in needed.items() if found is None]
    model = _model()
    edit = _short_edit() if model["size_mb"] is not None else _failed("there is no model")
    import torch

    from stepaudio.devices import available_devices

    values = {
        "command": "doctor",
        "ok": not missing and edit["ok"],
        "versions": {"stepaudio": __version__, "python": platform.python_version(), **needed},
        "devices": available_devices(),
        "threads": torch.get_num_threads(),
        "model": model,
        "extras": extras,
        "self_test": edit,
    }
    if as_json:
        typer.echo(json.dumps(values))
    else:
        _show(values)
    if not values["ok"]:
        raise typer.Exit(1)


def _requirements() -> tuple[dict[str, str | None], dict[str, list[str]]]:
    """Versions of what the core needs, and what is missing for each extra."""
    needed: dict[str, str | None] = {}
    extras: dict[str, list[str]] = {}
    try:
        lines = metadata.requires("stepaudio") or []
    except metadata.PackageNotFoundError:  # a source tree that was never installed
        return {name: _version(name) for name in ("torch", "numpy", "soundfile")}, {}
    for line in lines:
        match, extra = _NAME.match(line), _EXTRA.search(line)
        assert match is not None
        found = _version(match[0])
        if extra is None:
            needed[match[0]] = found
        else:
            lacking = extras.setdefault(extra[1], [])
            if found is None:
                lacking.append(match[0])
    return needed, extras


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _model() -> dict[str, Any]:
    from stepaudio.locate import locate

    try:
        folder = locate()
    except StepAudioError as error:
        return {"path": None, "size_mb": None, "error": str(error)}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"path": str(folder), "size_mb": round(size / 1e6, 2), "error": None}


def _short_edit() -> dict[str, Any]:
    """Half a second of a buzzing sound, a few tokens: that it runs, not how it sounds.

    The edit is one that every model writes and speaks, so that every part has to work.
    """
    from dataclasses import replace

    import torch

    from stepaudio.audio import Audio
    from stepaudio.edits import Edit
    from stepaudio.pipeline import EditPipeline

    start = time.perf_counter()
    phase = torch.arange(8000) * (120 / 16000)
    try:
        pipeline = EditPipeline.from_pretrained(device="cpu")
        sampling = replace(pipeline.defaults.sampling, min_new_tokens=10, max_new_tokens=20)
        sound = Audio(0.3 * (phase % 1 - 0.5), 16000)
        edit = Edit.style("whisper")
        result = pipeline.edit(sound, edit, text="hello", seed=0, sampling=sampling, steps=2)
    except Exception as error:  # whatever it is, it is what the doctor was asked for
        return _failed(f"{type(error).__name__}: {error}")
    return {
        "ok": True,
        "seconds": round(time.perf_counter() - start, 3),
        "seconds_out": round(result.audio.seconds, 3),
        "error": None,
    }


def _failed(reason: str) -> dict[str, Any]:
    return {"ok": False, "seconds": None, "seconds_out": None, "error": reason}


def _show(values: dict[str, Any]) -> None:
    good, bad, idle = (
        typer.style(mark, fg=colour)
        for mark, colour in (("ok ", "green"), ("bad", "red"), ("-  ", "yellow"))
    )
    for name, version in values["versions"].items():
        typer.echo(f"{good if version else bad} {name} {version or 'is missing'}")
    for name, what in values["devices"].items():
        typer.echo(f"{good} {name}: {what}")
    model, edit = values["model"], values["self_test"]
    if model["error"]:
        typer.echo(f"{bad} model: {model['error']}")
    else:
        typer.echo(f"{good} model: {model['path']}, {model['size_mb']} MB")
    if edit["ok"]:
        typer.echo(f"{good} short edit: {edit['seconds']} s with loading")
    else:
        typer.echo(f"{bad} short edit: {edit['error']}")
    for extra, lacking in values["extras"].items():
        mark, what = (idle, f"needs {', '.join(lacking)}") if lacking else (good, "installed")
        typer.echo(f"{mark} extra {extra}: {what}")
