"""Laws of the watermark that hold for every payload, length, rate and way of cutting."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio import Audio
from stepaudio.safety.watermark_code import CODE_BITS, decode, encode
from stepaudio.safety.watermark_spread import SpreadSpectrum

PAYLOADS = st.integers(0, (1 << 32) - 1)
RATES = st.sampled_from([8000, 11025, 16000, 22050, 24000, 44100, 48000])


def noise(count: int, seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(count, generator=torch.Generator().manual_seed(seed))


@given(PAYLOADS, st.sets(st.integers(0, CODE_BITS - 1), max_size=8))
@settings(max_examples=25, deadline=None)
def test_every_payload_survives_eight_wrong_signs(payload: int, wrong: set[int]) -> None:
    soft = encode(payload)
    soft[list(wrong)] *= -1
    assert decode(soft) == payload


@given(PAYLOADS, RATES, st.lists(st.integers(0, 2000), max_size=6), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_pieces_make_the_whole(payload: int, rate: int, sizes: list[int], seed: int) -> None:
    marker = SpreadSpectrum()
    sound = noise(sum(sizes), seed)
    stream = marker.stream(payload, rate)
    marked = torch.cat([*(stream.push(part) for part in sound.split(sizes)), stream.finish()])
    assert marked.shape == sound.shape
    if len(sound):
        assert torch.equal(marked, marker.embed(Audio(sound, rate), payload).samples)
        # Never louder than the strength allows, in all.
        assert (marked - sound).norm() <= 2 * marker.strength * sound.norm()


@given(st.integers(1, 3000), RATES, PAYLOADS)
@settings(max_examples=20, deadline=None)
def test_silence_stays_silent_and_unmarked(count: int, rate: int, payload: int) -> None:
    silence = Audio(torch.zeros(count), rate)
    marked = SpreadSpectrum().embed(silence, payload)
    assert not marked.samples.any()
    heard = SpreadSpectrum().detect(marked)
    assert not heard.found
    assert heard.payload is None


@given(st.floats(0, 1), st.floats(0.05, 1), PAYLOADS)
@settings(max_examples=20, deadline=None)
def test_outside_a_span_nothing_changes(start: float, length: float, payload: int) -> None:
    sound = Audio(noise(36000, 1), 24000)
    marked = SpreadSpectrum().embed(sound, payload, spans=[(start, start + length)])
    changed = np.flatnonzero((marked.samples != sound.samples).numpy()) / 24000
    assert ((start <= changed) & (changed <= start + length)).all()
    assert len(changed)
