"""What to watch while a policy learns: the divergence, the length and the variety of its answers.

A reward that rises while one of these runs away is being cheated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepaudio.rl.divergence import kl_estimate
from stepaudio.rl.rollout import Drawn
from stepaudio.types import LMSpec

__all__ = ["measure_round", "unique_units"]


def unique_units(response: Tensor, spec: LMSpec) -> float:
    """Share of a response's whole units that differ from each other.

    Args:
        response: ``[R]`` int64 ids.
        spec: length of a unit.

    Returns:
        Near 0 for a drone, 1 if no unit comes twice or there is none.
    """
    size = spec.tokens.unit_length
    units = response[: len(response) // size * size].view(-1, size)
    different = {tuple(unit) for unit in units.tolist()}
    return len(different) / len(units) if len(units) else 1.0


def measure_round(drawn: Sequence[Drawn], spec: LMSpec) -> dict[str, float]:
    """Numbers of a round.

    Args:
        drawn: responses, at least one.
        spec: of the model that drew them.

    Returns:
        ``kl``: divergence from the reference in nats per response (k1); ``length``: tokens;
        ``ended``: share that ended by itself; ``unique_units``: see :func:`unique_units`.
    """
    divergences = [float(kl_estimate(one.log_probs, one.reference).sum()) for one in drawn]
    lengths = [len(one.response) for one in drawn]
    return {
        "kl": _mean(divergences),
        "length": _mean(lengths),
        "ended": _mean([float(one.ended) for one in drawn]),
        "unique_units": _mean([unique_units(one.response, spec) for one in drawn]),
    }


def _mean(numbers: Sequence[float]) -> float:
    return float(torch.tensor(numbers, dtype=torch.float64).mean())
