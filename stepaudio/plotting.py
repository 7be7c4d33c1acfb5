"""Recordings as a picture, side by side: spectrogram, pitch and codes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, MissingExtraError
from stepaudio.hub import write_atomic
from stepaudio.pitch_track import (
    HIGHEST_HZ,
    LOWEST_HZ,
    TRACK_HOP,
    TRACK_RATE,
    TRACK_WINDOW,
    centred_frames,
    track_pitch,
)
from stepaudio.types import SpeechTokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PICTURE_SUFFIXES", "Panel", "draw_picture", "require_matplotlib"]

#: What :func:`draw_picture` writes.
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")

# A picture has no room for more columns; a longer recording gets a larger hop.
_MOST_FRAMES = 3000
_DYNAMICS_DB = 70.0
# Steps of this share of the colour circle tell neighbouring codes apart.
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Panel:
    """One column of the picture.

    Attributes:
        title: written above it.
        audio: the recording.
        tokens: its codes, if they shall be shown.
    """

    title: str
    audio: Audio
    tokens: SpeechTokens | None = None


def require_matplotlib() -> None:
    """Check that pictures can be drawn, before the work whose result they show.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "pictures need matplotlib; install it with: pip install 'stepaudio[plot]'"
        ) from error


def draw_picture(panels: Sequence[Panel], path: str | Path, *, force: bool = False) -> Path:
    """Draw recordings side by side on one time scale.

    Args:
        panels: the recordings.
        path: of the picture; its suffix is one of :data:`PICTURE_SUFFIXES`.
        force: allow replacing an existing file.

    Returns:
        The path.

    Raises:
        AudioError: nothing to draw, or an unknown suffix.
        MissingExtraError: matplotlib is not installed.
        OutputExistsError: the file exists and ``force`` is False.
    """
    path = Path(path)
    if not panels:
        raise AudioError("there is no recording to draw")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise AudioError(f"{path}: a picture ends in {', '.join(PICTURE_SUFFIXES)}")
    require_matplotlib()
    from matplotlib.figure import Figure

    with_tokens = any(panel.tokens is not None for panel in panels)
    heights = [3.0, 2.0, 1.3] if with_tokens else [3.0, 2.0]
    # A Figure without pyplot: no window system, no global state.
    figure = Figure(figsize=(6.0 * len(panels) + 0.6, 1.25 * sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(heights), len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=heights
    )
    for column, panel in enumerate(panels):
        # Dollar signs in the name of a file are no formula.
        title = f"{panel.title} ({panel.audio.seconds:.2f} s)"
        axes[0, column].set_title(title, parse_math=False)
        _draw_spectrogram(axes[0, column], panel.audio)
        _draw_pitch(axes[1, column], panel.audio)
        if panel.tokens is not None:
            _draw_tokens(axes[2, column], panel.tokens)
        # Tokenizers cut silence at the ends, so codes need not begin with the recording.
        cut = "" if panel.tokens is None else " (codes: from the first sound on)"
        axes[-1, column].set_xlabel(f"time [s]{cut}")
    axes[0, 0].set_ylabel("frequency [kHz]")
    axes[1, 0].set_ylabel("pitch F0 [Hz]")
    axes[0, 0].set_xlim(0, max(panel.audio.seconds for panel in panels))
    with warnings.catch_warnings():
        # A name in a script that the font lacks has boxes in its title, which everybody sees.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        return write_atomic(path, lambda file: figure.savefig(file, dpi=110), force=force)


def _hop_for(audio: Audio) -> int:
    return max(TRACK_HOP, math.ceil(audio.seconds * TRACK_RATE / _MOST_FRAMES))


def _draw_spectrogram(axes: Axes, audio: Audio) -> None:
    window = torch.hann_window(TRACK_WINDOW, dtype=torch.float64)
    frames = centred_frames(audio, _hop_for(audio)) * window
    level = 20 * torch.log10(torch.fft.rfft(frames).abs() + 1e-10).T.float()
    peak = float(level.max())
    axes.imshow(
        level.numpy(),
        origin="lower",
        aspect="auto",
        extent=(0, audio.seconds, 0, TRACK_RATE / 2000),
        vmin=peak - _DYNAMICS_DB,
        vmax=peak,
        cmap="magma",
    )


def _draw_pitch(axes: Axes, audio: Audio) -> None:
    hop = _hop_for(audio)
    pitch = track_pitch(audio, hop=hop)
    times = torch.arange(len(pitch)) * (hop / TRACK_RATE)
    axes.plot(times.numpy(), pitch.numpy(), ".", markersize=3, color="tab:blue")
    axes.set_ylim(LOWEST_HZ, HIGHEST_HZ)
    axes.set_yscale("log")
    axes.set_yticks([75, 100, 150, 200, 300, 400], ["75", "100", "150", "200", "300", "400"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    if pitch.isfinite().any():
        median = float(pitch.nanmedian())
        axes.axhline(median, color="tab:orange", linewidth=1)
        axes.text(
            0.99, 0.95, f"median {median:.0f} Hz", transform=axes.transAxes, ha="right", va="top"
        )


def _draw_tokens(axes: Axes, tokens: SpeechTokens) -> None:
    rows: list[tuple[float, str, Tensor]] = [
        (1.0, "linguistic", tokens.linguistic),
        (0.0, "semantic", tokens.semantic),
    ]
    for bottom, _, codes in rows:
        axes.imshow(
            _code_colours(codes.numpy()),
            aspect="auto",
            interpolation="nearest",
            extent=(0, tokens.seconds, bottom, bottom + 0.95),
        )
    axes.set_ylim(0, 2)
    axes.set_yticks([row[0] + 0.5 for row in rows], [row[1] for row in rows])


def _code_colours(codes: NDArray[np.int64]) -> NDArray[Any]:
    """``[1, L, 4]``: equal codes have equal colours, others most likely not."""
    import matplotlib

    return np.asarray(matplotlib.colormaps["hsv"](codes * _GOLDEN % 1.0))[None]
