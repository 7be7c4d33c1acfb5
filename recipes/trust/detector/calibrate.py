"""Stage: odds, thresholds and the domain of a trained network, from sounds it was not trained on.

The odds are those of the generators it knows, on speakers and texts it does not. For a generator
nobody had heard they would be no odds at all: networks trained without one are close to chance on
it (:mod:`recipes.trust.detector.measure`), so no number could be both honest and of use there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from recipes.trust.detector.bank import VERSIONS, Bank, Side, family, held_out
from stepaudio.safety.detector import SyntheticSpeechDetector
from stepaudio.safety.detector_network import DetectorNetwork

__all__ = ["calibrated", "odds"]

Values = NDArray[np.float64]

#: Recordings of held-out speakers that are called synthetic, and that show a synthetic stretch.
FALSE_ALARMS, FALSE_SPANS = 0.01, 0.002
#: Sounds of known generators, on held-out speakers and texts, that are called real.
MISSES = 0.02
#: Sounds of held-out speakers and texts that the detector will not judge.
OUTSIDE = 0.01
#: Of the covariance, what is shared evenly among all directions.
_SHRINKAGE = 0.1
#: Frames of the shortest stretch that is reported.
_LASTING = 20


def odds(real: Values, made: Mapping[str, Values]) -> tuple[float, float]:
    """Logistic regression of what is synthetic on the score; every family counts the same.

    Args:
        real: scores of recordings.
        made: scores of each family of generators.

    Returns:
        Slope and offset of the log odds, people and machines being equally likely.
    """
    scores = np.concatenate([real, *made.values()])
    sign = np.concatenate([-np.ones(len(real)), np.ones(len(scores) - len(real))])
    weights = np.concatenate(
        [np.full(len(real), 1 / len(real)), *(np.full(len(s), 1 / len(s)) for s in made.values())]
    )
    weights[len(real) :] /= len(made)

    def cost(line: Values) -> float:
        wrong = np.logaddexp(0, -sign * (line[0] * scores + line[1]))
        return float(np.sum(weights * wrong))

    slope, offset = minimize(cost, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


@torch.no_grad()
def _heard(network: DetectorNetwork, bank: Bank, side: Side) -> tuple[Values, torch.Tensor]:
    """Scores ``[N * VERSIONS]`` and inner means of all versions of a side."""
    rows = bank.where(side)
    scores, inner = [], []
    for version in range(VERSIONS):
        for part in np.array_split(rows, max(1, len(rows) // 64)):
            made = network(*bank.take(part, version))
            scores.append(made.clip_scores.double().numpy())
            inner.append(made.inner)
    return np.concatenate(scores), torch.cat(inner)


def _held_out_of(name: str) -> Side:
    return lambda row: family(row) == name and held_out(row)


def _domain(network: DetectorNetwork, bank: Bank) -> None:
    """Set the centres of real and synthetic and their common spread."""
    sides: tuple[Side, Side] = (
        lambda row: row.made == "human" and not held_out(row),
        lambda row: row.made != "human" and not held_out(row),
    )
    inner = [_heard(network, bank, side)[1].double() for side in sides]
    centres = torch.stack([some.mean(0) for some in inner])
    apart = torch.cat([some - centre for some, centre in zip(inner, centres, strict=True)])
    covariance = apart.T @ apart / len(apart)
    even = covariance.trace() / len(covariance) * torch.eye(len(covariance))
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * even
    # With precision = whitening @ whitening.T.
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
    network.centres.copy_(centres)
    network.whitening.copy_(whitening)


@torch.no_grad()
def calibrated(network: DetectorNetwork, bank: Bank) -> DetectorNetwork:
    """Give a network its odds, thresholds and domain.

    Args:
        network: trained on all families.
        bank: what it was trained on, and what was held out.

    Returns:
        The same weights with another config.
    """
    _domain(network, bank)
    people: Side = lambda row: row.made == "human" and held_out(row)  # noqa: E731
    real, _ = _heard(network, bank, people)
    made = {
        name: _heard(network, bank, _held_out_of(name))[0]
        for name in sorted({family(row) for row in bank.rows} - {"real"})
    }
    slope, offset = odds(real, made)

    def chance(scores: Values) -> Values:
        return 1 / (1 + np.exp(-(slope * scores + offset)))

    known = np.concatenate([chance(scores) for scores in made.values()])
    above = float(np.clip(np.quantile(chance(real), 1 - FALSE_ALARMS), 0.5, 0.999))
    below = float(np.clip(np.quantile(known, MISSES), 0.001, min(0.5, above - 0.01)))
    _, all_inner = _heard(network, bank, held_out)
    farthest = float(np.quantile(network.distance(all_inner).numpy(), 1 - OUTSIDE))
    config = replace(
        network.config, slope=slope, offset=offset, synthetic_above=above, real_below=below,
        farthest=farthest,
    )  # fmt: skip
    finished = DetectorNetwork(config).eval()
    finished.load_state_dict(network.state_dict())
    config = replace(config, span_above=_span_threshold(finished, bank, people))
    finished.config = config
    return finished


def _span_threshold(network: DetectorNetwork, bank: Bank, people: Side) -> float:
    """The probability that a stretch of hardly any recording reaches."""
    detector = SyntheticSpeechDetector(network)
    highest = []
    for row in bank.where(people):
        for version in range(VERSIONS):
            bands, length = bank.take(np.array([row]), version)
            heard = detector.hear(bands[0, : length[0]])
            frames = detector.frame_probabilities(heard)
            lasting = frames.nan_to_num(0).unfold(0, min(_LASTING, len(frames)), 1).min(-1).values
            highest.append(float(lasting.max()))
    return float(np.clip(np.quantile(highest, 1 - FALSE_SPANS), 0.5, 0.999))
