"""Recordings on disk with a manifest: one JSON object per line, paths relative to the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from stepaudio.hub import write_atomic

__all__ = ["Utterance", "read_audio", "read_manifest", "write_audio", "write_manifest"]


@dataclass(frozen=True)
class Utterance:
    """One recording.

    Attributes:
        id: unique in its manifest.
        path: of the sound file.
        speaker: speaker id.
        text: words spoken, empty if unknown.
        lang: ISO language code.
        labels: frame-level facts, e.g. ``phones`` as ``[index, seconds]`` pairs.
        change: what was done to the recording, ``"none"`` for an untouched one.
        source: id of the recording this one was made from, empty if none.
        licence: of the recording, or of the engine that spoke.
        made: by whom the row sounds as it does: ``"human"`` (a person, as recorded), ``"rule"``
            (a person or an engine, then changed by rule) or ``"engine"`` (as an engine spoke).
        engine: that spoke, with its version; empty for a person.
    """

    id: str
    path: str
    speaker: str
    text: str
    lang: str = "en"
    labels: dict[str, Any] | None = None
    change: str = "none"
    source: str = ""
    licence: str = ""
    made: str = "human"
    engine: str = ""


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a manifest of this recipe or of a corpus; rows marked ``train_ok: false`` are refused.

    Args:
        path: the JSONL file.

    Returns:
        Utterances with absolute paths.

    Raises:
        ValueError: a row may not be used for training.
    """
    path = Path(path)
    known = set(Utterance.__dataclass_fields__)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if not row.get("train_ok", True):
            raise ValueError(f"{path}:{number}: {row['id']} is not licensed for training")
        kept = {key: value for key, value in row.items() if key in known}
        kept["path"] = str((path.parent / row["path"]).resolve())
        kept["text"] = row.get("text") or ""
        kept["lang"] = row.get("lang") or "xx"
        kept["licence"] = row.get("licence") or ""
        rows.append(Utterance(**kept))
    return rows


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest; paths become relative to it when they lie below its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    base = path.parent.resolve()
    lines = []
    for utterance in utterances:
        row = asdict(utterance)
        target = Path(utterance.path).resolve()
        if target.is_relative_to(base):
            row["path"] = str(target.relative_to(base))
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    text = "".join(lines)
    write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"), force=True)


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
