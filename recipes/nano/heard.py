"""What is heard of a decoder that was tried: words, voice and naturalness on unknown speakers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepaudio.audio import Audio
from stepaudio.data import Utterance, read_manifest
from stepaudio.evaluation.bootstrap import mean_interval, pooled_interval
from stepaudio.evaluation.contracts import Metric, Sample
from stepaudio.evaluation.registry import MetricSettings, load_metrics

__all__ = ["COLUMNS", "Clip", "clips", "heard", "metrics", "timed"]

#: Seconds of a clip.
SHORTEST, LONGEST = 2.0, 16.0
#: Headings of what :func:`heard` finds, and of what the comparisons add.
COLUMNS = {
    "parameters": "parameters",
    "steps": "steps of training",
    "realtime_factor": "seconds per second",
    "wer": "WER",
    "similarity": "similarity",
    "p808": "P.808",
}


@dataclass(frozen=True)
class Clip:
    """A recording that nothing was trained on."""

    id: str
    speaker: str
    text: str
    audio: Audio


def clips(manifest: str | Path, count: int, group: str = "librispeech") -> list[Clip]:
    """The shortest fitting recording of each speaker.

    Args:
        manifest: for evaluation.
        count: speakers, at most; those with the shortest ones.
        group: set of the manifest.

    Returns:
        One recording per speaker.
    """
    rows = [row for row in read_manifest(manifest) if row.set == group]
    chosen: dict[str, Utterance] = {}
    for row in sorted(rows, key=lambda row: (row.seconds or 0.0, row.id)):
        if SHORTEST < (row.seconds or 0.0) < LONGEST and len(chosen) < count:
            chosen.setdefault(row.speaker, row)
    return [Clip(row.id, row.speaker, row.text, Audio.load(row.path)) for row in chosen.values()]


def metrics() -> list[Metric]:
    """Whisper, Resemblyzer and DNSMOS.

    Raises:
        SystemExit: one of them is not installed.
    """
    built, missing = load_metrics(("words", "speaker", "dnsmos"), MetricSettings())
    if missing:
        raise SystemExit(f"nothing can be compared without {missing}")
    return [one.metric for one in built]


def timed(make: Callable[[Clip], Audio], sources: Sequence[Clip]) -> tuple[dict[str, Audio], float]:
    """Make every clip again.

    Args:
        make: a clip to what is to be heard.
        sources: the clips.

    Returns:
        What was made by the id of the clip, and seconds of work for a second of the clips.
    """
    began = time.perf_counter()
    made = {clip.id: make(clip) for clip in sources}
    took = time.perf_counter() - began
    return made, took / sum(clip.audio.seconds for clip in sources)


def heard(
    made: Mapping[str, Audio], sources: Sequence[Clip], measures: Sequence[Metric]
) -> dict[str, Any]:
    """Measure what was made of the clips.

    Args:
        made: by the id of the clip.
        sources: the clips.
        measures: of :func:`metrics`.

    Returns:
        ``wer``, ``similarity`` and ``p808``, each with its 95 % interval by speakers.
    """
    samples = [
        Sample(clip.id, made[clip.id], clip.text, source=clip.audio, speaker=clip.speaker)
        for clip in sources
    ]
    found: list[dict[str, float | None]] = [{} for _ in samples]
    for measure in measures:
        for row, numbers in zip(found, measure.measure(samples), strict=True):
            row.update(numbers)
    speakers = [clip.speaker for clip in sources]

    def column(name: str) -> list[float | None]:
        return [row[name] for row in found]

    return {
        "wer": asdict(pooled_interval(column("word_errors"), column("words"), speakers)),
        "similarity": asdict(mean_interval(column("similarity"), speakers)),
        "p808": asdict(mean_interval(column("p808"), speakers)),
    }
