"""What the trainings read, computed once per recording.

A folder holds ``index.jsonl`` and one flat float16 file per kind of feature; opening it maps the
files, so nothing is read until a training touches it. A recording counts once its line of the index
is written; a command that was stopped cuts off what came after the last line and goes on.

    python -m recipes.nano.data.features MANIFEST [MANIFEST ...] -o runs/nano/features
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch
import torch.nn.functional as F
from rich.progress import track

from recipes.nano.data.corpus import Utterance, read_audio, read_manifest
from recipes.nano.data.symbols import SILENCE, UNKNOWN_PHONE
from stepaudio.audio import Audio
from stepaudio.decoder.mel import log_mel
from stepaudio.pitch_track import track_pitch
from stepaudio.tokenizers.features import kaldi_fbank
from stepaudio.tokenizers.preprocess import normalize_energy
from stepaudio.tokenizers.whisper_mel import log_mel as whisper_log_mel
from stepaudio.types import MelSpec

__all__ = ["FRAME_SECONDS", "KINDS", "Features", "build"]

#: Channels and frames per second of each kind; ``target`` holds phone, log F0, voicing, energy.
KINDS = {"fbank": (80, 100), "whisper": (128, 100), "mel": (80, 50), "target": (4, 50)}
#: Pitches of other frequencies are none.
LOWEST_HZ, HIGHEST_HZ = 58.0, 500.0
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


def targets(samples: torch.Tensor, mel: torch.Tensor, utterance: Utterance) -> torch.Tensor:
    """What the semantic tokenizer learns beside the mel, ``[T, 4]`` every 20 ms.

    Pitch comes from the library's own tracker: DIO, which was here before, calls many voiced frames
    unvoiced (``docs/experiments/nano.md``).
    """
    frames = len(mel)
    found = torch.zeros(frames, 4)
    phones = (utterance.labels or {}).get("phones")
    found[:, 0] = UNKNOWN_PHONE if phones is None else frame_labels(phones, frames)
    f0 = track_pitch(Audio(samples, 16000), hop=round(16000 * FRAME_SECONDS))[:frames]
    f0 = F.pad(f0, (0, frames - len(f0)), value=torch.nan)
    voiced = (f0 >= LOWEST_HZ) & (f0 <= HIGHEST_HZ)
    found[:, 1] = torch.where(voiced, f0, torch.ones(())).log()
    found[:, 2] = voiced.float()
    found[:, 3] = mel.exp().mean(dim=1).log()
    return found


def compute(utterance: Utterance, kinds: Collection[str]) -> dict[str, npt.NDArray[np.float16]]:
    """Features of one recording, each ``[T, C]``."""
    torch.set_num_threads(1)
    samples = read_audio(utterance.path, 16000)
    x = torch.from_numpy(samples)
    level = normalize_energy(x)  # as the tokenizer sees it
    spec = MelSpec()
    wide = torch.from_numpy(soxr.resample(samples, 16000, spec.sample_rate))
    mel = log_mel(wide, spec).T
    made: dict[str, Callable[[], torch.Tensor]] = {
        "fbank": lambda: kaldi_fbank(level, window="hamming", scale=32768.0),
        "whisper": lambda: whisper_log_mel(level).T,
        "mel": lambda: mel,
        "target": lambda: targets(x, mel, utterance),
    }
    return {kind: made[kind]().half().numpy() for kind in kinds}


class Features:
    """Features of many recordings, mapped from disk."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
        self.files = {
            kind: np.memmap(folder / f"{kind}.f16", np.float16, "r").reshape(-1, channels)
            for kind, (channels, _) in KINDS.items()
            if (folder / f"{kind}.f16").exists()
        }
        aligned = folder / "phones.npy"
        self.phones = np.load(aligned, mmap_mode="r") if aligned.exists() else None

    def __len__(self) -> int:
        return len(self.rows)

    def seconds(self, item: int) -> float:
        """Length of one recording."""
        return float(self.rows[item]["spans"]["target"][1]) / KINDS["target"][1]

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


def build(
    utterances: Sequence[Utterance], out: Path, workers: int, kinds: Collection[str] = tuple(KINDS)
) -> None:
    """Compute and write the features of all recordings, going on where a run before stopped.

    Args:
        utterances: in the order of the index.
        out: the folder.
        workers: processes.
        kinds: of :data:`KINDS`.

    Raises:
        ValueError: the folder holds features of other recordings.
    """
    out.mkdir(parents=True, exist_ok=True)
    at = dict.fromkeys(kinds, 0)
    done = _whole_lines(out / "index.jsonl")
    if [row["id"] for row in done] != [u.id for u in utterances[: len(done)]]:
        raise ValueError(f"{out} holds features of other recordings; name another folder")
    if done:
        at = {kind: sum(span) for kind, span in done[-1]["spans"].items()}
    files = {kind: (out / f"{kind}.f16").open("ab") for kind in kinds}
    for kind, file in files.items():
        file.truncate(at[kind] * KINDS[kind][0] * np.dtype(np.float16).itemsize)
    left = utterances[len(done) :]
    work = partial(compute, kinds=tuple(kinds))
    with (out / "index.jsonl").open("a") as index, ProcessPoolExecutor(workers) as pool:
        results = pool.map(work, left, chunksize=8)
        for utterance, arrays in track(zip(left, results, strict=True), "features", len(left)):
            spans = {}
            for kind, array in arrays.items():
                files[kind].write(np.ascontiguousarray(array).tobytes())
                files[kind].flush()
                spans[kind] = [at[kind], len(array)]
                at[kind] += len(array)
            index.write(json.dumps(asdict(utterance) | {"spans": spans}, ensure_ascii=False) + "\n")
            index.flush()
    for file in files.values():
        file.close()


def _whole_lines(index: Path) -> list[dict[str, Any]]:
    """Rows of an index; a line that a stop left half written is cut off."""
    found = index.read_bytes() if index.exists() else b""
    whole = found[: found.rfind(b"\n") + 1]
    if whole != found:
        index.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


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
