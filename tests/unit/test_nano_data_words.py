"""Words in time: spelling, pauses that level tells, which moment was which before a change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recipes.nano.data.phones import spelled_words
from recipes.nano.data.pieces import cut_at_pauses
from recipes.nano.data.symbols import PHONES, SILENCE, UNKNOWN_PHONE, phone_index
from recipes.nano.data.timeline import Timeline, even, moved
from recipes.nano.data.viterbi import placed, silence_evidence, viterbi
from recipes.nano.data.words import timed_words

Array = NDArray[np.float32]

SPOKEN = {
    "in": ["ɪn"],
    "1833": ["ˌAtˈin", "θˈɜɹTi", "θɹˈi"],
    "o'brien": ["ˈO", "bɹˈIən"],
    "--": [],
    "the": ["ðə"],
    "end": ["ɛnd"],
}


def pronounce(text: str) -> list[str]:
    words = text.split()
    # As a front end does: a word before a vowel sounds otherwise than alone.
    spoken = [list(SPOKEN[w.strip(".,")]) for w in words]
    for n, word in enumerate(words[:-1]):
        if word == "the" and words[n + 1].startswith("end"):
            spoken[n] = ["ði"]
    return [piece for pieces in spoken for piece in pieces]


def test_words_are_spelled_as_the_text_does_however_they_are_spoken() -> None:
    text = "in 1833, o'brien -- the end."
    words = spelled_words(text, pronounce)
    assert " ".join(word for word, _ in words) == text
    assert [word for word, _ in words] == ["in", "1833,", "o'brien --", "the", "end."]
    year = [phone_index(symbol) for symbol in "AtinθɜɹTiθɹi"]
    assert words[1][1] == [phone for phone in year if phone]
    # The sentence as a whole decides how a word sounds.
    assert words[3][1] == [phone_index("ð"), phone_index("i")]


def test_a_front_end_that_joins_words_leaves_each_as_it_sounds_alone() -> None:
    def joining(text: str) -> list[str]:
        return ["ɪnðə"] if text == "IN THE".lower() else pronounce(text)

    words = spelled_words("IN THE", joining)
    assert [word for word, _ in words] == ["in", "the"]
    assert words[1][1] == [phone_index("ð"), phone_index("ə")]


def doubtful(frames: int, pause: slice, first: int, second: int) -> tuple[Array, Array]:
    """Two words with a pause of which the classifier says the first word goes on."""
    log_probs = np.full((frames, len(PHONES)), -6.0, np.float32)
    log_probs[: pause.stop, first] = -0.2
    log_probs[pause.stop :, second] = -0.2
    log_probs[:, SILENCE] = -2.0
    fbank = np.zeros((2 * frames, 80), np.float32)
    fbank[2 * pause.start : 2 * pause.stop] = -9.0  # 39 dB below the words
    return log_probs, fbank


def test_a_pause_the_classifier_has_never_heard_is_found_by_its_level() -> None:
    first, second, pause = 3, 5, slice(20, 40)
    log_probs, fbank = doubtful(60, pause, first, second)
    swallowed = viterbi(log_probs, [[first], [second]])
    assert SILENCE not in [phone for phone, _ in swallowed]
    runs, _ = placed(log_probs, silence_evidence(fbank), [[first], [second]])
    assert [(p, n) for p, n in runs] == [(first, 20), (SILENCE, 20), (second, 20)]
    # Nothing is quiet: nothing changes.
    runs, _ = placed(log_probs, silence_evidence(np.zeros_like(fbank)), [[first], [second]])
    assert runs == swallowed


def test_the_score_tells_of_words_and_not_of_how_long_the_silence_is() -> None:
    scores = []
    for length in (10, 200):
        pause = slice(20, 20 + length)
        log_probs, fbank = doubtful(40 + length, pause, 3, 5)
        log_probs[pause, SILENCE] = -4.0
        scores.append(placed(log_probs, silence_evidence(fbank), [[3], [5]])[1])
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0] == pytest.approx(-0.2, abs=1e-5)
    with pytest.raises(ValueError, match="no words"):
        placed(log_probs, silence_evidence(fbank), [])


def test_a_sound_between_words_belongs_to_no_word() -> None:
    runs = [(SILENCE, 0.1), (3, 0.2), (UNKNOWN_PHONE, 0.5), (4, 0.2), (5, 0.1)]
    words = timed_words(runs, [("a", 1), ("b", 2)])
    assert [word.text for word in words] == ["a", "b"]
    assert [t for w in words for t in (w.start, w.end)] == pytest.approx([0.1, 0.3, 0.8, 1.1])


def test_long_recordings_are_cut_where_they_pause() -> None:
    runs = [(3, 5.0), (SILENCE, 0.4), (4, 2.0), (5, 4.0)]
    first, second = cut_at_pauses(runs, [("one,", 1), ("two", 1), ("three", 1)])
    assert (first.start, first.end, first.text) == (0.0, 5.2, "one,")
    assert (second.start, second.text) == (5.2, "two three")
    assert sum(s for _, s in second.phones) == pytest.approx(6.2)


def test_moments_before_and_after_a_pause_was_put_in() -> None:
    row = {"labels": {"times": [[0, 0], [1, 1], [1, 3], [2, 4]]}}
    line = Timeline.between({"labels": None}, row)
    assert line is not None
    assert line.to_source([0.5, 2.0, 3.5]) == pytest.approx([0.5, 1.0, 1.5])
    assert line.to_row([0.5, 1.5]) == pytest.approx([0.5, 3.5])
    assert line.reversed().to_source([1.5]) == pytest.approx([3.5])


def test_moments_follow_the_phones_where_no_times_are_given() -> None:
    before = {"labels": {"phones": [(3, 1.0), (4, 1.0)]}}
    after = {"labels": {"phones": [(3, 0.5), (SILENCE, 1.0), (4, 2.0)]}}
    line = Timeline.between(before, after)
    assert line is not None
    assert line.to_source([0.25, 1.0, 2.5]) == pytest.approx([0.5, 1.0, 1.5])
    other = {"labels": {"phones": [(3, 0.5), (5, 1.0)]}}
    assert Timeline.between(before, other) is None
    assert Timeline.between({"labels": None}, {"labels": None}) is None


@given(st.floats(0.5, 2.0), st.lists(st.floats(0, 3.0), min_size=1, max_size=9))
def test_a_constant_rate_goes_there_and_back(rate: float, moments: list[float]) -> None:
    line = Timeline.between({}, {"labels": {"times": even(3.0, rate)}})
    assert line is not None
    assert line.to_source(line.to_row(moments)) == pytest.approx(moments, abs=1e-3)


def test_phones_move_with_what_was_cut_out_and_put_in() -> None:
    phones = [(SILENCE, 0.5), (3, 0.5), (SILENCE, 1.0), (4, 1.0)]
    shorter = moved(phones, [[0, 0], [0.4, 0], [1.2, 0.8], [1.8, 0.8], [3.0, 2.0]])
    assert [phone for phone, _ in shorter] == [SILENCE, 3, SILENCE, 4]
    assert [s for _, s in shorter] == pytest.approx([0.1, 0.5, 0.4, 1.0], abs=1e-3)
    longer = moved(phones, [[0, 0], [0, 1], [3, 4], [3, 5]])
    assert sum(s for _, s in longer) == pytest.approx(5.0, abs=2e-3)
    assert longer[0][1] == pytest.approx(1.0, abs=2e-3)
    assert longer[-1][0] == SILENCE
    assert longer[-1][1] == pytest.approx(1.0, abs=2e-3)
