"""The model that comes with the package, on the recording that comes with the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stepaudio import Audio, Edit, EditPipeline

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "stepaudio" / "assets" / "nano"
WORDS = (ROOT / "docs" / "audio" / "demo.txt").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    return EditPipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def recording() -> Audio:
    return Audio.load(ROOT / "docs" / "audio" / "demo.flac")


def test_it_stays_small() -> None:
    total = sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file())
    assert total <= 50_000_000, f"{total / 1e6:.1f} MB"


def test_resynthesis_keeps_the_length_and_makes_sound(pipe: EditPipeline, recording: Audio) -> None:
    result = pipe.resynthesize(recording, seed=0)
    assert abs(result.audio.seconds - recording.seconds) <= 0.13  # whole units of 0.12 s
    assert result.audio.samples.abs().max() > 0.01


def test_an_edit_ends_by_itself_and_repeats(pipe: EditPipeline, recording: Audio) -> None:
    first = pipe.edit(recording, Edit.style("whisper"), text=WORDS, seed=1)
    again = pipe.edit(recording, Edit.style("whisper"), text=WORDS, seed=1)
    assert first.stop_reason == "end"
    assert torch.equal(first.audio.samples, again.audio.samples)


@pytest.mark.parametrize("way", ["faster", "slower"])
@pytest.mark.parametrize("strength", [1, 2])
def test_speed_is_exact(pipe: EditPipeline, recording: Audio, way: str, strength: int) -> None:
    edit = Edit.speed(way, strength=strength)
    result = pipe.edit(recording, edit, text=WORDS)
    length = pipe.defaults.speeds[edit.published_label]
    assert result.audio.seconds == pytest.approx(length * recording.seconds, abs=0.001)
    assert result.length_ratio == pytest.approx(length, rel=0.05)
