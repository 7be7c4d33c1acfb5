"""Recordings as a picture, side by side: spectrogram, pitch and codes.

The pitch is estimated by normalised autocorrelation (Boersma 1993): good enough to see a melody,
not meant for measurements.
"""

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
from stepaudio.types import SpeechTokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PICTURE_SUFFIXES", "Panel", "draw_picture", "require_matplotlib", "track_pitch"]

#: What :func:`draw_picture` writes.
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")

_RATE = 16000
_WINDOW = 1024
_HOP = 160
# A picture has no room for more columns; a longer recording gets a larger hop.
_MOST_FRAMES = 3000
# Above the hum of either mains frequency.
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 500.0
# Voiced: this periodic, and at most so much quieter than the loudest frame.
_PERIODICITY = 0.5
_QUIET_DB = 35.0
# How much a candidate must gain to be preferred over one an octave above it.
_OCTAVE_COST = 0.03
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


def track_pitch(audio: Audio, *, hop: int = _HOP) -> Tensor:
    """Fundamental frequency.

    Args:
        audio: a recording of any rate.
        hop: distance of the frames in samples at 16 kHz.

    Returns:
        ``[T]`` Hz between 65 and 500, NaN where there is no voice; frame ``t`` is centred at
        ``t * hop / 16000`` s and ``T = S // hop + 1`` for ``S`` samples at 16 kHz.
    """
    frames = _frames(audio, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    window = torch.hann_window(_WINDOW, dtype=frames.dtype)
    shortest, longest = int(_RATE / _HIGHEST_HZ), math.ceil(_RATE / _LOWEST_HZ)
    # Dividing by the window's own autocorrelation undoes its taper.
    correlation = _autocorrelation(frames * window, longest + 2)
    taper = _autocorrelation(window[None], longest + 2)
    correlation = correlation / correlation[:, :1].clamp(min=1e-12) / (taper / taper[:, :1])

    lags = torch.arange(shortest, longest + 1)
    here = correlation[:, lags]
    left, right = correlation[:, lags - 1], correlation[:, lags + 1]
    is_peak = (here >= left) & (here > right)
    score = here - _OCTAVE_COST * (lags / shortest).log2()
    best = score.masked_fill(~is_peak, -1.0).argmax(-1, keepdim=True)
    low, mid, high = (values.gather(1, best)[:, 0] for values in (left, here, right))
    # A parabola through the peak and its neighbours finds the lag between two samples.
    bend = (low - 2 * mid + high).clamp(max=-1e-9)
    lag = lags[best[:, 0]] + 0.5 * (low - high) / bend

    power = frames.square().mean(-1)
    loud = 10 * torch.log10(power / power.max().clamp(min=1e-12) + 1e-12) > -_QUIET_DB
    voiced = (mid > _PERIODICITY) & loud & is_peak.any(-1)
    return torch.where(voiced, _RATE / lag, torch.full_like(lag, torch.nan)).float()


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


def _frames(audio: Audio, hop: int) -> Tensor:
    """``[T, _WINDOW]`` centred frames at 16 kHz, in double precision."""
    samples = audio.resample(_RATE).samples.double()
    half = _WINDOW // 2
    return torch.nn.functional.pad(samples, (half, half)).unfold(0, _WINDOW, hop)


def _autocorrelation(frames: Tensor, lags: int) -> Tensor:
    """``[T, lags]``, by the power spectrum of zero-padded frames."""
    spectrum = torch.fft.rfft(frames, 2 * _WINDOW)
    power = spectrum.real.square() + spectrum.imag.square()
    correlation: Tensor = torch.fft.irfft(power, 2 * _WINDOW)
    return correlation[:, :lags]


def _hop_for(audio: Audio) -> int:
    return max(_HOP, math.ceil(audio.seconds * _RATE / _MOST_FRAMES))


def _draw_spectrogram(axes: Axes, audio: Audio) -> None:
    frames = _frames(audio, _hop_for(audio)) * torch.hann_window(_WINDOW, dtype=torch.float64)
    level = 20 * torch.log10(torch.fft.rfft(frames).abs() + 1e-10).T.float()
    peak = float(level.max())
    axes.imshow(
        level.numpy(),
        origin="lower",
        aspect="auto",
        extent=(0, audio.seconds, 0, _RATE / 2000),
        vmin=peak - _DYNAMICS_DB,
        vmax=peak,
        cmap="magma",
    )


def _draw_pitch(axes: Axes, audio: Audio) -> None:
    hop = _hop_for(audio)
    pitch = track_pitch(audio, hop=hop)
    times = torch.arange(len(pitch)) * (hop / _RATE)
    axes.plot(times.numpy(), pitch.numpy(), ".", markersize=3, color="tab:blue")
    axes.set_ylim(_LOWEST_HZ, _HIGHEST_HZ)
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
