"""Tempo, noise, rooms and silence, with numbers that can be worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import debug_parts as debug
import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.data.degrade import add_noise, reverberate, room
from stepaudio.data.manifest import Utterance
from stepaudio.data.signal_pairs import SignalConfig, join_speech, make_signal_pairs
from stepaudio.errors import DataError
from stepaudio.evaluation.silence import EnergySpeech

RATE = 16000


def tone(hertz: float, seconds: float, height: float = 0.5) -> Audio:
    time = torch.arange(round(seconds * RATE)) / RATE
    return Audio(height * torch.sin(2 * torch.pi * hertz * time), RATE)


def silence(seconds: float) -> Audio:
    return Audio(torch.zeros(round(seconds * RATE)), RATE)


def joined(*parts: Audio) -> Audio:
    return Audio(torch.cat([part.samples for part in parts]), RATE)


def test_noise_has_the_distance_asked_for() -> None:
    clean, noise = tone(200.0, 1.0, 0.1), debug.speech(0.3)
    added = add_noise(clean, noise, 10.0, start=77).samples - clean.samples
    ratio = clean.samples.square().mean() / added.square().mean()
    assert 10 * float(ratio.log10()) == pytest.approx(10.0, abs=0.01)
    assert float(add_noise(clean, noise, -40.0).samples.abs().max()) <= 0.99 + 1e-6


def test_a_room_keeps_the_direct_sound_and_decays() -> None:
    response = room(np.random.default_rng(0), rt60=0.5, wet=0.25, sample_rate=RATE)
    assert len(response) == 8001
    assert response[0] == 1.0
    assert np.sum(response[1:] ** 2) == pytest.approx(0.25)
    # 60 dB over 0.5 s are 24 dB over 0.2 s.
    early, late = response[1:801], response[3201:4001]
    fall = 10 * np.log10(np.mean(early**2) / np.mean(late**2))
    assert fall == pytest.approx(24.0, abs=1.5)
    click = Audio(torch.tensor([0.0, 0.5] + [0.0] * 98), RATE)
    heard = reverberate(click, response).samples.numpy()
    assert np.allclose(heard[1:], 0.5 * response[:99], atol=1e-6)


def test_speech_is_cut_out_and_joined() -> None:
    sound = joined(tone(200, 0.5), silence(1.0), tone(300, 0.5))
    cut = join_speech(sound, [(0.0, 0.5), (1.5, 2.0)], margin=0.1)
    # 0.6 and 0.6 s that overlap by 0.1 s.
    assert cut is not None
    assert len(cut) == round(1.1 * RATE)
    assert torch.equal(cut.samples[: round(0.5 * RATE)], sound.samples[: round(0.5 * RATE)])
    whole = join_speech(sound, [(0.0, 1.0), (1.1, 2.0)], margin=0.1)
    assert whole is not None
    assert torch.equal(whole.samples, sound.samples)
    assert join_speech(sound, [], margin=0.1) is None


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    joined(tone(200, 0.5), silence(0.8), tone(300, 0.5)).save(tmp_path / "gap.wav")
    tone(250, 0.6).save(tmp_path / "full.wav")
    return [
        Utterance(name, str(tmp_path / f"{name}.wav"), "s", "Words.", licence="CC0-1.0")
        for name in ("gap", "full")
    ]


def test_signal_pairs_are_made_once_and_the_same_again(
    rows: list[Utterance], tmp_path: Path
) -> None:
    debug.speech(0.4, seed=3).save(tmp_path / "noise.wav")

    def made(folder: str) -> list[Utterance]:
        return make_signal_pairs(
            rows,
            tmp_path / folder,
            noises=[tmp_path / "noise.wav"],
            detector=EnergySpeech(),
            config=SignalConfig(tempos={"faster": 1.5}),
        )

    found = made("one")
    assert [(row.source, row.change, row.made) for row in found] == [
        ("", "none", "human"),
        ("gap", "speed:faster", "rule"),
        ("gap", "noisy", "rule"),
        ("gap", "trim_silence", "rule"),
        ("", "none", "human"),
        ("full", "speed:faster", "rule"),
        # Nothing to trim in this one.
        ("full", "noisy", "rule"),
    ]
    assert re.fullmatch("gap-speed-faster-[0-9a-f]{12}", found[1].id)
    assert found[2].licence == "CC0-1.0"
    assert Audio.load(found[1].path).seconds == pytest.approx(1.2, abs=1e-3)
    # Speech of 0.5 s twice, 80 ms of margins and pads each.
    assert Audio.load(found[3].path).seconds == pytest.approx(1.1, abs=0.1)
    first = {row.id: Path(row.path).read_bytes() for row in found}
    Path(found[2].path).unlink()
    assert {row.id: Path(row.path).read_bytes() for row in made("one")} == first
    assert {row.id: Path(row.path).read_bytes() for row in made("two")} == first


def test_what_was_made_with_other_settings_is_made_anew_beside_it(
    rows: list[Utterance], tmp_path: Path
) -> None:
    noise = tmp_path / "noise.wav"
    debug.speech(0.4, seed=3).save(noise)

    def made(seed: int = 0, tempo: float = 1.3, **settings: Any) -> dict[str, tuple[str, bytes]]:
        found = make_signal_pairs(
            rows[:1],
            tmp_path / "made",
            noises=[noise],
            detector=EnergySpeech(),
            config=SignalConfig(tempos={"faster": tempo}, **settings),
            seed=seed,
        )
        return {row.change: (row.id, Path(row.path).read_bytes()) for row in found[1:]}

    def differ(other: dict[str, tuple[str, bytes]]) -> set[str]:
        changed = {name for name in first if first[name] != other[name]}
        assert all(
            a != b for name in changed for a, b in zip(first[name], other[name], strict=True)
        )
        return changed

    first = made()
    assert differ(made(tempo=2.0)) == {"speed:faster"}
    assert differ(made(seed=1)) == differ(made(snr_db=(20.0, 30.0))) == {"noisy"}
    assert differ(made(margin=0.01)) == {"trim_silence"}
    # Nothing was overwritten.
    assert made() == first
    debug.speech(0.4, seed=4).save(noise, force=True)
    assert differ(made()) == {"noisy"}
    joined(tone(220, 0.5), silence(0.8), tone(330, 0.5)).save(rows[0].path, force=True)
    assert differ(made()) == set(first)


def test_impossible_wishes_are_refused(rows: list[Utterance], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\['pitch'\]; choose speed"):
        make_signal_pairs(rows, tmp_path, kinds=["pitch"])
    with pytest.raises(DataError, match="need recordings of noise"):
        make_signal_pairs(rows, tmp_path, kinds=["denoise"])
