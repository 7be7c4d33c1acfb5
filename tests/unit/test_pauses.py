"""Pauses are found by level, and cutting them leaves every sample of the words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.pauses import EDGE, MARGIN, cut_pauses, find_pauses

FADE = 0.01
DEMO = Audio.load(Path(__file__).parents[2] / "docs" / "audio" / "demo.flac")


def speech(*seconds: float, rate: int = 16000, hiss: float = 1e-3, seed: int = 0) -> Audio:
    """Silence and loud noise in turn, silence first."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(round(length * rate), generator=generator) * (0.1 if number % 2 else hiss)
        for number, length in enumerate(seconds)
    ]
    return Audio(torch.cat(parts).clamp(-1, 1), rate)


def test_pauses_are_where_they_were_put() -> None:
    found = find_pauses(speech(0.5, 1.0, 0.4, 0.7, 0.3))
    expected = [(0.0, 0.5), (1.5, 1.9), (2.6, 2.9)]
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=0.03)
    assert found[0][0] == 0.0
    assert found[-1][1] == pytest.approx(2.9)


def test_what_is_no_pause() -> None:
    assert find_pauses(speech(0.0, 0.5, 0.1, 0.5)) == []  # the closure of a stop
    assert len(find_pauses(speech(0.0, 0.5, 0.3, 0.02, 0.3, 0.5))) == 1  # a click in a pause
    assert find_pauses(speech(0.0, 1.0, 0.5, 1.0, hiss=0.05)) == []  # speech hardly above its noise
    assert find_pauses(speech(0.0, 0.004)) == []
    assert find_pauses(Audio(torch.zeros(16000), 16000)) == []


def test_a_noisy_pause_is_a_pause() -> None:
    assert len(find_pauses(speech(0.0, 1.0, 0.5, 1.0, hiss=0.01))) == 1


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 44100]),
    silences=st.lists(st.sampled_from([0.0, 0.1, 0.35, 0.6, 1.5]), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_only_silence_goes(rate: int, silences: list[float], seed: int) -> None:
    """The length follows from the pauses alone, and every sound is there sample for sample."""
    first, middle, last = silences
    audio = speech(first, 0.6, middle, 0.7, last, rate=rate, seed=seed)
    cut = cut_pauses(audio)
    gone = sum(max(0.0, silence - EDGE) for silence in (first, last))
    gone += max(0.0, middle - 2 * MARGIN + FADE) if middle > 2 * MARGIN else 0.0
    assert cut.sample_rate == rate
    assert audio.seconds - cut.seconds == pytest.approx(gone, abs=0.08)
    for begin, length in ((first, 0.6), (first + 0.6 + middle, 0.7)):
        start = round(begin * rate)
        heard = audio.samples[start : start + round(length * rate)]
        marker = heard[:32]
        windows = cut.samples.unfold(0, len(marker), 1)
        at = int((windows == marker).all(-1).nonzero()[0])
        assert torch.equal(cut.samples[at : at + len(heard)], heard)


def test_nothing_to_cut_is_the_same_recording() -> None:
    audio = speech(0.05, 1.0, 0.15, 1.0, 0.05)
    assert cut_pauses(audio) is audio


def test_cut_twice_is_cut_once() -> None:
    once = cut_pauses(speech(0.8, 1.0, 1.0, 1.0, 0.8))
    assert cut_pauses(once).seconds == pytest.approx(once.seconds, abs=0.05)


def within(share: float, hiss: float) -> Audio:
    """The demo recording in the middle of a longer one that is otherwise a hiss."""
    count = round(len(DEMO) / share)
    samples = hiss * torch.randn(count, generator=torch.Generator().manual_seed(0))
    first = (count - len(DEMO)) // 2
    samples[first : first + len(DEMO)] += DEMO.samples
    return Audio(samples, DEMO.sample_rate)


@pytest.mark.parametrize("hiss", [0.0, 1e-4, 3e-3])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.045, 0.06, 0.1, 0.25, 0.5, 1.0])
def test_any_share_of_speech_is_found(share: float, hiss: float) -> None:
    cut = cut_pauses(within(share, hiss))
    assert DEMO.seconds - 1.3 < cut.seconds < DEMO.seconds + 0.3


@pytest.mark.parametrize("share", [0.25, 0.4, 0.7, 1.0])
def test_the_rule_for_rare_speech_changes_nothing_else(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a quarter of a recording is speech, its level is that of the loudest twentieth."""
    recordings = [within(share, hiss) for hiss in (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1)]
    recordings += [speech(1 / share - 1, 1.0, hiss=hiss) for hiss in (1e-3, 0.01, 0.05)]
    found = [find_pauses(audio) for audio in recordings]
    monkeypatch.setattr("stepaudio.pauses._RARE_CONTRAST_DB", math.inf)
    assert found == [find_pauses(audio) for audio in recordings]


def test_a_bang_does_not_make_noisy_speech_a_pause() -> None:
    noisy = within(1.0, 0.1).samples.repeat(4)
    noisy[1000:5000] = torch.randn(4000, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    assert find_pauses(Audio(noisy, DEMO.sample_rate)) == []
