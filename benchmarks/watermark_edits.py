"""The watermark in the pipeline: its share of an edit's time, and what a second edit leaves of it.

    python benchmarks/watermark_edits.py FOLDER... [-o FILE.json] [--count N]

Edits recordings with the embedded model, edits the results again, and listens to all of them. The
folders are those of ``watermark.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from distortions import RATE, opus
from machine import describe
from stage_work import writing
from watermark import SEED, as_audio, recordings

from stepaudio import Edit, EditPipeline, EditResult
from stepaudio.evaluation.systems import model_name
from stepaudio.safety.watermark import Watermarker, payload_of
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER

EDIT = Edit.emotion("happy")
#: Nobody listens to the words, so any will do.
WORDS = "one two"


def reads(marker: Watermarker, result: EditResult, seed: int) -> dict[str, Any]:
    """Whether a result tells the seed of its run, as it is and after Opus, or that of another."""
    if result.watermark is None:
        raise RuntimeError(f"the embedded model leaves no mark in an edit like {result.edits}")
    sound = result.audio.resample(RATE)
    coded = as_audio(opus(sound.samples.double().numpy(), None))
    heard, after = marker.detect(sound), marker.detect(coded)
    return {
        "seconds": round(sound.seconds, 2),
        "score": round(heard.score, 2),
        "read": heard.payload == payload_of(seed),
        "score_after_opus": round(after.score, 2),
        "read_after_opus": after.payload == payload_of(seed),
    }


def main() -> None:
    """Edit, edit again, listen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--out")
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    nano, marker = EditPipeline.from_pretrained(device="cpu"), DEFAULT_WATERMARKER
    pipeline = writing(nano)
    found: dict[str, list[dict[str, Any]]] = {}
    shares = []
    for _, sound in zip(range(args.count), recordings(args.folders, 3.0), strict=False):
        # Spoken anew, and changed in the recording, where one mark comes over the other.
        for kind, pipe in (("", pipeline), ("changed_", nano)):
            once = pipe.edit(as_audio(sound), EDIT, text=WORDS, seed=SEED)
            again = pipe.edit(once.audio, EDIT, text=WORDS, seed=SEED + 1)
            for name, result, seed in (("first", once, SEED), ("second", again, SEED + 1)):
                row = reads(marker, result, seed)
                found.setdefault(f"{kind}{name}_edit", []).append(row)
                print(f"{kind}{name}", row, file=sys.stderr, flush=True)
            if pipe is pipeline:
                start = time.perf_counter()
                marker.embed(once.audio, 0)
                shares.append((time.perf_counter() - start) / once.seconds_spent)
    # The mark of the first edit alone, after its sound was encoded and spoken anew, unmarked.
    silent = EditPipeline(pipeline.parts, defaults=pipeline.defaults, watermarker=None)
    sounds = recordings(args.folders, 3.0)
    left = [
        marker.detect(silent.resynthesize(marker.embed(as_audio(sound), 0), seed=SEED).audio).score
        for _, sound in zip(range(args.count), sounds, strict=False)
    ]
    report = {
        **describe(SEED),
        "model": model_name(None),
        "scheme": marker.name,
        "edits": len(shares),
        "share_of_an_edit": round(sorted(shares)[len(shares) // 2], 4),
        **found,
        "scores_left_by_resynthesis": [round(score, 2) for score in left],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
