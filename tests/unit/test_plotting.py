from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch
from synthetic_voices import buzz

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, MissingExtraError, OutputExistsError
from stepaudio.plotting import Panel, draw_picture, require_matplotlib
from stepaudio.types import SpeechTokens, TokenSpec


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
