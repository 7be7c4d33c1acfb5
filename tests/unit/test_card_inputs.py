"""What a model card is measured on: sets of a manifest, sentences, recordings made worse."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from debug_parts import speech
from eval_fakes import write_lines

from stepaudio.audio import Audio
from stepaudio.errors import EvaluationError
from stepaudio.evaluation.card_inputs import (
    SNR_DB,
    Corpora,
    Material,
    denoise_inputs,
    read_material,
    silence_inputs,
)
from stepaudio.evaluation.card_measures import Context
from stepaudio.evaluation.card_sections import SECTIONS
from stepaudio.evaluation.card_sentences import SENTENCES
from stepaudio.evaluation.frames import signal
from stepaudio.evaluation.mixing import loudness, with_noise, with_silence
from stepaudio.evaluation.selection import Selection, select

SPEAKERS = ("ann", "bob", "cat", "dan", "eve")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = []
    for number, speaker in enumerate(SPEAKERS):
        speech(2.5 + number, seed=number).save(tmp_path / f"{speaker}.wav")
        line = {"path": f"{speaker}.wav", "speaker": speaker, "set": "books", "text": "see you"}
        lines.append(line)
    speech(0.5).save(tmp_path / "short.wav")
    lines.append({"path": "short.wav", "set": "books", "text": "no"})
    lines.append({"path": "ann.wav", "set": "books", "text": ""})
    lines.append({"path": "ann.wav", "set": "zh", "text": "你好", "lang": "zh"})
    lines.append({"path": "bob.wav", "set": "hum", "lang": None, "text": None})
    return write_lines(tmp_path / "manifest.jsonl", lines)


def material(manifest: Path, **corpora: str) -> Material:
    given = {"speech": "books", "mandarin": "zh", "noise": "hum", **corpora}
    return read_material(manifest, Corpora(**given), seed=3)


def test_sets_are_read_for_what_they_are(manifest: Path) -> None:
    found = material(manifest)
    assert [one.speaker for one in found.speech] == list(SPEAKERS)
    assert [row.words for row in found.readings("zh")] == ["你好"]
    assert [path.name for path in found.noises] == ["bob.wav"]
    assert {row.set for row in found.readings("en")} == {"books"}
    both = material(manifest, speech="books,zh").readings("en")
    assert {row.set for row in both} == {"books", "zh"}
    with pytest.raises(EvaluationError, match="its sets are: books, hum, zh"):
        material(manifest, speech="librispeech")


def test_sentences_are_spoken_by_four_voices(manifest: Path) -> None:
    rows = material(manifest).speech_from_text()
    assert len(rows) == 4 * len(SENTENCES) == len({row.id for row in rows})
    assert len({row.speaker for row in rows}) == 4
    assert {row.words for row in rows} == set(SENTENCES)
    assert all(row.prompt_text == "see you" for row in rows)
    assert rows == material(manifest).speech_from_text()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speakers", [1, 2, 3, 4])
def test_few_rows_say_as_many_sentences_as_they_can(
    manifest: Path, seed: int, speakers: int
) -> None:
    found = read_material(manifest, Corpora(speech="books"), seed)
    some = [one for one in found.speech if one.speaker in SPEAKERS[:speakers]]
    section = SECTIONS["speak"]
    every = section.rows(replace(found, speech=tuple(some)), Context(None, {}, ()))
    pairs = {(row.speaker, row.words) for row in every}
    assert len(pairs) == len(every) == speakers * len(SENTENCES)
    for limit in range(1, len(every) + 1):
        rows = select(every, Selection(limit=limit, ranked=section.ranked))
        assert len(rows) == limit
        said, voices = Counter(row.words for row in rows), Counter(row.speaker for row in rows)
        assert len(said) == min(limit, len(SENTENCES))
        assert max(said.values()) == -(-limit // len(SENTENCES))
        assert max(voices.values()) == -(-limit // speakers)


def test_the_title_tells_what_was_said(manifest: Path) -> None:
    section = SECTIONS["speak"]
    rows = section.rows(material(manifest), Context(None, {}, ()))
    assert section.titled(rows) == "Zero-shot speech: 50 sentences in 4 voices"
    few = select(rows, Selection(limit=40, ranked=section.ranked))
    assert section.titled(few) == "Zero-shot speech: 40 sentences in 4 voices"
    assert set(Counter(row.speaker for row in few).values()) == {10}
    other = read_material(manifest, Corpora(speech="books"), seed=4).speech_from_text()
    assert {row.words for row in other[:8]} != {row.words for row in rows[:8]}


def test_sounds_are_asked_for_in_the_middle(manifest: Path) -> None:
    rows = material(manifest).sounds(["[Sigh]", "[Laughter]"])
    assert len({row.id for row in rows}) == 10
    assert (rows[0].text, rows[0].words, rows[0].label) == ("see [Sigh] you", "see you", "[Sigh]")


def test_timed_recordings_are_the_nearest_to_ten_seconds(manifest: Path) -> None:
    assert [row.speaker for row in material(manifest).timed(2)] == ["eve", "dan"]


def test_inputs_are_made_once_and_the_same_again(manifest: Path, tmp_path: Path) -> None:
    found = material(manifest)
    rows = found.edits("denoise")[:2]
    noisy = denoise_inputs(rows, found, tmp_path / "one")
    again = denoise_inputs(rows[::-1], found, tmp_path / "two")
    assert [row.id for row in noisy] == [row.id for row in rows]
    for one, other in zip(noisy, again[::-1], strict=True):
        assert one.recording is not None
        assert other.recording is not None
        assert one.recording.read_bytes() == other.recording.read_bytes()
    assert noisy[0].recording is not None
    noisy[0].recording.write_bytes(b"kept")
    denoise_inputs(rows, found, tmp_path / "one")
    assert noisy[0].recording.read_bytes() == b"kept"
    with pytest.raises(EvaluationError, match="no recording has the set 'rain'"):
        denoise_inputs(rows, material(manifest, noise="rain"), tmp_path)


def test_silence_makes_recordings_longer(manifest: Path, tmp_path: Path) -> None:
    found = material(manifest)
    rows = found.edits("trim_silence")[2:3]
    (longer,) = silence_inputs(rows, found, tmp_path)
    assert rows[0].recording is not None
    assert longer.recording is not None
    added = Audio.load(longer.recording).seconds - Audio.load(rows[0].recording).seconds
    assert 2 * 0.4 + 2 * 0.8 <= added <= 2 * 0.8 + 2 * 1.2


def test_noise_is_as_loud_as_asked() -> None:
    clean = speech(2.0)
    noise = Audio(torch.randn(8000, generator=torch.Generator().manual_seed(1)) * 0.01, 16000)
    noisy = with_noise(clean, noise, SNR_DB, np.random.default_rng(0))
    voice = signal(clean)
    # Made quieter as a whole if it would clip: the share of the voice is found by projection.
    mixed = noisy.samples.numpy().astype(np.float64)
    scale = float(mixed @ voice / (voice @ voice))
    rest = mixed / scale - voice
    power = 10 * np.log10(np.mean(rest**2))
    assert loudness(voice) - power == pytest.approx(SNR_DB, abs=0.1)


def test_silence_goes_where_it_was_put() -> None:
    quiet = torch.randn(8000, generator=torch.Generator().manual_seed(1)) * 1e-3
    clean = Audio(torch.cat([quiet, speech(1.0).samples, quiet, speech(1.0).samples]), 16000)
    longer = with_silence(clean, [0.5], (0.25, 0.75), np.random.default_rng(0))
    assert longer.seconds == pytest.approx(clean.seconds + 1.5)
    loud = np.abs(longer.samples.numpy()) > 0.01
    # In front, in the pause between the halves, and behind: as quiet as the recording's own pauses.
    assert not loud[: 4000 + 8000].any()
    middle = 4000 + 8000 + 16000
    assert not loud[middle + 800 : middle + 16000].any()
    assert not loud[-12000:].any()
