"""The recipe that lets other systems speak: engines there and not there, people, resumption."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recipes.judges.other_systems import ENGINES, Engine, by_command, people, say_all
from stepaudio.evaluation.recordings import Recording

WRITE = "import sys; open(sys.argv[2], 'a').write(sys.argv[1])"


def test_programs_speak_once(tmp_path: Path) -> None:
    say = by_command(sys.executable, "-c", WRITE, "TEXT", "FILE")
    engines = [Engine("one", "a", say), Engine("two", "b", by_command("no-such-program", "TEXT"))]
    rows = say_all(engines, ["Hello.", "Good night."], tmp_path)
    assert rows == say_all(engines, ["Hello.", "Good night."], tmp_path)
    assert [(row["set"], row["speaker"], row["text"]) for row in rows] == [
        ("one", "one-a", "Hello."),
        ("one", "one-a", "Good night."),
    ]
    assert (tmp_path / rows[1]["path"]).read_text() == "Good night."


def test_a_program_that_fails_leaves_nothing(tmp_path: Path) -> None:
    say = by_command(sys.executable, "-c", "raise SystemExit(1)", "TEXT", "FILE")
    with pytest.raises(Exception, match="non-zero exit status"):
        say_all([Engine("one", "a", say)], ["Hello."], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_people_take_turns(tmp_path: Path) -> None:
    found = [
        Recording(f"{speaker}{number}", tmp_path / "a.wav", "here", "words", speaker=speaker)
        for speaker in ("ann", "bob")
        for number in range(3)
    ]
    rows = people(found, 3)
    assert [row["id"] for row in rows] == ["ann0", "bob0", "ann1"]
    assert {row["set"] for row in rows} == {"people"}
    assert Path(rows[0]["path"]).is_absolute()


def test_engines_differ_in_kind() -> None:
    assert len({engine.name for engine in ENGINES}) == 3
    assert len({(engine.name, engine.voice) for engine in ENGINES}) == len(ENGINES)
