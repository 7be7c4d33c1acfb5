"""Make the listening examples: ``python docs/examples.py`` makes them anew and writes their page.

Nothing is picked: the sources are the first recording of 3 to 5 s, with words by the corpus, of
each LibriSpeech test speaker who has one; every edit of the list is made once, with one seed.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepaudio import Audio, Edit, EditPipeline
from stepaudio.evaluation.systems import model_name
from stepaudio.plotting import Panel, draw_picture

DOCS = Path(__file__).parent
FOLDER = DOCS / "_static" / "examples"
FACTS = FOLDER / "examples.json"
PAGE = DOCS / "examples.md"
SEED = 0


@dataclass(frozen=True)
class Source:
    """A recording of the corpus, by its LibriSpeech number."""

    name: str
    words: str


SOURCES = (
    Source("2609-156975-0000", "Then Moses was afraid and said, surely the thing is known."),
    Source("367-130732-0001", "When is a lobster not a lobster? When it is a crayfish."),
    Source("533-1066-0006", '"I have none," I said happily.'),
)
EDITS = (
    Edit.emotion("happy"),
    Edit.emotion("sad"),
    Edit.emotion("angry"),
    Edit.style("whisper"),
    Edit.style("child"),
    Edit.speed("faster"),
    Edit.speed("slower"),
)
#: Pixels of a picture, from side to side.
WIDTH = 1200
#: Shown as pictures beside the source.
PICTURED = ("resynthesis", "emotion-happy", "style-whisper")

HEAD = """# Listening examples

Made by `python docs/examples.py` with the bundled model, **{model}**, seed {seed}. Nothing is
picked: the sources are the first recording of 3 to 5 s of each LibriSpeech test speaker who has
one, every edit was made once, and all are here, good or bad. The model has not heard these
speakers in training. *Resynthesis* is the recording taken to tokens and back without an edit: what
is lost there is the codec's doing. The [model card](model-card.md) has the numbers. LibriSpeech is
CC BY 4.0; see [licences](licences.md).
"""


def main() -> None:
    pipeline = EditPipeline.from_pretrained()
    clips: dict[str, dict[str, Any]] = {}
    for source in SOURCES:
        recording = Audio.load(FOLDER / f"{source.name}.ogg")
        panels = [Panel("source", recording)]
        clips[source.name] = {}
        for edit in (None, *EDITS):
            if edit is None:
                name, result = "resynthesis", pipeline.resynthesize(recording, seed=SEED)
            else:
                name = f"{edit.kind}-{edit.label}"
                result = pipeline.edit(recording, edit, text=source.words, seed=SEED)
            file = FOLDER / f"{source.name}-{name}.ogg"
            result.audio.save(file, subtype="OPUS", force=True)
            clips[source.name][name] = {
                "seconds": round(result.audio.seconds, 2),
                "stop_reason": result.stop_reason,
            }
            if name in PICTURED:
                panels.append(Panel(name, result.audio))
        small_picture(panels, FOLDER / f"{source.name}.jpg")
    facts = {"model": model_name(None), "seed": SEED, "clips": clips}
    FACTS.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(facts), encoding="utf-8")


def small_picture(panels: list[Panel], path: Path) -> None:
    """Spectrograms side by side, small enough for a repository."""
    from PIL import Image  # comes with matplotlib

    with tempfile.TemporaryDirectory() as folder:
        large = draw_picture(panels, Path(folder) / "large.png")
        with Image.open(large) as picture:
            small = picture.convert("RGB")
    small.thumbnail((WIDTH, WIDTH))
    small.save(path, quality=75)


def page(facts: dict[str, Any]) -> str:
    """The page of clips that are there."""
    lines = [HEAD.format(model=facts["model"], seed=facts["seed"])]
    for source in SOURCES:
        lines += [
            f"## {source.name}",
            "",
            f"> {source.words}",
            "",
            "| | | s |",
            "|---|---|---|",
            f"| source | {player(source.name)} | |",
        ]
        for name, clip in facts["clips"][source.name].items():
            kind, _, label = name.partition("-")
            title = f"{kind}: {label}" if label else kind
            cut = "" if clip["stop_reason"] == "end" else f" ({clip['stop_reason']})"
            sound = player(f"{source.name}-{name}")
            lines.append(f"| {title} | {sound} | {clip['seconds']:.2f}{cut} |")
        pictured = ", ".join(["source", *PICTURED])
        lines += ["", f"![{pictured}](_static/examples/{source.name}.jpg)", ""]
    return "\n".join(lines)


def player(name: str) -> str:
    return f'<audio controls preload="none" src="_static/examples/{name}.ogg"></audio>'


if __name__ == "__main__":
    main()
