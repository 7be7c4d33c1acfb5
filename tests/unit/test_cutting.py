"""Cutting long recordings: where, and what is left of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.cutting import (
    PART_SECONDS,
    VOICE_SECONDS,
    WHOLE_SECONDS,
    Part,
    cut_at_pauses,
    join_codes,
    join_parts,
    share_words,
    shuffle_letters,
    shuffle_units,
    sound_units,
    voice_stretch,
)
from stepaudio.tokenizers.preprocess import prepare_for_tokens
from stepaudio.types import SpeechTokens, TokenSpec

UNIT = 0.12
SPEC = TokenSpec()


def noise(seconds: float, rate: int = 8000, level: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return level * torch.randn(round(seconds * rate), generator=generator).clamp(-3, 3)


def speech(seconds: float, pauses: list[tuple[float, float]], rate: int = 8000) -> Audio:
    """Noise, very quiet between the two seconds of each pause."""
    samples = noise(seconds, rate)
    for start, end in pauses:
        samples[round(start * rate) : round(end * rate)] *= 0.001
    return Audio(samples, rate)


def codes(units: int) -> SpeechTokens:
    """Codes that tell their place."""
    return SpeechTokens(torch.arange(2 * units) % 1024, torch.arange(3 * units) % 4096, SPEC)


def boundaries(parts: list[Part]) -> list[int]:
    """Units before each cut."""
    return torch.tensor([part.tokens.num_units for part in parts]).cumsum(0)[:-1].tolist()


@given(st.lists(st.integers(1, int(PART_SECONDS / UNIT)), min_size=1, max_size=30))
def test_parts_are_joined_to_what_is_spoken_at_once(units: list[int]) -> None:
    whole = codes(sum(units))
    ends = torch.tensor(units).cumsum(0).tolist()
    parts = [
        SpeechTokens(whole.linguistic[2 * (e - n) : 2 * e], whole.semantic[3 * (e - n) : 3 * e])
        for n, e in zip(units, ends, strict=True)
    ]
    joined = join_parts(parts)
    assert torch.equal(join_codes(joined).linguistic, whole.linguistic)
    assert torch.equal(join_codes(joined).semantic, whole.semantic)
    if whole.seconds <= WHOLE_SECONDS:
        assert len(joined) == 1
        return
    assert all(part.seconds <= PART_SECONDS for part in joined)
    borders = torch.tensor([part.num_units for part in joined]).cumsum(0).tolist()
    for one, border in zip(joined, borders[:-1], strict=False):
        # The next part had no room in it.
        assert one.num_units + units[ends.index(border) + 1] > PART_SECONDS / UNIT


def test_short_recordings_stay_whole() -> None:
    audio = Audio(noise(WHOLE_SECONDS), 8000)
    assert voice_stretch(audio) is audio
    tokens = codes(int(WHOLE_SECONDS / UNIT))
    assert cut_at_pauses(tokens, audio) == [Part(tokens, audio)]


@pytest.mark.parametrize("seconds", [30.2, 47.9, 48.1, 60.0, 100.0, 400.3])
@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_parts_are_the_whole(seconds: float, rate: int) -> None:
    tokens = codes(int(seconds / UNIT))
    audio = Audio(noise(seconds, rate), rate)
    parts = cut_at_pauses(tokens, audio)
    assert torch.equal(torch.cat([part.tokens.linguistic for part in parts]), tokens.linguistic)
    assert torch.equal(torch.cat([part.tokens.semantic for part in parts]), tokens.semantic)
    sound = torch.cat([part.audio.samples for part in parts])
    assert torch.equal(sound, audio.samples[: len(sound)])
    assert len(sound) == pytest.approx(tokens.seconds * rate, abs=1)
    for part in parts:
        assert PART_SECONDS / 2 <= part.tokens.seconds <= PART_SECONDS
        assert len(part.tokens.semantic) == 3 * part.tokens.num_units
        assert part.tokens.spec == tokens.spec
        assert part.audio.seconds == pytest.approx(part.tokens.seconds, abs=2 / rate)


def test_parts_may_be_shorter() -> None:
    audio = speech(20.0, [(6.0, 6.3), (12.5, 12.8)])
    parts = cut_at_pauses(codes(int(20.0 / UNIT)), audio, whole=8.0, longest_part=8.0)
    assert [round(place * UNIT, 1) for place in boundaries(parts)] == [
        pytest.approx(6.1, abs=0.2),
        pytest.approx(12.6, abs=0.2),
    ]
    assert len(cut_at_pauses(codes(60), audio, whole=8.0, longest_part=8.0)) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(67, 400))
def test_joined_parts_are_the_whole(units: int) -> None:
    whole = codes(units)
    audio = Audio(noise(units * UNIT + 0.01), 8000)
    parts = cut_at_pauses(whole, audio, whole=8.0, longest_part=8.0)
    assert all(4.0 - UNIT <= part.tokens.seconds <= 8.0 for part in parts)
    joined = join_codes([part.tokens for part in parts])
    assert torch.equal(joined.linguistic, whole.linguistic)
    assert torch.equal(joined.semantic, whole.semantic)
    assert joined.spec is whole.spec


def test_words_are_shared_by_their_letters() -> None:
    assert share_words("one two three four", [1, 1]) == ["one two", "three four"]
    assert share_words("one two three four", [1, 3]) == ["one", "two three four"]
    # Where people pause a border may be a little further away.
    assert share_words("well, perhaps I shall not go there", [1, 3])[0] == "well,"
    assert share_words("你好吗我很好", [1, 1]) == ["你好吗", "我很好"]
    assert share_words("", [1, 2]) == ["", ""]
    assert share_words("yesterday", [1, 2]) == ["yesterday", ""]


@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet="ab ,.é好", max_size=60),
    st.lists(st.integers(1, 100), min_size=1, max_size=6),
)
def test_no_word_is_lost_in_sharing(text: str, shares: list[int]) -> None:
    parts = share_words(text, shares)
    assert len(parts) == len(shares)
    assert "".join("".join(parts).split()) == "".join(text.split())
    if len(text.split()) >= len(shares):
        assert all(part.strip() for part in parts)
    elif "a" in text or "b" in text:
        assert parts == [text, *[""] * (len(shares) - 1)]


def test_cuts_lie_in_pauses() -> None:
    pauses = [(17.0, 17.5), (38.2, 38.6), (57.0, 57.4)]
    audio = speech(70.0, pauses)
    places = boundaries(cut_at_pauses(codes(int(70 / UNIT)), audio))
    assert len(places) == len(pauses)
    for place, (start, end) in zip(places, pauses, strict=True):
        assert start < place * UNIT < end


def test_silence_that_was_dropped_moves_the_cuts() -> None:
    """A tokenizer that trims begins to count at the sound."""
    lead = 9.0
    audio = speech(60.0, [(0.0, lead), (27.0, 27.5), (44.0, 44.5)])
    tokens = codes(int(len(prepare_for_tokens(audio.samples, 8000)) / 1920))
    places = boundaries(cut_at_pauses(tokens, audio))
    assert [round(place * UNIT + lead - 0.05, 1) for place in places] == pytest.approx(
        [27.25, 44.25], abs=0.25
    )


def test_digital_silence_can_be_cut() -> None:
    audio = Audio(torch.cat([noise(5.0), torch.zeros(8000 * 60)]), 8000)
    assert len(cut_at_pauses(codes(int(65 / UNIT)), audio)) >= 3


def test_a_voice_is_made_from_where_the_sound_is() -> None:
    audio = speech(90.0, [(0.0, 20.0), (36.0, 90.0)])
    audio.samples[80 * 8000] = 0.9  # a click does not count as a voice
    stretch = voice_stretch(audio)
    assert stretch.seconds == pytest.approx(VOICE_SECONDS)
    start = int((audio.samples.unfold(0, 400, 1) == stretch.samples[:400]).all(1).nonzero())
    assert start / 8000 + 0.12 >= 20.0
    assert start / 8000 + VOICE_SECONDS <= 36.12


@pytest.mark.parametrize("lead", [0.0, 3.0])
def test_units_are_never_promised_in_vain(lead: float) -> None:
    audio = speech(12.0, [(0.0, lead), (10.0, 12.0)], rate=22050)
    trimmed = len(prepare_for_tokens(audio.samples, 22050)) // 1920
    assert trimmed - 4 <= sound_units(audio, SPEC) <= trimmed
    assert sound_units(audio, SPEC) * UNIT <= 10.0 - lead + UNIT


@given(st.text(max_size=40))
def test_letters_in_disorder_are_the_same_letters(text: str) -> None:
    mixed = shuffle_letters(text)
    assert sorted(mixed) == sorted(text)
    assert shuffle_letters(text) == mixed
    for one, other in zip(text, mixed, strict=True):
        assert one.isalnum() == other.isalnum()
        assert one.isalnum() or one == other


def test_letters_in_disorder_say_nothing() -> None:
    text = "[Sichuanese] See you tomorrow."
    mixed = shuffle_letters(text)
    assert mixed.startswith("[Sichuanese] ")
    assert mixed.endswith(".")
    assert [len(word) for word in mixed.split()] == [12, 3, 3, 9]
    assert not set(mixed.split()[1:]) & set(text.split()[1:])
    assert shuffle_letters("\u4f60\u597d\uff0c\u660e\u5929\u89c1")[2] == "\uff0c"


def test_units_in_disorder_are_the_same_units() -> None:
    whole = codes(7)
    mixed = shuffle_units(whole)
    places = mixed.linguistic[::2] // 2
    assert sorted(places.tolist()) == list(range(7)) != places.tolist()
    assert torch.equal(mixed.linguistic[1::2], 2 * places + 1)
    assert torch.equal(mixed.semantic, (3 * places[:, None] + torch.arange(3)).flatten())
    # Tokenizers may give more at the end of a stream than fills a unit.
    surplus = SpeechTokens(torch.cat([whole.linguistic, whole.linguistic[:1]]), whole.semantic)
    again = shuffle_units(surplus)
    assert torch.equal(again.linguistic, mixed.linguistic)
    assert torch.equal(again.semantic, mixed.semantic)
