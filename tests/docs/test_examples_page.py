"""The listening examples: every clip is there, short and small, and the page shows all of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

from stepaudio.audio import Audio

DOCS = Path(__file__).parents[2] / "docs"
LONGEST_SECONDS = 10.0
MOST_BYTES = 1_000_000


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("listening_examples", DOCS / "examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_every_clip() -> None:
    examples = script()
    facts = json.loads(examples.FACTS.read_text(encoding="utf-8"))
    assert examples.PAGE.read_text(encoding="utf-8") == examples.page(facts)
    names = {"resynthesis", *(f"{edit.kind}-{edit.label}" for edit in examples.EDITS)}
    assert list(facts["clips"]) == [source.name for source in examples.SOURCES]
    clips = []
    for source, made in facts["clips"].items():
        assert set(made) == names
        assert Audio.load(examples.FOLDER / f"{source}.ogg").seconds <= 5
        for name, clip in made.items():
            file = examples.FOLDER / f"{source}-{name}.ogg"
            assert abs(Audio.load(file).seconds - clip["seconds"]) < 0.05
            assert clip["seconds"] <= LONGEST_SECONDS
            clips.append(file)
    assert sum(file.stat().st_size for file in clips) < MOST_BYTES
