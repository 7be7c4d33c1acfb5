"""Styles by rule, on a synthetic voice whose pitch, formants and tempo are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from stepaudio.audio import Audio
from stepaudio.errors import JudgeError
from stepaudio.evaluation.contracts import Judge, Sample
from stepaudio.evaluation.envelope import formant_shift, long_term_envelope
from stepaudio.evaluation.frames import signal
from stepaudio.evaluation.style_judge import MEASURES, RULES, UNCHANGED, UNKNOWN, StyleJudge

RATE = 16000
#: Formants of four vowels, Hz.
VOWELS = (
    (700, 1200, 2500, 3500),
    (400, 2000, 2600, 3600),
    (350, 900, 2300, 3300),
    (550, 1700, 2400, 3700),
)


def voice(
    *,
    pitch: float = 130.0,
    spread: float = 2.0,
    head: float = 1.0,
    tempo: float = 1.0,
    whisper: bool = False,
    seed: int = 0,
) -> Audio:
    """Eight vowels: ``spread`` semitones of melody, formants times ``head``."""
    rng = np.random.default_rng(seed)
    size = round(0.3 / tempo * RATE)
    pieces = []
    phase = 0.0
    for number in range(8):
        time = (np.arange(size) + number * size) * tempo / RATE
        f0 = pitch * 2 ** (spread / 12 * np.sin(2 * np.pi * 0.9 * time))
        turns = phase + np.cumsum(f0) / RATE
        phase = float(turns[-1])
        source = np.diff(np.floor(turns), prepend=np.floor(turns[0]))
        if whisper:
            source = 0.2 * rng.standard_normal(size)
        for formant in VOWELS[number % 4]:
            radius = math.exp(-math.pi * 90 / RATE)
            turn = 2 * math.pi * formant * head / RATE
            source = lfilter([1 - radius], [1, -2 * radius * math.cos(turn), radius**2], source)
        pieces.append(source * np.hanning(size) ** 0.5)
    wave = np.concatenate([np.zeros(RATE // 5), *pieces, np.zeros(RATE // 5)])
    wave = 0.5 * wave / np.abs(wave).max() + 1e-4 * rng.standard_normal(len(wave))
    return Audio(torch.from_numpy(wave).float(), RATE)


SOURCE = voice()


def ask(
    changed: Audio, label: str = "", source: Audio | None = SOURCE
) -> tuple[str, dict[str, float]]:
    sample = Sample("s", changed, source=source, task="style", label=label)
    (verdict,) = StyleJudge().judge([sample])
    return verdict.answer, dict(verdict.scores or {})


CHANGES = {
    "whisper": voice(whisper=True),
    "child": voice(pitch=190, head=1.16),
    "older": voice(pitch=112, head=0.94),
    "exaggerated": voice(spread=5.0),
    "faster": voice(tempo=1.25),
    "slower": voice(tempo=0.8),
    "more faster": voice(tempo=1.6),
    "more slower": voice(tempo=0.6),
}


def test_a_style_is_recognised() -> None:
    samples = [Sample(x, CHANGES[x], source=SOURCE, label=x) for x in RULES]
    verdicts = StyleJudge().judge(samples)
    assert [verdict.answer for verdict in verdicts] == list(RULES)
    assert all((v.scores or {})[s.id] >= 1 for v, s in zip(verdicts, samples, strict=True))


def test_a_second_take_is_no_style() -> None:
    again = voice(pitch=134, spread=2.2, head=1.01, tempo=1.03, seed=1)
    verdicts = StyleJudge().judge([Sample(x, again, source=SOURCE, label=x) for x in RULES])
    for verdict in verdicts:
        assert verdict.answer == UNCHANGED
        assert set(verdict.scores or {}) == set(RULES)
        assert all(score < 1 for score in (verdict.scores or {}).values())


def test_half_a_rule_is_not_enough() -> None:
    higher, lower, faster = voice(pitch=190), voice(pitch=112), CHANGES["faster"]
    cases = [
        (higher, "child"),  # a raised voice alone is no child
        (voice(head=1.16), "child"),
        (lower, "older"),
        (voice(head=0.94), "older"),
        (voice(pitch=112, head=1.1), "older"),
        (higher, "exaggerated"),
        (faster, "more faster"),
        (faster, "slower"),
    ]
    samples = [Sample(str(n), a, source=SOURCE, label=x) for n, (a, x) in enumerate(cases)]
    for (_, label), verdict in zip(cases, StyleJudge().judge(samples), strict=True):
        assert verdict.answer != label
        assert (verdict.scores or {})[label] < 1


def test_without_a_question_the_plainest_change_is_named() -> None:
    assert ask(CHANGES["child"])[0] == "child"
    assert ask(voice(pitch=190, head=1.16, tempo=1.15))[0] == "child"
    assert ask(CHANGES["whisper"], "child")[0] == "whisper"
    assert ask(SOURCE)[0] == UNCHANGED


def test_what_cannot_be_measured_is_unknown_and_not_zero() -> None:
    hiss = Audio(
        0.1 * torch.randn(round(2.4 * RATE), generator=torch.Generator().manual_seed(0)), RATE
    )
    answer, scores = ask(SOURCE, "child", source=hiss)
    assert answer == UNKNOWN
    assert "child" not in scores
    assert "whisper" not in scores
    assert UNKNOWN not in StyleJudge.labels


def test_a_source_is_needed() -> None:
    with pytest.raises(JudgeError, match=r"\['s'\] have no source"):
        ask(SOURCE, "child", source=None)


def test_verdicts_come_in_order_and_say_what_was_measured() -> None:
    labels = ["child", "whisper", "slower"]
    samples = [Sample(x, CHANGES[x], source=SOURCE, label=x) for x in labels]
    judge = StyleJudge()
    verdicts = judge.judge(samples)
    assert [verdict.answer for verdict in verdicts] == labels
    ratios = dict(part.split(" x") for part in verdicts[0].raw.split(", "))
    assert set(ratios) == set(MEASURES)
    assert float(ratios["pitch"]) == pytest.approx(190 / 130, rel=0.04)
    assert float(ratios["formants"]) == pytest.approx(1.16, rel=0.04)
    assert float(ratios["tempo"]) == pytest.approx(1.0, abs=0.03)
    assert "pitch unknown" in verdicts[1].raw
    assert isinstance(judge, Judge)
    assert judge.model == StyleJudge().model
    assert judge.model.name == "stepaudio/style-rules"


def test_every_rule_has_a_direction_and_a_reason() -> None:
    for conditions in RULES.values():
        for condition in conditions:
            assert condition.measure in MEASURES
            assert condition.ratio > 0
            assert abs(math.log(condition.ratio)) > 0.02
            assert len(condition.why) > 15


@pytest.mark.parametrize("head", [0.85, 0.95, 1.0, 1.05, 1.25])
def test_the_shift_of_formants_is_measured(head: float) -> None:
    def envelope(audio: Audio) -> np.ndarray | None:
        samples = signal(audio)
        return long_term_envelope(samples, np.ones(len(samples) // 160 + 1, dtype=bool))

    shift = formant_shift(envelope(SOURCE), envelope(voice(head=head)))
    assert shift == pytest.approx(head, rel=0.025)
    # Level and tilt are not the head's.
    tilted = lfilter([1, -0.7], [1], 0.1 * voice(head=head).samples.numpy())
    shift = formant_shift(envelope(SOURCE), envelope(Audio(torch.from_numpy(tilted).float(), RATE)))
    assert shift == pytest.approx(head, rel=0.03)


def test_no_shift_between_what_has_nothing_in_common() -> None:
    samples = signal(SOURCE)
    assert long_term_envelope(samples, np.zeros(len(samples) // 160 + 1, dtype=bool)) is None
    assert formant_shift(None, np.ones(300)) is None
    rng = np.random.default_rng(0)
    assert formant_shift(rng.standard_normal(330), rng.standard_normal(330)) is None
