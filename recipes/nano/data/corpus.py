"""Recordings of the recipe: manifests of training data, and sound at a given rate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

import stepaudio.data as data
from stepaudio.data import Utterance

__all__ = ["Utterance", "read_audio", "read_manifest", "write_audio", "write_manifest"]


def read_manifest(path: str | Path) -> list[Utterance]:
    """Rows of a manifest; those marked ``train_ok: false`` are refused."""
    return data.read_manifest(path, training=True)


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write what a stage made, in place of what it made before."""
    data.write_manifest(path, utterances, force=True)


def read_audio(path: str | Path, sample_rate: int) -> npt.NDArray[np.float32]:
    """Samples of a mono recording at a given rate, ``[S]`` float32."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return np.ascontiguousarray(mono, dtype=np.float32)


def write_audio(path: str | Path, samples: npt.NDArray[np.float32], sample_rate: int) -> None:
    """Write 16-bit FLAC, scaled down if it would clip."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 0.99:
        samples = samples * (0.99 / peak)
    soundfile.write(path, samples, sample_rate, format="FLAC", subtype="PCM_16")
