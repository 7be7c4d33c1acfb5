"""How often the built-in watermark is found, what it survives, what it costs.

    python benchmarks/watermark.py FOLDER... [-o FILE.json] [--unmarked N] [--marked N]

The folders hold recordings of real speech (any format libsndfile reads, at least S seconds each are
used). Unmarked ones give the score that one in a thousand reaches; others are marked, distorted and
listened to. With the extra package ``pesq`` the quality of the marked ones is judged. Writes the
figures with the machine, the versions and the seed; the recordings are drawn by the seed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from distortions import DISTORTIONS, RATE, Samples
from machine import describe

from stepaudio import Audio
from stepaudio.errors import AudioError
from stepaudio.safety.watermark_spread import SpreadSpectrum

SEED = 0
FALSE_POSITIVES = 1e-3
JUDGED = 50  # recordings whose quality is measured; PESQ takes its time
SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


def recordings(folders: list[Path], seconds: float) -> Iterator[Samples]:
    """The middle of every recording that is long enough, in an order drawn by the seed."""
    files = [f for one in folders for f in sorted(one.rglob("*")) if f.suffix in SUFFIXES]
    for number in np.random.default_rng(SEED).permutation(len(files)):
        info = soundfile.info(files[number])
        if info.duration < seconds:
            continue
        try:
            audio = Audio.load(files[number]).require_sound().resample(RATE)
        except AudioError:
            continue
        length = round(seconds * RATE)
        start = (len(audio) - length) // 2
        part = audio.samples[start : start + length].double().numpy()
        peak = np.abs(part).max()
        # As loud as what a pipeline makes, so that no distortion clips.
        if len(part) == length and peak > 1e-3:
            yield part * (0.6 / peak)


def as_audio(samples: Samples) -> Audio:
    """Samples as the library takes them."""
    return Audio(torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), RATE)


def interval(hits: int, count: int) -> list[float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return [round(abs(max(0.0, middle - half)), 4), round(min(1.0, middle + half), 4)]


def quality(marked: Samples, plain: Samples) -> dict[str, float]:
    """Signal-to-noise ratio in dB and, where the package is there, wide-band PESQ."""
    noise = np.sum((marked - plain) ** 2)
    found = {"snr": float(10 * np.log10(np.sum(plain**2) / noise))}
    try:
        from pesq import NoUtterancesError, pesq
    except ImportError:
        return found
    pair = [soxr.resample(sound, RATE, 16000) for sound in (plain, marked)]
    try:
        return {**found, "pesq": float(pesq(16000, *pair, "wb"))}
    except NoUtterancesError:
        return found


def listen(
    marker: SpreadSpectrum, sounds: list[Samples], payloads: list[int], rare: float
) -> dict[str, Any]:
    """How often marks are found and read, and how sure the detector was."""
    heard = [marker.detect(as_audio(sound)) for sound in sounds]
    count = len(heard)
    scores = sorted(one.score for one in heard)
    found = sum(score >= marker.threshold for score in scores)
    pairs = list(zip(heard, payloads, strict=True))
    return {
        "found": round(found / count, 4),
        "found_95": interval(found, count),
        "found_at_1_in_1000": round(sum(score > rare for score in scores) / count, 4),
        "payload_read": round(sum(one.payload == payload for one, payload in pairs) / count, 4),
        "payload_withheld": round(sum(one.payload is None for one in heard) / count, 4),
        "wrong_bits_in_payloads_given": sum(
            bin(one.payload ^ payload).count("1")
            for one, payload in pairs
            if one.payload is not None
        ),
        "median_score": round(scores[count // 2], 2),
        "lowest_score": round(scores[0], 2),
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--out")
    parser.add_argument("--unmarked", type=int, default=1200)
    parser.add_argument("--marked", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    marker = SpreadSpectrum()
    rng = np.random.default_rng(SEED)
    source = recordings(args.folders, args.seconds)
    report: dict[str, Any] = {
        **describe(SEED, "numpy"),
        "scheme": marker.name,
        "strength": marker.strength,
        "threshold": marker.threshold,
        "seconds": args.seconds,
    }

    start = time.process_time()
    scores = sorted(
        marker.detect(as_audio(sound)).score
        for _, sound in zip(range(args.unmarked), source, strict=False)
    )
    spent = (time.process_time() - start) / (len(scores) * args.seconds)
    rare = scores[-1 - int(FALSE_POSITIVES * len(scores))]
    report["unmarked"] = {
        "recordings": len(scores),
        "median_score": round(scores[len(scores) // 2], 2),
        "exceeded_by_1_in_1000": round(rare, 2),
        "highest": round(scores[-1], 2),
        "found": sum(score >= marker.threshold for score in scores),
    }
    report["search_seconds_per_second"] = round(spent, 3)
    print(report["unmarked"], file=sys.stderr, flush=True)

    plain = [sound for _, sound in zip(range(args.marked), source, strict=False)]
    payloads = [int(rng.integers(1 << 32)) for _ in plain]
    start = time.process_time()
    marked = [
        marker.embed(as_audio(sound), payload).samples.double().numpy()
        for sound, payload in zip(plain, payloads, strict=True)
    ]
    spent = (time.process_time() - start) / (len(plain) * args.seconds)
    report["embed_seconds_per_second"] = round(spent, 4)
    judged = [quality(a, b) for a, b in zip(marked[:JUDGED], plain, strict=False)]
    for name in ("snr", "pesq"):
        values = [one[name] for one in judged if name in one]
        if not values:
            continue
        report[name] = {
            "mean": round(float(np.mean(values)), 2),
            "lowest_5_percent": round(float(np.percentile(values, 5)), 2),
            "recordings": len(values),
        }
    report["marked"] = len(marked)
    report["after"] = {}
    for name, distort in DISTORTIONS.items():
        sounds = [distort(one, rng) for one in marked]
        report["after"][name] = listen(marker, sounds, payloads, rare)
        print(name, report["after"][name], file=sys.stderr, flush=True)
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
