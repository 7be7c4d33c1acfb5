"""Error rates of voice comparison by hand; the committed measurement fits the embedded model."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.trust.voice_errors import (
    Trials,
    balanced,
    describe,
    enrolled,
    error_intervals,
    error_rates,
    find_threshold,
    pairs,
)
from recipes.trust.voice_match import report
from stepaudio.locate import locate
from stepaudio.parts import load_part
from stepaudio.safety.matching import measured
from stepaudio.safety.weights import sampled_digest


def trials(same: list[float], different: list[float]) -> Trials:
    """Pairs of two speakers."""
    of = np.arange(len(same)) % 2
    between = np.tile([0, 1], (len(different), 1))
    return Trials(np.array(same), np.array(different), of, between)


TRIALS = trials([0.9, 0.8, 0.7, 0.4], [0.6, 0.5, 0.1, 0.0])


def test_pairs() -> None:
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    found = pairs(vectors, ["a", "a", "b"])
    assert found.same.tolist() == [0.6]
    assert found.same_of.tolist() == [0]
    assert found.different.tolist() == pytest.approx([0.0, 0.8])
    assert found.different_of.tolist() == [[0, 1], [0, 1]]


def test_rates_and_thresholds() -> None:
    assert error_rates([TRIALS], 0.5) == (0.5, 0.25)
    assert error_rates([TRIALS], 0.55) == (0.25, 0.25)
    # Just above 0.5 as many strangers pass as speakers are refused.
    assert balanced([TRIALS]) == 0.501
    assert find_threshold([TRIALS], lambda accepted, _: accepted == 0) == 0.601
    assert find_threshold([TRIALS], lambda *_: False) == 1.0
    # A set with many trials weighs no more than one with few.
    none = trials([1.0], [0.0])
    assert error_rates([TRIALS, none], 0.55) == (0.125, 0.125)
    row = describe("x", [TRIALS], 0.65)
    assert row["equal_error"] == 0.25
    assert (row["strangers_accepted"], row["speakers_refused"]) == (0.0, 0.25)
    # Two speakers cannot be drawn anew.
    assert (row["strangers_accepted_95"], row["speakers_refused_95"]) == (None, None)


def test_intervals_draw_speakers() -> None:
    # Of four speakers one is always refused; only the pair of the last two is ever accepted.
    between = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
    found = Trials(np.array([0.0, 1, 1, 1]), np.eye(6)[5], np.arange(4), between)
    assert error_rates([found], 0.5) == (pytest.approx(1 / 6), 0.25)
    accepted, refused = error_intervals([found], 0.5)
    assert accepted is not None
    assert refused is not None
    # The speaker is drawn 0 to 3 times of 4 in 95 of 100 draws: 0.05 of them have 3 or 4.
    assert refused[0] == 0.0
    assert refused[1] in (0.5, 0.75)
    assert accepted[0] == 0.0
    assert 1 / 6 < accepted[1] <= 1.0
    # A second set without errors halves them.
    sure = Trials(np.ones(4), np.zeros(6), np.arange(4), between)
    assert error_intervals([found, sure], 0.5)[1] == (0.0, refused[1] / 2)
    assert error_intervals([found], 0.5) == (accepted, refused)


def test_two_recordings_enrol_better_than_one() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 8))
    speakers = [str(i) for i in range(6) for _ in range(8)]
    vectors = np.repeat(centres, 8, axis=0) + 0.8 * rng.normal(size=(48, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    two = enrolled(vectors, speakers, rng)
    assert (len(two.same), len(two.different)) == (600, 3000)
    assert (
        describe("", [two])["equal_error"] < describe("", [pairs(vectors, speakers)])["equal_error"]
    )


def test_report() -> None:
    rng = np.random.default_rng(1)
    rows = [
        {
            "set": "s",
            "speaker": str(i % 4),
            "gender": "fm"[i % 2],
            "emotion": e,
            "lang": "en",
            "accent": "zh" if i % 4 > 1 else None,
        }
        for e in ("read", "angry")
        for i in range(16)
    ]
    vectors = np.array([np.eye(4)[int(row["speaker"])] for row in rows])
    value = report(rows, vectors + 0.01 * rng.normal(size=vectors.shape), "e")
    assert (value["recordings"], value["speakers"], value["encoder"]) == (32, 4, "e")
    assert {row["equal_error"] for row in value["slices"]} == {0.0}
    assert [row["name"] for row in value["slices"]] == [
        "calm speech, all sets",
        "calm, s",
        "calm, women among each other",
        "calm, men among each other",
        "calm, language en",
        "calm, language en, no accent noted",
        "calm, language en, accent zh",
        "any two emotions",
        "calm, enrolled with two recordings",
    ]


def test_the_measurement_is_that_of_the_embedded_speaker_encoder() -> None:
    """If this fails, the encoder was trained anew: run recipes/trust/voice_match.py."""
    assert measured()["encoder"] == sampled_digest(load_part(locate(), "speaker"))
    thresholds = measured()["thresholds"]
    assert thresholds["careful"]["strangers_accepted"] <= 0.05
    rates = thresholds["balanced"]
    assert abs(rates["strangers_accepted"] - rates["speakers_refused"]) < 0.01
