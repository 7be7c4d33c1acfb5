from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, MissingExtraError, OutputExistsError
from stepaudio.plotting import Panel, draw_picture, require_matplotlib, track_pitch
from stepaudio.types import SpeechTokens, TokenSpec


def buzz(hz: torch.Tensor | float, seconds: float, rate: int) -> Audio:
    """Ten harmonics of a (moving) fundamental."""
    count = round(seconds * rate)
    phase = 2 * math.pi * torch.cumsum(torch.as_tensor(hz).double().expand(count) / rate, 0)
    return Audio(sum((k * phase).sin() / k for k in range(1, 11)) * 0.2, rate)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("hz", [70.0, 111.3, 180.0, 260.0, 440.0])
def test_pitch_of_a_steady_voice(hz: float, rate: int) -> None:
    pitch = track_pitch(buzz(hz, 0.5, rate))
    assert len(pitch) == 51
    inside = pitch[5:-5]
    assert inside.isfinite().all()
    assert float((inside / hz - 1).abs().max()) < 0.01


def test_pitch_of_a_rising_voice() -> None:
    course = torch.linspace(100, 200, 16000)
    pitch = track_pitch(buzz(course, 1.0, 16000))
    expected = course[::160]
    assert float((pitch[5:95] / expected[5:95] - 1).abs().max()) < 0.03


def test_noise_and_silence_have_no_pitch() -> None:
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert track_pitch(Audio(noise, 16000)).isnan().float().mean() > 0.95
    assert track_pitch(Audio(torch.zeros(1600), 16000)).isnan().all()
    pause = torch.cat([buzz(150.0, 0.5, 16000).samples, torch.zeros(8000)])
    pitch = track_pitch(Audio(pause, 16000))
    assert pitch[5:45].isfinite().all()
    assert pitch[55:].isnan().all()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_picture(tmp_path: Path, suffix: str) -> None:
    tokens = SpeechTokens(torch.arange(4) % 3, torch.arange(6), TokenSpec(12, 20))
    panels = [
        Panel("before", buzz(120.0, 0.5, 24000), tokens),
        Panel("after", buzz(200.0, 0.3, 16000)),
    ]
    path = tmp_path / "new" / f"picture{suffix}"
    assert draw_picture(panels, path) == path
    head = path.read_bytes()[:200]
    assert head.startswith((b"\x89PNG", b"<?xml", b"%PDF"))
    with pytest.raises(OutputExistsError):
        draw_picture(panels, path)
    draw_picture(panels[1:], path, force=True)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_very_short_and_very_long(tmp_path: Path) -> None:
    panels = [
        Panel("5 ms", Audio(torch.ones(80) * 0.1, 16000)),
        Panel("2 min", Audio(torch.zeros(120 * 8000), 8000)),
    ]
    draw_picture(panels, tmp_path / "a.png")


@pytest.mark.parametrize("name", ["price_$a_$.flac", "声.flac"])
def test_any_name_is_a_title(tmp_path: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_picture([Panel(name, buzz(120.0, 0.1, 16000))], tmp_path / "a.svg")


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudioError, match="no recording"):
        draw_picture([], tmp_path / "a.png")
    panel = Panel("x", buzz(120.0, 0.1, 16000))
    with pytest.raises(AudioError, match=r"ends in \.png"):
        draw_picture([panel], tmp_path / "a.wav")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"stepaudio\[plot\]"):
        require_matplotlib()
