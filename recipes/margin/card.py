"""The report of a margin scorer in words, for the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["markdown"]


def markdown(report: Mapping[str, Any]) -> str:
    """Tables of a report.

    Args:
        report: what ``recipes.margin.train`` writes as ``margin.json``.

    Returns:
        Markdown without a heading.
    """
    data, held = report["trained_on"], report["held_out"]
    chosen = held["selection"]
    lines = [
        f"Trained on {', '.join(data['sets'])} ({', '.join(data['licences'])}): "
        f"{data['recordings']} rated recordings of {data['speakers']} speakers, {data['pairs']} "
        f"pairs, {data['pairs_same_text']} of them of the same words, which are tested here: "
        f"{report['protocol']}. 95 % intervals by resampling speakers; with few of them they are "
        "too narrow.",
        "",
        "| speakers not heard | |",
        "|---|---|",
        f"| Spearman, every pair asked about every label (ties bound it by "
        f"{_number(held['rank_all_labels_ceiling'])}) | {_interval(held['rank_all_labels'])} |",
        f"| Spearman, neutral to acted, asked about the acted label | "
        f"{_interval(held['rank_matched'])} |",
        f"| the acted label has the largest margin | {_interval(held['right_label'])} |",
        f"| of what is kept at {chosen['floor']:g}, listeners agree | "
        f"{_number(chosen['precision'])} |",
        f"| of what listeners put there, kept | {_number(chosen['recall'])} |",
        "",
        "| label | Spearman |",
        "|---|---|",
        *(f"| {label} | {_number(value)} |" for label, value in held["rank_by_label"].items()),
        "",
        "| margin | pairs and labels | said | listeners |",
        "|---|---|---|---|",
        *(
            f"| {row['from']:g} to {row['to']:g} | {row['n']} | {row['said']:.2f} | "
            f"{row['listeners']:.2f} |"
            for row in held["calibration"]
        ),
    ]
    other = report.get("unheard_rated")
    if other:
        lines += [
            "",
            f"{other['rank_all_labels']['speakers']} more rated speaker(s), never in training: "
            f"Spearman {_interval(other['rank_all_labels'])} of at most "
            f"{_number(other['rank_all_labels_ceiling'])}, the acted label "
            f"{_interval(other['right_label'])}.",
        ]
    strength = report.get("unheard_intensity")
    if strength:
        lines += [
            "",
            f"Another corpus ({', '.join(strength['sets'])}; {strength['use']}): Spearman of "
            "neutral, normal and strong, and how often the strong one of two has the larger "
            "margin.",
            "",
            "| label | Spearman | strong over normal |",
            "|---|---|---|",
            f"| all | {_interval(strength['rank'])} | {_interval(strength['strong_wins'])} |",
            *(
                f"| {label} | {_number(row['rank'])} | {_number(row['strong_wins'])} |"
                for label, row in strength["by_label"].items()
            ),
        ]
    return "\n".join(lines) + "\n"


def _interval(value: Mapping[str, float | None]) -> str:
    if value["low"] is None:
        return _number(value["value"])
    return f"{_number(value['value'])} ({_number(value['low'])} – {_number(value['high'])})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")
