from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.errors import EditError
from stepaudio.spans import FADE_SECONDS, Cut, cross_fade, find_cut, splice

UNIT = Fraction(3, 25)


def noise(seconds: float, rate: int = 16000, seed: int = 0) -> Audio:
    generator = torch.Generator().manual_seed(seed)
    return Audio(0.1 * torch.randn(round(seconds * rate), generator=generator), rate)


def test_whole_units_are_cut() -> None:
    assert find_cut(noise(3), (1.2, 2.4), UNIT) == Cut(19200, 38400)  # ten units, no room to move
    cut = find_cut(noise(3), (1.2, 2.5), UNIT)
    assert cut.last - cut.first == 19200
    assert 19200 <= cut.first <= 20800
    whole = noise(0.36)
    assert find_cut(whole, (0, whole.seconds), UNIT) == Cut(0, len(whole))


def test_the_ends_are_laid_where_it_is_quiet() -> None:
    audio = noise(3)
    audio.samples[20000:20200] = 0  # 12.5 ms
    cut = find_cut(audio, (1.2, 2.5), UNIT)
    fade = round(FADE_SECONDS * 16000)
    assert 20000 <= cut.first <= 20200 - fade
    # Both ends count: a louder left end is taken if the right one is silent for long.
    audio = noise(3)
    audio.samples[39000:41000] = 0
    assert 39000 + fade <= find_cut(audio, (1.2, 2.5), UNIT).last <= 40000


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((1.0, 1.1), "at least 0.12 s"),
        ((2.0, 1.0), "0 <= start < end"),
        ((1.0, 1.0), "0 <= start < end"),
        ((-0.5, 1.0), "recording of 3.000 s"),
        ((1.0, 3.5), "recording of 3.000 s"),
        ((math.nan, 2.0), "0 <= start < end"),
        ((1.0, math.inf), "0 <= start < end"),
        ((1.0,), "two times"),
        ((1.0, 2.0, 3.0), "two times"),
        (("a", "b"), "two times"),
    ],
)
def test_bad_spans(span, message: str) -> None:
    with pytest.raises(EditError, match=message):
        find_cut(noise(3), span, UNIT)


def test_silence_cannot_be_edited() -> None:
    audio = noise(3)
    audio.samples[16000:32000] = 0
    with pytest.raises(EditError, match="nothing to hear from 1 s to 2 s"):
        find_cut(audio, (1.0, 2.0), UNIT)


@settings(max_examples=50, deadline=None)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    new_rate=st.sampled_from([16000, 24000]),
    start=st.floats(0, 1.8),
    length=st.floats(0.13, 1.0),
    new_seconds=st.floats(0.01, 2.0),
)
def test_only_the_cut_changes(rate, new_rate, start, length, new_seconds):
    audio, new = noise(3, rate), noise(new_seconds, new_rate, seed=1)
    cut = find_cut(audio, (start, start + length), UNIT)
    assert round(start * rate) <= cut.first < cut.last <= round((start + length) * rate)
    # Enough for the units at the tokenizers' rate, and less than one more.
    units = int(Fraction(round((start + length) * rate) - round(start * rate), rate) / UNIT)
    assert 0 <= (cut.last - cut.first) - units * UNIT * rate < 1
    joined, (begin, end) = splice(audio, cut, new)
    part = round(len(new) * rate / new_rate)
    assert joined.sample_rate == rate
    assert len(joined) == len(audio) - (cut.last - cut.first) + part
    assert torch.equal(joined.samples[: cut.first], audio.samples[: cut.first])
    after = len(audio) - cut.last
    assert torch.equal(joined.samples[len(joined) - after :], audio.samples[cut.last :])
    assert round(begin * rate) == cut.first
    assert round(end * rate) == cut.first + part


def test_fades_have_equal_power() -> None:
    """Over many unrelated noises the power in the fades is that of both sides."""
    fade = round(FADE_SECONDS * 16000)
    power = torch.zeros(fade)
    for seed in range(400):
        audio, new = noise(0.6, seed=seed), noise(0.3, seed=seed + 1000)
        joined, _ = splice(audio, Cut(3200, 6400), new)
        power += joined.samples[3200 : 3200 + fade].square() / 400
    assert power.mean() == pytest.approx(0.01, rel=0.05)
    assert power.min() > 0.007
    assert power.max() < 0.013


def test_a_part_replaced_by_itself_changes_nothing() -> None:
    audio, cut = noise(0.6), Cut(3200, 6400)
    joined, where = splice(audio, cut, cut.of(audio))
    torch.testing.assert_close(joined.samples, audio.samples)
    assert where == (0.2, 0.4)


def test_fades_begin_with_the_old_and_end_with_the_new() -> None:
    old, new = torch.ones(160), torch.zeros(160)
    faded = cross_fade(old, new)
    assert faded[0] > 0.9999
    assert faded[-1] < 0.01
    assert (faded.diff() < 0).all()
    assert faded[79:81].mean() == pytest.approx(0.5**0.5, abs=1e-3)


def test_level_of_a_loud_recording_is_kept() -> None:
    """Its voice was scaled to a peak of 0.6, so the part comes out as much too quiet."""
    time = torch.arange(16000) / 16000
    loud = Audio(0.9 * torch.sin(2 * torch.pi * 100 * time), 16000)
    quiet = Audio(0.6 * torch.sin(2 * torch.pi * 100 * time)[:4800], 16000)
    joined, _ = splice(loud, Cut(3200, 8000), quiet)
    torch.testing.assert_close(joined.samples[3400:7800], loud.samples[200:4600])
    # Never beyond full scale.
    peak = Audio(quiet.samples / 0.6 * 0.8, 16000)
    joined, _ = splice(loud, Cut(3200, 8000), peak)
    assert joined.samples[3400:7800].abs().max() == pytest.approx(1.0, abs=1e-3)
