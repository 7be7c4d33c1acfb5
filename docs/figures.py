"""Draw the figures of the documentation: ``python docs/figures.py`` rewrites them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt

from stepaudio.decoder.flow_matching import cosine_schedule, solve
from stepaudio.types import TokenSpec

# Text stays text, and the same input gives the same file.
mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "stepaudio",
        "font.size": 10,
        "font.family": "sans-serif",
    }
)

FOLDER = Path(__file__).parent / "_static" / "figures"
INK, BLUE, ORANGE, GREY = "#1f2933", "#3b7dd8", "#d9822b", "#9aa5b1"


def canvas(width: float, height: float) -> tuple[Any, Any]:
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set_axis_off()
    return figure, axes


def save(figure: Any, name: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    # White paper: the pages also have a dark theme.
    figure.savefig(
        FOLDER / f"{name}.svg", bbox_inches="tight", facecolor="white", metadata={"Date": None}
    )
    plt.close(figure)


def box(axes: Any, x: float, y: float, text: str, colour: str, width: float = 1.5) -> None:
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        color="white",
        bbox={"boxstyle": f"round,pad=0.5,rounding_size={0.2 * width}", "fc": colour, "ec": "none"},
    )


def arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], curve: float = 0
) -> None:
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.3, "connectionstyle": f"arc3,rad={curve}"}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def road() -> None:
    figure, axes = canvas(11, 2.6)
    axes.set(xlim=(-0.6, 12.6), ylim=(-1.7, 1.1))
    for x, name in ((2, "Tokenizer"), (5, "SpeechLM"), (8, "FlowDecoder"), (11, "Vocoder")):
        box(axes, x, 0, name, BLUE)
    stops = (-0.2, 1.3, 2.75, 4.3, 5.7, 7.1, 8.95, 10.3, 11.7, 12.5)
    for start, end in zip(stops[::2], stops[1::2], strict=True):
        arrow(axes, (start, 0), (end, 0))
    for x, name in ((0.5, "Audio"), (3.5, "ids"), (6.4, "ids"), (9.6, "mel"), (12.1, "Audio")):
        axes.text(x, 0.22, name, ha="center", color=INK)
    box(axes, 5, -1.3, "VoicePrompt", ORANGE)
    arrow(axes, (0.4, -0.15), (4.2, -1.3), 0.25)
    arrow(axes, (5.8, -1.3), (8, -0.4), 0.25)
    save(figure, "road")


def tokens() -> None:
    spec = TokenSpec()
    unit = float(spec.unit_seconds)
    figure, axes = canvas(9, 2.8)
    axes.set(xlim=(-0.075, 3 * unit + 0.01), ylim=(-0.9, 3.2))
    rows = ((2.2, spec.linguistic, BLUE), (1.1, spec.semantic, ORANGE))
    for y, stream, colour in rows:
        axes.text(
            -0.005, y + 0.35, f"{stream.name}\n{float(stream.rate):.1f} Hz", ha="right", va="center"
        )
        span = unit / stream.per_unit
        for i in range(3 * stream.per_unit):
            axes.add_patch(plt.Rectangle((i * span, y), span, 0.7, fc=colour, ec="white", lw=2))
    axes.text(-0.005, 0.2, "one stream", ha="right", va="center")
    slot = unit / spec.unit_length
    for i in range(3 * spec.unit_length):
        first = i % spec.unit_length < spec.linguistic.per_unit
        colour = BLUE if first else ORANGE
        axes.add_patch(plt.Rectangle((i * slot, -0.15), slot, 0.7, fc=colour, ec="white", lw=2))
        label = str(i % spec.unit_length)
        axes.text((i + 0.5) * slot, 0.2, label, ha="center", va="center", color="white")
    for i in range(4):
        axes.plot([i * unit] * 2, [-0.35, 3.05], color=INK, lw=0.8, ls=":")
        axes.text(i * unit, -0.6, f"{i * unit:.2f} s", ha="center", va="center", color=INK)
    save(figure, "tokens")


def flow() -> None:
    """Exact paths for a two-point data set, where the velocity is known in closed form."""
    points = torch.tensor([-1.5, 1.5])

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        left = (1 - t).clamp(min=1e-3)
        weights = (-0.5 * ((x[:, None] - t * points) / left) ** 2).softmax(1)
        return ((weights * points).sum(1) - x) / left

    figure, (paths, steps) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=(3, 2))
    times = torch.linspace(0, 1, 201)
    x = torch.linspace(-2.2, 2.2, 14)
    history = [x]
    for start, end in pairwise(times):
        history.append(solve(velocity, history[-1], torch.stack([start, end])))
    paths.plot(times, torch.stack(history), color=BLUE, lw=1)
    paths.set(xlabel="time", title="paths from noise to data", yticks=[])
    schedule = cosine_schedule(10)
    paths.plot(schedule, torch.full_like(schedule, -2.6), "|", color=ORANGE, ms=10)
    steps.plot(range(11), schedule, "o-", color=ORANGE, ms=4)
    steps.plot([0, 10], [0, 1], ":", color=GREY)
    steps.set(xlabel="step", ylabel="time", title="ten steps, cosine schedule")
    for axes in (paths, steps):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save(figure, "flow")


def loop() -> None:
    figure, axes = canvas(8, 2.4)
    axes.set(xlim=(-0.2, 9.2), ylim=(-1.5, 1.1))
    for i, name in enumerate(("original", "after 1", "after 2", "after 3")):
        box(axes, 0.6 + 2.6 * i, 0, name, GREY if i == 0 else BLUE)
        if i < 3:
            arrow(axes, (1.3 + 2.6 * i, 0), (2.5 + 2.6 * i, 0))
            axes.text(1.9 + 2.6 * i, 0.25, "edit", ha="center", color=INK)
            arrow(axes, (0.6, -0.4), (2.2 + 2.6 * i, -0.4), 0.3 if i == 0 else 0.22)
    axes.text(
        4.0, -1.45, "fixed prompt: the original's voice in every round", ha="center", color=INK
    )
    save(figure, "loop")


if __name__ == "__main__":
    for draw in (road, tokens, flow, loop):
        draw()
