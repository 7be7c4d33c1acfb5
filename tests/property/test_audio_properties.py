"""Laws of Audio that hold for every signal."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stepaudio.audio import Audio
from stepaudio.errors import AudioError

finite = st.floats(-1, 1, width=32)
signals = hnp.arrays(np.float32, st.integers(1, 400), elements=finite)
rates = st.integers(8000, 192000)


@given(signals, rates, rates)
@settings(max_examples=60, deadline=None)
def test_resampled_length_is_the_rounded_ratio(x: np.ndarray, rate: int, new: int) -> None:
    audio = Audio.load(x, sample_rate=rate).resample(new)
    assert len(audio) == (len(x) if rate == new else max(1, round(len(x) * new / rate)))
    assert audio.samples.isfinite().all()


@given(signals, rates, st.sampled_from(["PCM_16", "PCM_24", "PCM_32", "FLOAT"]))
@settings(max_examples=40, deadline=None)
def test_save_and_load_agree_within_half_a_step(x: np.ndarray, rate: int, subtype: str) -> None:
    step = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "PCM_32": 2.0**-24, "FLOAT": 0.0}[subtype]
    with tempfile.TemporaryDirectory() as folder:
        path = Audio.load(x, sample_rate=rate).save(Path(folder) / "a.wav", subtype=subtype)
        again = Audio.load(path)
        # Full scale itself has no integer code: +1 becomes the code below.
        assert np.abs(again.samples.numpy() - x).max() <= step
        twice = Audio.load(again.save(Path(folder) / "b.wav", subtype=subtype))
        assert torch.equal(twice.samples, again.samples)


@given(signals, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_clip_gives_those_samples_or_refuses(x: np.ndarray, a: float, b: float) -> None:
    audio = Audio.load(x, sample_rate=8000)
    start, end = a * audio.seconds, b * audio.seconds
    try:
        part = audio.clip(start, end)
    except AudioError:
        assert round(start * 8000) >= round(end * 8000)
        return
    expected = audio.samples[round(start * 8000) : round(end * 8000)]
    assert torch.equal(part.samples, expected)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(40, 90)), elements=finite),
    rates,
)
@settings(max_examples=40, deadline=None)
def test_channel_axis_does_not_matter(x: np.ndarray, rate: int) -> None:
    rows = Audio.load(x, sample_rate=rate).samples
    columns = Audio.load(np.ascontiguousarray(x.T), sample_rate=rate).samples
    assert torch.allclose(rows, columns, atol=1e-6)
    assert torch.allclose(rows, torch.from_numpy(x).mean(0), atol=1e-6)


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_garbage_never_escapes_as_another_error(content: bytes) -> None:
    for source in (content, io.BytesIO(b"RIFF\x24\x00\x00\x00WAVEfmt " + content)):
        with contextlib.suppress(AudioError):
            assert Audio.load(source).samples.isfinite().all()
