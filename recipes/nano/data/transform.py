"""Stage: voices changed by rule: parallel recordings of the same person and words.

Pitch, envelope and noise of a recording (:mod:`recipes.nano.data.world`) are moved by the same
rules as the synthetic speech (:mod:`recipes.nano.data.voice_change`). Where only the tempo changes,
the recording itself is stretched: WORLD lost words there (WER 0.31 and 0.37), WSOLA hardly any
(0.09 and 0.11). Some changes come twice, the second time further: the same edit of what was edited
already, as in iterations, which else would be the first recording a model has to edit that nobody
ever said.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from recipes.nano.data.corpus import Utterance, read_audio, write_audio
from recipes.nano.data.plan import AGAIN, drawn
from recipes.nano.data.timeline import even
from recipes.nano.data.voice_change import CHANGES
from recipes.nano.data.world import RATE, Analysed
from stepaudio.audio import Audio
from stepaudio.tempo import change_tempo

__all__ = ["changed", "transform_one"]


def changed(
    source: Utterance, change: str, folder: Path, seconds: float, rate: float | None = None
) -> Utterance:
    """The row of a recording after a change by rule.

    Args:
        source: before the change.
        change: a key of :data:`recipes.nano.data.voice_change.CHANGES`.
        folder: where the recording is written.
        seconds: length of the source.
        rate: factor on the speaking rate; that of the rule if None.

    Returns:
        The row; nothing is written yet.
    """
    name = f"{source.id}-{change.replace(':', '-').replace(' ', '_')}"
    rate = CHANGES[change].rate if rate is None else rate
    labels: dict[str, Any] = {"times": even(seconds, rate)}
    for kind in ("words", "phones"):
        if kind in (source.labels or {}):
            labels[kind] = (source.labels or {})[kind]
    if "phones" in labels:
        labels["phones"] = [[phone, round(s / rate, 4)] for phone, s in labels["phones"]]
    return replace(
        source, id=name, path=str(folder / f"{name}.flac"), labels=labels, change=change,
        source=source.id, made="rule",
    )  # fmt: skip


def transform_one(source: Utterance, out: Path, edits: float, seed: int) -> list[Utterance]:
    """Render one recording with some of the rules.

    Args:
        source: at most a few seconds long.
        out: folder of the stage.
        edits: changed recordings of it, on average.
        seed: of the choice of rules.

    Returns:
        The rows.
    """
    torch.set_num_threads(1)
    rng = random.Random(zlib.crc32(f"{seed}{source.id}".encode()))
    names = drawn(CHANGES, edits, rng)
    if not names:
        return []
    samples = read_audio(source.path, RATE)
    analysed: Analysed | None = None
    rows = []
    for name in names:
        rule = CHANGES[name]
        row = changed(source, name, out / "audio", len(samples) / RATE)
        rows.append(row)
        if rule.only_tempo:
            wave = change_tempo(Audio(torch.from_numpy(samples), RATE), rule.rate).samples.numpy()
            write_audio(row.path, wave, RATE)
            continue
        analysed = analysed or Analysed(samples)
        wave = analysed.render(rule)
        write_audio(row.path, wave, RATE)
        if rng.random() < AGAIN:
            more = analysed.render(rule.again())
            twice = changed(row, name, out / "audio", len(wave) / RATE, len(wave) / len(more))
            write_audio(twice.path, more, RATE)
            rows.append(twice)
    return rows
