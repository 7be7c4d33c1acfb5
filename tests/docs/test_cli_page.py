"""docs/cli.md and the program name the same commands and options, and its examples parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stepaudio.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(group: Any, before: str = "") -> dict[str, Any]:
    """By the words that call them: ``edit``, but ``eval benchmark``."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{before}{name} ")
        else:
            found[before + name] = command
    return found


COMMANDS = commands(typer.main.get_command(app))
SECTIONS = {
    part.split("\n", 1)[0].strip(): part.split("\n", 1)[1] for part in PAGE.split("\n## ")[1:]
}
INTRODUCTION = PAGE.split("\n## ")[0]
# An option, not a part of a word or of a longer option.
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
EVERYWHERE = {"--help", "-h", "-f"}


def options(command: str) -> set[str]:
    return {
        name
        for parameter in COMMANDS[command].params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }


def examples() -> list[str]:
    """Calls of the program on any page and in the Makefile, lines joined."""
    blocks = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        blocks += re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    text = "\n".join(blocks).replace("\\\n", " ")
    found = re.findall(r"^\s*(?:\$\(BIN\)/)?(stepaudio [a-z].*)$", text, re.M)
    # What listens at the other end of a pipe is another program.
    return [line.split(" | ")[0] for line in found]


def test_one_section_per_command() -> None:
    assert list(SECTIONS) == list(COMMANDS)


@pytest.mark.parametrize("command", SECTIONS)
def test_every_option_named_exists(command: str) -> None:
    prose = re.sub(r"```bash\n.*?```", "", SECTIONS[command], flags=re.S)
    assert set(OPTION.findall(prose)) - EVERYWHERE <= options(command) | (
        # Other commands are spoken of where they use what this one writes.
        {"--model"} if command == "convert" else set()
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_named(command: str) -> None:
    named = set(OPTION.findall(SECTIONS[command] + INTRODUCTION))
    # --tokens is the default that --no-tokens turns off, --output the long form of -o.
    assert options(command) - EVERYWHERE - {"--tokens", "--output"} <= named


def test_options_in_common_exist() -> None:
    known = set().union(*(options(command) for command in COMMANDS)) | EVERYWHERE
    assert set(OPTION.findall(INTRODUCTION)) <= known


@pytest.mark.parametrize("line", examples())
def test_examples_parse(line: str) -> None:
    words = shlex.split(line.replace("$$", "$"))[1:]
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    name = " ".join(words[:length])
    assert name in COMMANDS, f"no such command: {name}"
    COMMANDS[name].make_context(name, words[length:])
