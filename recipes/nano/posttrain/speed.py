"""Where the time goes: tokens per second, and the share of each part of reinforcement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepaudio.training.metrics import read_metrics

__all__ = ["online_speed", "packed_speed"]


def packed_speed(run: Path) -> dict[str, float]:
    """Of a training that reads rows.

    Args:
        run: its folder.

    Returns:
        Steps, seconds, and what was learned from per second: tokens of answers, or pairs.
    """
    rows = read_metrics(run / "metrics.jsonl")
    seconds = sum(row["seconds"] for row in rows)
    return {
        "steps": len(rows),
        "seconds": round(seconds, 1),
        "learned_per_second": round(sum(row["weight"] for row in rows) / seconds, 1),
    }


def online_speed(run: Path, steps_per_round: int, answers_per_round: int) -> dict[str, Any]:
    """Of PPO or GRPO.

    Drawing is drawing the answers and asking policy, reference and critic about them once.

    Args:
        run: its folder.
        steps_per_round: optimizer steps between two draws.
        answers_per_round: drawn at once.

    Returns:
        Tokens drawn and learned from per second, and the share of each part of the time.
    """
    rows = read_metrics(run / "metrics.jsonl")
    rounds = rows[::steps_per_round]
    drawing = sum(row["draw_seconds"] for row in rounds)
    rewarding = sum(row["reward_seconds"] for row in rounds)
    updating = sum(row["seconds"] for row in rows) - drawing - rewarding
    total = drawing + rewarding + updating
    drawn = sum(row["length"] for row in rounds) * answers_per_round
    return {
        "rounds": len(rounds),
        "seconds": round(total, 1),
        "drawn_tokens_per_second": round(drawn / drawing, 1),
        "learned_tokens_per_second": round(sum(row["weight"] for row in rows) / updating, 1),
        "shares": {
            "drawing": round(drawing / total, 4),
            "reward": round(rewarding / total, 4),
            "update": round(updating / total, 4),
        },
    }
