"""The stretch a sound is put into, in recordings of which every word's time is known."""

from __future__ import annotations

import re

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.sound_places import FAR, NEAR, sound_stretch

RATE = 16000
WORD, PAUSE = 0.5, 0.25
WORDS = [f"{first}{second}" for first in "abcdefg" for second in ("xyz", "uvw")]


def spoken(count: int) -> Audio:
    """So many words of noise, ``WORD`` seconds each and ``PAUSE`` apart."""
    generator = torch.Generator().manual_seed(0)
    word = 0.2 * torch.randn(round(WORD * RATE), generator=generator).clamp(-3, 3)
    return Audio(torch.cat([word, torch.zeros(round(PAUSE * RATE))]).repeat(count), RATE)


def said_between(start: float, end: float) -> list[str]:
    times = [(n * (WORD + PAUSE), n * (WORD + PAUSE) + WORD) for n in range(len(WORDS))]
    return [word for word, (a, b) in zip(WORDS, times, strict=True) if start < (a + b) / 2 < end]


@pytest.mark.parametrize("before", [0, 1, 4, 7, 11, 14])
def test_a_stretch_holds_the_words_that_are_said_in_it(before: int) -> None:
    tagged = " ".join([*WORDS[:before], "[Laughter]", *WORDS[before:]])
    found = sound_stretch(spoken(len(WORDS)), " ".join(WORDS), tagged)
    assert found is not None
    start, end = found.span
    assert found.text.split() == said_between(start, end)
    assert re.sub(r" ?\[Laughter\] ?", " ", found.tagged).split() == found.text.split()
    place = before * (WORD + PAUSE)
    assert place - FAR <= start <= max(0.0, place - NEAR)
    assert min(place + NEAR, 14 * (WORD + PAUSE)) <= end <= place + FAR
    # Both ends are in pauses.
    for moment in (start, end):
        assert moment % (WORD + PAUSE) == pytest.approx(0) or moment % (WORD + PAUSE) > WORD


def test_all_sounds_lie_in_one_stretch() -> None:
    tagged = " ".join([*WORDS[:5], "[Sigh]", *WORDS[5:8], "[Breathing]", *WORDS[8:]])
    found = sound_stretch(spoken(len(WORDS)), " ".join(WORDS), tagged)
    assert found is not None
    assert "[Sigh] cuvw dxyz duvw [Breathing]" in found.tagged


def test_texts_without_spaces() -> None:
    plain = "一二三四五六七八九十百千万亿"
    found = sound_stretch(spoken(14), plain, plain[:7] + "[Laughter]" + plain[7:])
    assert found is not None
    assert found.text in plain
    assert found.tagged == found.text.replace("七", "七[Laughter]")
    tagged = plain[:7] + "[Laughter]" + plain[7:]
    more = sound_stretch(spoken(14), tagged, tagged.replace("八", "八[Sigh]"))
    assert more is not None
    assert "七[Laughter]八[Sigh]九" in more.tagged
    assert more.text == more.tagged.replace("[Sigh]", "")


def test_sounds_that_are_there_already_are_not_asked_for_again() -> None:
    plain = " ".join(WORDS)
    first = " ".join([*WORDS[:3], "[Sigh]", *WORDS[3:]])
    again = sound_stretch(spoken(14), first, first)
    assert again is not None
    assert again.text == again.tagged
    assert "[Sigh]" in again.text
    assert again.span[1] < spoken(14).seconds / 2
    # The stretch is that of the new one alone, and both texts of it have the old one.
    near = " ".join([*WORDS[:3], "[Sigh]", WORDS[3], "[Laughter]", *WORDS[4:]])
    found = sound_stretch(spoken(14), first, near)
    alone = sound_stretch(spoken(14), plain, near.replace("[Sigh] ", ""))
    assert found is not None
    assert alone is not None
    assert found.span == alone.span
    assert f"[Sigh] {WORDS[3]} [Laughter]" in found.tagged
    assert found.text == found.tagged.replace("[Laughter] ", "")
    assert alone.tagged == found.tagged.replace("[Sigh] ", "")
    # One that is far away is in neither.
    far = sound_stretch(spoken(14), first, f"{first} [Laughter]")
    assert far == sound_stretch(spoken(14), plain, f"{plain} [Laughter]")
    # The same sound twice in one place is new once.
    again = sound_stretch(spoken(14), first, first.replace("[Sigh]", "[Sigh] [Sigh]"))
    assert again is not None
    assert (again.text.count("[Sigh]"), again.tagged.count("[Sigh]")) == (1, 2)


def test_case_and_punctuation_may_differ() -> None:
    tagged = " ".join([*WORDS[:7], "[Sigh]", *WORDS[7:]])
    found = sound_stretch(spoken(len(WORDS)), " ".join(WORDS), tagged)
    other = sound_stretch(spoken(len(WORDS)), " ".join(WORDS).upper(), f"{tagged}!")
    assert found is not None
    assert other is not None
    assert (other.span, other.tagged) == (found.span, found.tagged)
    assert other.text == found.text.upper()


def test_where_nothing_is_left_out_there_is_no_stretch() -> None:
    long, text = spoken(len(WORDS)), " ".join(WORDS)
    assert sound_stretch(spoken(3), "axyz auvw bxyz", "axyz [Sigh] auvw bxyz") is None
    assert sound_stretch(long, text, f"{text} [Sigh] zzzz") is None
    assert sound_stretch(long, "", "[Sigh]") is None
    apart = " ".join(["[Sigh]", *WORDS, "[Sigh]"])
    assert sound_stretch(long, text, apart) is None
    silent = Audio(torch.zeros(RATE * 10), RATE)
    assert sound_stretch(silent, text, " ".join([*WORDS[:7], "[Sigh]", *WORDS[7:]])) is None


def test_without_pauses_it_ends_where_it_is_quietest() -> None:
    level = torch.full((RATE * 12,), 0.2)
    for dip in (3.4, 8.1):
        level[round((dip - 0.02) * RATE) : round((dip + 0.02) * RATE)] = 0.02
    noise = torch.randn(len(level), generator=torch.Generator().manual_seed(1)).clamp(-3, 3)
    tagged = " ".join([*WORDS[:7], "[Sigh]", *WORDS[7:]])
    found = sound_stretch(Audio(level * noise, RATE), " ".join(WORDS), tagged)
    assert found is not None
    assert found.span == pytest.approx((3.4, 8.1), abs=0.02)
