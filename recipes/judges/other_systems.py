"""Speech of other systems to be edited: engines that have nothing in common, and people.

Every engine that is installed says the sentences of the model card; recordings of people are added
as they are. The manifest names the engine as ``set``, so that the benchmark has a table for each.

    apt install flite espeak-ng
    python -m recipes.judges.other_systems -o runs/others --people eval/manifest.jsonl:librispeech
    stepaudio eval benchmark runs/others/manifest.jsonl -o results/others --edit emotion:happy
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from stepaudio.evaluation.card_sentences import SENTENCES
from stepaudio.evaluation.recordings import Recording, read_recordings

__all__ = ["ENGINES", "Engine", "by_command", "people", "say_all", "spoken_by_hibari"]

_SECONDS = 120


@dataclass(frozen=True)
class Engine:
    """A system that speaks.

    Attributes:
        name: becomes the ``set`` of its recordings.
        voice: becomes their speaker.
        say: text and the file to write; None if the engine is not installed.
    """

    name: str
    voice: str
    say: Callable[[str, Path], None] | None


def by_command(*words: str) -> Callable[[str, Path], None] | None:
    """An engine that is a program.

    Args:
        words: of its command line; ``TEXT`` and ``FILE`` are replaced.

    Returns:
        What runs it; None if there is no such program.
    """
    if shutil.which(words[0]) is None:
        return None

    def say(text: str, file: Path) -> None:
        filled = [{"TEXT": text, "FILE": str(file)}.get(word, word) for word in words]
        subprocess.run(filled, check=True, timeout=_SECONDS, capture_output=True)

    return say


def spoken_by_hibari() -> Callable[[str, Path], None] | None:
    """The neural engine of the synthetic training data: the only one here the model has heard."""
    try:
        from hibari import Hibari
    except ImportError:
        return None
    engine = Hibari()

    def say(text: str, file: Path) -> None:
        engine.save(text, str(file), seed=0)

    return say


def say_all(engines: Iterable[Engine], sentences: Sequence[str], out: Path) -> list[dict[str, str]]:
    """Have every engine say every sentence.

    Args:
        engines: those not installed are passed over.
        sentences: English.
        out: folder of the manifest; what is there is kept.

    Returns:
        Rows of the manifest.
    """
    rows = []
    for engine in engines:
        if engine.say is None:
            continue
        for number, text in enumerate(track(sentences, f"{engine.name} {engine.voice}")):
            file = out / "audio" / f"{engine.name}-{engine.voice}-{number:02d}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                part = file.with_suffix(".part.wav")
                engine.say(text, part)
                part.replace(file)
            rows.append(
                {
                    "id": file.stem,
                    "path": file.relative_to(out).as_posix(),
                    "set": engine.name,
                    "speaker": f"{engine.name}-{engine.voice}",
                    "lang": "en",
                    "text": text,
                }
            )
    return rows


def people(recordings: Iterable[Recording], count: int) -> list[dict[str, str]]:
    """Recordings of people as they are, one of every speaker before a second one of any.

    Args:
        recordings: with words.
        count: most of them.

    Returns:
        Rows of the manifest, with absolute paths.
    """
    turns: list[tuple[int, Recording]] = []
    seen: dict[str, int] = {}
    for one in recordings:
        seen[one.speaker] = seen.get(one.speaker, 0) + 1
        turns.append((seen[one.speaker], one))
    chosen = [one for _, one in sorted(turns, key=lambda turn: turn[0])[:count]]
    return [
        {
            "id": one.id,
            "path": str(one.path.resolve()),
            "set": "people",
            "speaker": one.speaker,
            "lang": one.lang,
            "text": one.text,
        }
        for one in chosen
    ]


#: Diphones joined, a statistical model of spectra, and formants by rule.
ENGINES = (
    Engine(
        "flite-diphone", "kal16", by_command("flite", "-voice", "kal16", "-t", "TEXT", "-o", "FILE")
    ),
    Engine(
        "flite-statistical", "slt", by_command("flite", "-voice", "slt", "-t", "TEXT", "-o", "FILE")
    ),
    Engine(
        "flite-statistical", "rms", by_command("flite", "-voice", "rms", "-t", "TEXT", "-o", "FILE")
    ),
    Engine("espeak-ng", "en-us", by_command("espeak-ng", "-v", "en-us", "-w", "FILE", "TEXT")),
)


def main() -> None:
    """Write the recordings and their manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--count", type=int, default=20, help="sentences of each voice")
    parser.add_argument("--people", default="", help="MANIFEST:SET of real recordings")
    args = parser.parse_args()
    out = Path(args.out)
    engines = [*ENGINES, Engine("hibari", "heart", spoken_by_hibari())]
    absent = sorted({engine.name for engine in engines if engine.say is None})
    if absent:
        print(f"not installed: {', '.join(absent)}")
    rows = say_all(engines, SENTENCES[: args.count], out)
    if args.people:
        manifest, _, corpus = args.people.rpartition(":")
        found = [one for one in read_recordings(manifest) if one.set == corpus and one.text]
        rows += people(found, args.count)
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "manifest.jsonl").write_text(lines, encoding="utf-8")
    print(f"{len(rows)} recordings of {len({row['set'] for row in rows})} systems in {out}")


if __name__ == "__main__":
    main()
