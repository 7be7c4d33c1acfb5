"""What mark, consent and provenance cost next to an edit.

    python benchmarks/trust_cost.py RECORDING [-o FILE.json] [--count N]

Computing time of this process in seconds, the median of so many times: an edit without a mark by
the embedded model, and each thing that is added to it. What happens once is measured once. The
recording should last about five seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import Any

import machine
from stage_work import writing

from stepaudio import Audio, Edit, EditPipeline
from stepaudio.evaluation.systems import model_name
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.matching import fingerprint
from stepaudio.safety.policy import SafetyPolicy, permit
from stepaudio.safety.provenance import history_of
from stepaudio.safety.store import TrustStore
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER
from stepaudio.voice import embed_voice

SEED = 0
#: Written anew by the language model, as most edits are.
EDIT = Edit.emotion("happy")
#: Nobody listens, so any words will do.
WORDS = "one two"


def seconds(do: Callable[[], Any], count: int = 1) -> float:
    """Median computing time."""
    spent = []
    for _ in range(count):
        start = time.process_time()
        do()
        spent.append(time.process_time() - start)
    return median(spent)


def agreed(store: TrustStore, voice: Audio, pipe: EditPipeline) -> ConsentRecord:
    """A record under which the policy ``strict`` lets the voice be edited."""
    now = datetime.now(timezone.utc)
    given, expires = ((now + timedelta(days=n)).isoformat(timespec="seconds") for n in (-1, 1))
    return ConsentRecord(
        speaker="the speaker",
        asked_by="the benchmark",
        purposes=("edit",),
        scope="timing",
        languages=("en",),
        given=given,
        expires=expires,
        fingerprint=fingerprint(
            [embed_voice(voice, pipe.parts.speaker)], [voice.digest()], pipe.encoder
        ),
        phrase="I agree",
        words="verified",
    ).signed(store.key)


def measure(recording: Path, folder: Path, count: int) -> dict[str, float]:
    """Seconds of each thing."""
    sound = Audio.load(recording)
    pipe = writing(EditPipeline.from_pretrained(device="cpu"))
    bare = EditPipeline(pipe.parts, defaults=pipe.defaults, watermarker=None)
    result = pipe.edit(sound, EDIT, text=WORDS, seed=SEED)
    assert result.provenance is not None
    assert result.watermark is not None
    manifest = result.provenance.manifest
    spent = {"edit": seconds(lambda: bare.edit(sound, EDIT, text=WORDS, seed=SEED), count)}
    spent["mark"] = seconds(lambda: DEFAULT_WATERMARKER.embed(result.audio, 0), count)

    def note() -> None:
        for audio in (sound, result.audio):
            audio.digest()
        history_of(sound).then(manifest)

    spent["manifest"] = seconds(note, count)
    path = folder / "out.wav"
    plain = seconds(lambda: result.audio.save(path, force=True), count)
    first = seconds(lambda: result.save(path, force=True))
    again = seconds(lambda: result.save(path, force=True), count)
    spent |= {"signing": again - plain, "making the key, once": first - again}
    store, strict = TrustStore(), SafetyPolicy.of("strict")
    record = agreed(store, sound, pipe)
    voice = embed_voice(sound, pipe.parts.speaker)
    spent["consent"] = seconds(lambda: permit(strict, "edit", record, voice, pipe.encoder), count)
    fresh = EditPipeline(pipe.parts, defaults=pipe.defaults)
    spent["digest of the weights, once"] = seconds(lambda: fresh.weights)
    return spent


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--count", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STEPAUDIO_TRUST_DIR"] = str(Path(folder) / "trust")
        spent = measure(args.recording, Path(folder), args.count)
    always = spent["mark"] + spent["manifest"] + spent["signing"]
    once = spent["digest of the weights, once"] + spent["making the key, once"]
    shares = {
        "share_of_an_edit": always,
        "share_with_consent": always + spent["consent"],
        "share_of_the_first_edit": always + spent["consent"] + once,
    }
    report = {
        **machine.describe(SEED),
        "model": model_name(None),
        "recording_seconds": round(Audio.load(args.recording).seconds, 2),
        "repeated": args.count,
        "seconds": {name: round(value, 4) for name, value in spent.items()},
        **{name: round(value / spent["edit"], 4) for name, value in shares.items()},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
