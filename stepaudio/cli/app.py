"""The program and its list of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from stepaudio import __version__
from stepaudio.cli.card import card
from stepaudio.cli.consent import list_records, record, revoke, show, verify_record
from stepaudio.cli.convert import convert
from stepaudio.cli.data import check, pairs, preferences, rows, signal
from stepaudio.cli.doctor import doctor
from stepaudio.cli.edit import edit
from stepaudio.cli.evaluate import benchmark, files
from stepaudio.cli.failures import told_in_one_line
from stepaudio.cli.plot import plot
from stepaudio.cli.speak import speak, voice
from stepaudio.cli.tokens import resynth, tokenize
from stepaudio.cli.train import dpo, grpo, ppo, reward, sft
from stepaudio.cli.verify import verify

__all__ = ["app"]

app = typer.Typer(
    name="stepaudio",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: tuple[Callable[..., Any], ...] = (
    edit,
    speak,
    voice,
    resynth,
    tokenize,
    plot,
    verify,
    convert,
    doctor,
)
for _command in _COMMANDS:
    app.command()(told_in_one_line(_command))


def _group(name: str, about: str, **commands: Callable[..., Any]) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help=about,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for word, command in commands.items():
        group.command(word)(told_in_one_line(command))
    app.add_typer(group, name=name)


_group("eval", "Measure edits and recordings.", benchmark=benchmark, files=files, card=card)
_group(
    "train", "Train the language model and its reward model.",
    sft=sft, reward=reward, ppo=ppo, dpo=dpo, grpo=grpo,
)  # fmt: skip
_group(
    "data", "Make training data.",
    check=check, signal=signal, pairs=pairs, rows=rows, preferences=preferences,
)  # fmt: skip
_group(
    "consent", "Speakers' consent: take it down, check it, take it back.",
    record=record, verify=verify_record, show=show, revoke=revoke, list=list_records,
)  # fmt: skip


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stepaudio {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Edit recorded speech: emotion, style, speed, non-verbal sounds, noise, silence.

    Every command explains itself with --help. Nothing is overwritten without --force.
    """
