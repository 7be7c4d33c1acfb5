"""Energy normalisation, trimming, peak limit and resampling against the golden arrays."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from conftest import assert_close
from torch import Tensor

from stepaudio.tokenizers.preprocess import (
    limit_peak,
    normalize_energy,
    resample,
    sound_bounds,
    trim_silence,
)


def stated(note: str, pattern: str, default: tuple[str, ...]) -> tuple[float, ...]:
    """Numbers that the golden file's own note gives for an input."""
    found = re.search(pattern, note)
    return tuple(float(group) for group in (found.groups() if found else default))


@pytest.fixture(scope="module")
def inputs(golden: Any) -> dict[str, Tensor]:
    gold = golden("preprocess")
    note, w16 = gold.meta["note"], gold["w16"][0]
    before, factor, after = stated(
        note, r"padded = (\d+) zeros \+ ([\d.]+)\*w16 \+ (\d+) zeros", ("9000", "0.3", "11111")
    )
    (quiet,) = stated(note, r"quiet = ([\d.]+)\*w16", ("0.002",))
    start, end = stated(note, r"short = w16\[(\d+):(\d+)\]", ("4000", "9000"))
    padded = torch.cat([torch.zeros(int(before)), factor * w16, torch.zeros(int(after))])
    return {
        "w16": w16,
        "padded": padded,
        "quiet": quiet * w16,
        "short": w16[int(start) : int(end)],
    }


@pytest.mark.parametrize("name", ["w16", "padded", "quiet", "short"])
def test_energy_and_trim(golden: Any, inputs: dict[str, Tensor], name: str) -> None:
    gold, waveform = golden("preprocess"), inputs[name]
    length_in, length_out = gold[f"{name}_len"].tolist()
    assert len(waveform) == length_in
    normal = normalize_energy(waveform)
    loudest = int(waveform.abs().argmax())
    assert float(normal[loudest] / waveform[loudest]) == pytest.approx(
        float(gold[f"{name}_scale"]), rel=1e-6
    )
    if f"{name}_energy" in gold.arrays:
        assert_close(normal[None], gold[f"{name}_energy"], 1e-6)
    assert list(sound_bounds(normal)) == gold[f"{name}_idx"].tolist()
    trimmed = trim_silence(normal)
    assert len(trimmed) == length_out
    # Some files keep only the beginning of the result.
    expected = gold[f"{name}_trim"]
    assert_close(trimmed[: len(expected)], expected, 1e-6)


def test_peak_limit(golden: Any) -> None:
    gold = golden("preprocess")
    loud, expected = gold["peak_in"][0], gold["peak_out"][0]
    assert_close(limit_peak(loud), expected, 1e-6)
    assert torch.equal(limit_peak(expected * 0.9), expected * 0.9)


def test_resampling(golden: Any) -> None:
    gold = golden("resample")
    names = [name for name in gold.arrays if re.fullmatch(r"r\d+_\d+", name)]
    assert names
    for name in names:
        from_rate, to_rate = map(int, name[1:].split("_"))
        found = resample(gold["samples"], from_rate, to_rate)
        assert len(found) == math.ceil(len(gold["samples"]) * to_rate / from_rate)
        assert_close(found, gold[name], 2e-5)
