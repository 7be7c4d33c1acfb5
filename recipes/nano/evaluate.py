"""What the embedded model does on voices it never heard.

Numbers come with 95 % intervals from resampling speakers. Word error rates use Whisper tiny.en
(faster-whisper). Pitch and voicing are compared with the plain resynthesis of the same recording:
what tokens and decoder change anyway is not the edit's doing.

    python -m recipes.nano.evaluate EVAL_MANIFEST -o docs/results/nano.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

import stepaudio
from stepaudio import Audio, Edit, EditPipeline
from stepaudio.evaluation.bootstrap import Interval, mean_interval, pooled_interval
from stepaudio.evaluation.normalize import words
from stepaudio.evaluation.pitch import AutocorrelationPitch
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.words import ErrorCount, count_errors


@dataclass(frozen=True)
class Clip:
    """One evaluation recording."""

    id: str
    path: str
    speaker: str
    text: str


def read_clips(manifest: Path, prefix: str, seconds: float) -> list[Clip]:
    """English recordings with words of one set, none longer than ``seconds``."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [
        Clip(r["id"], str(manifest.parent / r["path"]), r["speaker"], r["text"])
        for r in rows
        if r["set"] == prefix and r["text"] and r["lang"] == "en" and r["seconds"] <= seconds
    ]


def word_errors(ears: WhisperRecognizer, audio: Audio, text: str) -> ErrorCount:
    """Word errors and words of a recording."""
    (heard,) = ears.transcribe([audio], "en")
    return count_errors(words(text), words(heard))


def pitch(audio: Audio) -> tuple[float, float]:
    """Median F0 in Hz (0 if none) and the voiced share of the loud frames."""
    f0 = np.nan_to_num(AutocorrelationPitch().track(audio))
    x = audio.resample(16000).samples.numpy()
    frames = min(len(f0), len(x) // 160)
    level = np.abs(x[: 160 * frames]).reshape(frames, 160).mean(axis=1)
    voiced = f0[:frames][level > 0.1 * np.percentile(level, 95)] > 0
    return float(np.median(f0[f0 > 0])) if (f0 > 0).any() else 0.0, float(voiced.mean())


def rounded(interval: Interval) -> dict[str, float | None]:
    """An interval as the report keeps it."""
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: end if end is None else round(end, 4) for name, end in ends.items()}


def word_error_rate(counts: Sequence[ErrorCount], speakers: Sequence[str]) -> dict[str, Any]:
    """Errors over words of the whole set, with its interval."""
    sizes = [c.reference for c in counts]
    return rounded(pooled_interval([c.errors for c in counts], sizes, speakers))


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown fragment, included by the model card."""

    def show(x: dict[str, float | None], digits: int = 2) -> str:
        if x["low"] is None:  # one speaker cannot be resampled
            return f"{x['value']:.{digits}f}"
        return f"{x['value']:.{digits}f} ({x['low']:.{digits}f}–{x['high']:.{digits}f})"

    lines = [
        f"{report['clips']} LibriSpeech recordings, {report['speakers']} speakers never heard:",
        f"Whisper tiny.en word error rate {show(report['wer_source'])} before and",
        f"{show(report['wer_resynth'])} after resynthesis (tokens and back); realtime factor",
        f"{report['rtf_resynth']:.2f} on one thread.",
        "",
        "| edit | duration × | F0 × | voiced share + | word error rate | ended | realtime factor |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["edits"].items():
        cells = [show(row[k]) for k in ("duration", "f0", "voiced", "wer", "ended")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['rtf']:.2f} |")
    for name, row in report["edits"].items():
        if "changed_15_percent" in row:
            share = show(row["changed_15_percent"])
            lines += [
                "",
                f"Share of clips that `{name}` makes at least 15 % the right way: {share}.",
            ]
    return "\n".join(lines) + "\n"


@dataclass
class Bench:
    """What a worker measures with."""

    pipeline: EditPipeline
    ears: WhisperRecognizer


_bench: list[Bench] = []


def prepare(model: str | None) -> None:
    """Load the model and the recogniser once per worker, which computes on one thread."""
    torch.set_num_threads(1)
    _bench[:] = [Bench(EditPipeline.from_pretrained(model), WhisperRecognizer(threads=1))]


def measure(clip: Clip, edit: Edit | None) -> dict[str, Any]:
    """One recording after an edit, or after resynthesis."""
    (bench,) = _bench
    audio = Audio.load(clip.path)
    if edit is None:
        result = bench.pipeline.resynthesize(audio, seed=0)
    else:
        result = bench.pipeline.edit(audio, edit, text=clip.text, seed=0)
    f0, voiced = pitch(result.audio)
    return {
        "duration": result.audio.seconds / audio.seconds, "f0": f0, "voiced": voiced,
        "wer": word_errors(bench.ears, result.audio, clip.text),
        "source": word_errors(bench.ears, audio, clip.text) if edit is None else None,
        "rtf": result.realtime_factor, "ended": float(result.complete),
    }  # fmt: skip


def summarize(
    edit: Edit, rows: list[dict[str, Any]], plain: list[dict[str, Any]], speakers: Sequence[str]
) -> dict[str, Any]:
    """Averages of one edit beside the resynthesis of the same recordings."""
    pairs = list(zip(rows, plain, strict=True))
    series = {
        "duration": [r["duration"] for r in rows],
        "f0": [r["f0"] / p["f0"] if r["f0"] and p["f0"] else 1.0 for r, p in pairs],
        "voiced": [r["voiced"] - p["voiced"] for r, p in pairs],
        "ended": [r["ended"] for r in rows],
    }
    if edit.kind == "speed":
        sign = -1 if edit.label == "faster" else 1
        series["changed_15_percent"] = [float(sign * (r["duration"] - 1) >= 0.15) for r in rows]
    summary: dict[str, Any] = {k: rounded(mean_interval(v, speakers)) for k, v in series.items()}
    summary["wer"] = word_error_rate([r["wer"] for r in rows], speakers)
    summary["rtf"] = round(float(np.median([r["rtf"] for r in rows])), 3)
    return summary


def main() -> None:
    """Measure resynthesis and edits and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=45, help="LibriSpeech recordings")
    parser.add_argument("--seconds", type=float, default=30.0, help="longest recording used")
    parser.add_argument("--edits", type=int, default=24, help="recordings per edit")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    args = parser.parse_args()
    manifest = Path(args.manifest)
    libri = read_clips(manifest, "librispeech", args.seconds)
    clips = libri[: args.clips]
    short = [*libri, *read_clips(manifest, "speechocean762", args.seconds)]
    chosen = short[:: max(1, len(short) // args.edits)][: args.edits]
    heard = [*clips, *(c for c in chosen if c not in clips)]
    report: dict[str, Any] = {
        "stepaudio": stepaudio.__version__, "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(), "threads": 1,
        "workers": args.workers,
        "clips": len(clips), "speakers": len({c.speaker for c in clips}),
    }  # fmt: skip
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, spawn, prepare, (args.model,)) as pool:

        def run(edit: Edit | None, over: list[Clip]) -> list[dict[str, Any]]:
            name = edit.published_label if edit else "resynth"
            rows = pool.map(measure, over, [edit] * len(over))
            return list(track(rows, name, len(over)))

        plain = dict(zip((c.id for c in heard), run(None, heard), strict=True))
        rows, names = [plain[c.id] for c in clips], [c.speaker for c in clips]
        report["wer_source"] = word_error_rate([r["source"] for r in rows], names)
        report["wer_resynth"] = word_error_rate([r["wer"] for r in rows], names)
        report["rtf_resynth"] = round(float(np.median([r["rtf"] for r in rows])), 3)
        print(json.dumps(report), flush=True)
        before, names = [plain[c.id] for c in chosen], [c.speaker for c in chosen]
        report["edits"] = {}
        wanted = [Edit.speed("faster"), Edit.speed("slower"), Edit.style("whisper")]
        wanted += [Edit.emotion(label) for label in ("happy", "sad", "angry", "surprised", "fear")]
        for edit in wanted:
            summary = summarize(edit, run(edit, chosen), before, names)
            report["edits"][f"{edit.kind}:{edit.published_label}"] = summary
            print(json.dumps({edit.published_label: summary}), flush=True)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Path(args.out).with_suffix(".md").write_text(table(report), encoding="utf-8")


if __name__ == "__main__":
    main()
