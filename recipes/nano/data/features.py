"""Stage 2: what the trainings read, computed once per recording.

A folder holds ``index.jsonl`` and one flat float16 file per kind of feature; opening it maps the
files, so nothing is read until a training touches it.

    python -m recipes.nano.data.features MANIFEST [MANIFEST ...] -o runs/nano/features
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyworld
import soxr
import torch
from rich.progress import track

from recipes.nano.data.corpus import Utterance, read_audio, read_manifest
from recipes.nano.data.phones import SILENCE
from stepaudio.decoder.mel import log_mel
from stepaudio.tokenizers.features import kaldi_fbank
from stepaudio.tokenizers.preprocess import normalize_energy
from stepaudio.tokenizers.whisper_mel import log_mel as whisper_log_mel
from stepaudio.types import MelSpec

__all__ = ["FRAME_SECONDS", "KINDS", "UNKNOWN_PHONE", "Features"]

#: Channels and frames per second of each kind; ``target`` holds phone, log F0, voicing, energy.
KINDS = {"fbank": (80, 100), "whisper": (128, 100), "mel": (80, 50), "target": (4, 50)}
UNKNOWN_PHONE = -1
#: Phones are decided every 20 ms.
FRAME_SECONDS = 0.02


def frame_labels(phones: list[tuple[int, float]], frames: int) -> torch.Tensor:
    """Phone index of every 20 ms, ``[frames]`` int64; silence after the last phone."""
    labels = torch.full((frames,), SILENCE, dtype=torch.int64)
    time = 0.0
    for phone, seconds in phones:
        start, end = round(time / FRAME_SECONDS), round((time + seconds) / FRAME_SECONDS)
        labels[start:end] = phone
        time += seconds
    return labels


def compute(utterance: Utterance) -> dict[str, npt.NDArray[np.float16]]:
    """All features of one recording, each ``[T, C]``."""
    torch.set_num_threads(1)
    samples = read_audio(utterance.path, 16000)
    x = torch.from_numpy(samples)
    level = normalize_energy(x)  # as the tokenizer sees it
    spec = MelSpec()
    wide = torch.from_numpy(soxr.resample(samples, 16000, spec.sample_rate))
    mel = log_mel(wide, spec).T
    frames = len(mel)
    f0, _ = pyworld.dio(
        samples.astype(np.float64), 16000, 65.0, 600.0, 2.0, FRAME_SECONDS * 1000, 4
    )
    f0 = np.pad(f0, (0, max(0, frames - len(f0))))[:frames]
    voiced = f0 > 0
    target = np.zeros((frames, 4), np.float32)
    if utterance.labels and "phones" in utterance.labels:
        target[:, 0] = frame_labels(utterance.labels["phones"], frames).numpy()
    else:
        target[:, 0] = UNKNOWN_PHONE
    target[:, 1] = np.log(np.where(voiced, f0, 1.0))
    target[:, 2] = voiced
    target[:, 3] = mel.exp().mean(dim=1).log().numpy()
    return {
        "fbank": kaldi_fbank(level, window="hamming", scale=32768.0).half().numpy(),
        "whisper": whisper_log_mel(level).T.half().numpy(),
        "mel": mel.half().numpy(),
        "target": target.astype(np.float16),
    }


class Features:
    """Features of many recordings, mapped from disk."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
        self.files = {
            kind: np.memmap(folder / f"{kind}.f16", np.float16, "r").reshape(-1, channels)
            for kind, (channels, _) in KINDS.items()
        }
        aligned = folder / "phones.npy"
        self.phones = np.load(aligned, mmap_mode="r") if aligned.exists() else None

    def __len__(self) -> int:
        return len(self.rows)

    def seconds(self, item: int) -> float:
        """Length of one recording."""
        return float(self.rows[item]["spans"]["mel"][1]) / KINDS["mel"][1]

    def get(
        self, item: int, kind: str, start: float = 0.0, seconds: float | None = None
    ) -> torch.Tensor:
        """A stretch of one kind of feature, ``[t, C]`` float32; times in seconds."""
        first, count = self.rows[item]["spans"][kind]
        rate = KINDS[kind][1]
        a = min(count, round(start * rate))
        b = count if seconds is None else min(count, a + round(seconds * rate))
        found = torch.from_numpy(self.files[kind][first + a : first + b].astype(np.float32))
        if kind == "target" and self.phones is not None:
            found[:, 0] = torch.from_numpy(self.phones[first + a : first + b].astype(np.float32))
        return found


def build(utterances: Sequence[Utterance], out: Path, workers: int) -> None:
    """Compute and write the features of all recordings."""
    out.mkdir(parents=True, exist_ok=True)
    at = dict.fromkeys(KINDS, 0)
    files = {kind: (out / f"{kind}.f16").open("wb") for kind in KINDS}
    with (out / "index.jsonl").open("w") as index, ProcessPoolExecutor(workers) as pool:
        results = pool.map(compute, utterances, chunksize=8)
        for utterance, arrays in track(
            zip(utterances, results, strict=True), "features", len(utterances)
        ):
            spans = {}
            for kind, array in arrays.items():
                files[kind].write(np.ascontiguousarray(array).tobytes())
                spans[kind] = [at[kind], len(array)]
                at[kind] += len(array)
            index.write(json.dumps(asdict(utterance) | {"spans": spans}, ensure_ascii=False) + "\n")
    for file in files.values():
        file.close()


def main() -> None:
    """Features of manifests; ``MANIFEST:N`` takes N random rows of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    chosen: list[Utterance] = []
    for entry in args.manifests:
        name, _, limit = entry.partition(":")
        rows = [u for u in read_manifest(name) if u.text]  # noises have none
        random.Random(0).shuffle(rows)
        chosen += rows[: int(limit)] if limit else rows
    build(chosen, Path(args.out), args.workers)


if __name__ == "__main__":
    main()
