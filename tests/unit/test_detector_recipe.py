"""Error rates by hand; what is held out; what a batch holds; the same way for a copy."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.nano.data.corpus import Utterance
from recipes.trust.detector import bank as bank_module
from recipes.trust.detector.alter import altered
from recipes.trust.detector.bank import FRAMES, VERSIONS, Bank, family, held_out
from recipes.trust.detector.calibrate import odds
from recipes.trust.detector.make import chosen
from recipes.trust.detector.measure import auc, equal_error


def row(name: str, speaker: str, engine: str = "", source: str = "") -> Utterance:
    made = "human" if not engine else "rule" if source else "engine"
    return Utterance(
        name, f"{name}.ogg", speaker, "some words", set="corpus", engine=engine, source=source,
        made=made,
    )  # fmt: skip


def test_equal_error() -> None:
    assert equal_error([0.0, 1.0], [2.0, 3.0]) == 0.0
    assert equal_error([2.0, 3.0], [0.0, 1.0]) == 1.0
    # From 2 on: one of four recordings, and one of four made ones is below.
    assert equal_error([0.0, 1.0, 1.5, 2.5], [0.5, 2.0, 3.0, 4.0]) == 0.25
    assert auc([0.0, 1.0], [1.0, 2.0]) == 0.875


def test_odds_of_two_normals() -> None:
    # Unit normals around 0 and around 2 have log odds of 2 * score - 2, however many there are.
    rng = np.random.default_rng(0)
    real, made = (
        rng.normal(0, 1, 20000),
        {
            "one": rng.normal(2, 1, 20000),
            "rare": rng.normal(2, 1, 5000),
        },
    )
    slope, offset = odds(real, made)
    assert slope == pytest.approx(2.0, abs=0.08)
    assert offset == pytest.approx(-2.0, abs=0.08)


def test_families_and_what_is_held_out() -> None:
    assert family(row("a", "ann")) == "real"
    assert family(row("c", "ann", "nano_vocoder", "a")) == "nano"
    assert family(row("e", "e", "espeak")) == "espeak"
    speakers = [f"speaker {i}" for i in range(400)]
    for name in speakers:
        # All sounds of a speaker, copies as well.
        assert held_out(row("x", name)) == held_out(row("y", name, "world", "x"))
    assert 0.1 < np.mean([held_out(row("x", name)) for name in speakers]) < 0.2


def test_chosen_takes_turns_between_speakers() -> None:
    rows = [row(f"a{i}", "ann") for i in range(9)] + [row("b", "ben"), row("c", "cat")]
    first = chosen(rows, 4, "salt")
    assert {one.speaker for one in first[:3]} == {"ann", "ben", "cat"}
    assert chosen(rows[::-1], 4, "salt") == first
    assert chosen(rows, 3, "salt") == first[:3]
    assert len(chosen(rows, 99, "salt", each=2)) == 4


@pytest.mark.parametrize("seed", range(6))
def test_alterations_keep_time_and_repeat(seed: int) -> None:
    rng = np.random.default_rng(1)
    sound = 0.1 * rng.standard_normal(16000) * (np.arange(16000) > 8000)
    changed = altered(sound, np.random.default_rng(seed))
    assert changed.shape == sound.shape
    assert np.array_equal(changed, altered(sound, np.random.default_rng(seed)))
    assert np.mean(changed[8800:] ** 2) > 5 * np.mean(changed[:7000] ** 2)


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "_MASKED", 0.0)
    rows = [row("a", "ann"), row("copy", "ann", "griffin_lim", "a"), row("e", "e", "espeak")]
    values = np.zeros((3, VERSIONS, FRAMES, 12), np.float16)
    values[1], values[2] = 1, 2
    bank = Bank(rows, values, np.array([200, 198, FRAMES]))
    draw = bank.drawing(lambda one: one.engine != "espeak", 64)
    drawn = draw(np.random.default_rng(0), 0.0)
    assert set(drawn["lengths"].tolist()) == {198, 200}
    spliced = 0
    for bands, target, length in zip(
        drawn["bands"], drawn["target"], drawn["lengths"], strict=True
    ):
        # What stands for people is 0, the copy is 1.
        assert bands[:length, 0].tolist() == target[:length].tolist()
        spliced += 0 < target[:length].sum() < length
    assert 4 < spliced < 32
    again = draw(np.random.default_rng(0), 0.5)
    assert all((drawn[name] == again[name]).all() for name in drawn)
    everyone = bank.drawing(lambda one: True, 64)(np.random.default_rng(0), 0.0)
    assert everyone["bands"].max() == 2


def test_a_mask_takes_movement_and_nothing_else() -> None:
    values = np.random.default_rng(0).standard_normal((FRAMES, 12)).astype(np.float32)
    masked = values.copy()
    bank_module._mask(masked, 150, np.random.default_rng(1))
    still = masked[:150].std(0) < 1e-6
    assert 0 < still.sum() < 12
    assert np.flatnonzero(still).tolist() == list(
        range(still.argmax(), still.argmax() + still.sum())
    )
    np.testing.assert_allclose(masked[:150].mean(0), values[:150].mean(0), atol=1e-5)
    assert np.array_equal(masked[:, ~still], values[:, ~still])
    assert np.array_equal(masked[150:], values[150:])
