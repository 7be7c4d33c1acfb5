"""Bars on a logarithmic axis as SVG, the same text for the same figures on every machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "draw_bars"]

BLUE, ORANGE, INK, GREY = "#3b7dd8", "#d9822b", "#1f2933", "#9aa5b1"
LABEL, PLOT, ROW, TOP = 400, 360, 22, 44


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: on its left.
        value: above 0.
        goal: marked on its way; None if there is none.
    """

    label: str
    value: float
    goal: float | None


def draw_bars(title: str, bars: Sequence[Bar]) -> str:
    """A picture of ratios, from 1 to both sides.

    Args:
        title: above it.
        bars: from top to bottom.

    Returns:
        The SVG.
    """
    values = [v for bar in bars for v in (bar.value, bar.goal or 1.0)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(value: float) -> float:
        return round(LABEL + PLOT * (math.log10(value) - low) / (high - low), 1)

    bottom = TOP + ROW * len(bars)
    size = f'width="{LABEL + PLOT + 70}" height="{bottom + 30}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
        f'<text x="10" y="20" font-size="14" fill="{INK}">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        at, dash = x(10.0**power), "" if power == 0 else ' stroke-dasharray="2 3"'
        lines += [
            f'<line x1="{at}" y1="{TOP - 8}" x2="{at}" y2="{bottom}" stroke="{GREY}"{dash}/>',
            f'<text x="{at}" y="{bottom + 16}" text-anchor="middle" fill="{INK}">'
            f"{10.0**power:g}</text>",
        ]
    for number, bar in enumerate(bars):
        y, start, end = TOP + ROW * number, x(min(1.0, bar.value)), x(max(1.0, bar.value))
        colour = BLUE if bar.goal is None or bar.value >= bar.goal else ORANGE
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end" fill="{INK}">'
            f"{escape(bar.label)}</text>",
            f'<rect x="{start}" y="{y}" width="{round(end - start, 1)}" height="15"'
            f' fill="{colour}"/>',
            f'<text x="{end + 5}" y="{y + 12}" fill="{INK}">{bar.value:.3g}</text>',
        ]
        if bar.goal is not None:
            at = x(bar.goal)
            lines.append(
                f'<line x1="{at}" y1="{y - 3}" x2="{at}" y2="{y + 18}" stroke="{INK}"'
                ' stroke-width="2"/>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"
