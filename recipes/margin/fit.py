"""Fitting the two layers, and scores of speakers the network has not heard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from recipes.margin.pairs import RatedPairs
from stepaudio.data.isotonic import Isotonic
from stepaudio.data.margin import MarginConfig, MarginScorer, pair_features, to_margin

__all__ = ["calibrated", "cross_calibrated", "fit", "held_out"]

_BATCH, _LR, _DECAY = 256, 2e-3, 0.1
# Pairs of other words teach the manner too, but the scorer will be asked about the same words.
_SAME_TEXT = 0.5


def fit(
    pairs: RatedPairs,
    vectors: NDArray[np.float64],
    config: MarginConfig,
    *,
    use: NDArray[np.bool_],
    steps: int,
) -> MarginScorer:
    """Train a scorer without calibration.

    Args:
        pairs: of rated recordings.
        vectors: ``[R, F]`` of the recordings.
        config: sizes and labels.
        use: ``[N]`` bool, pairs to train with.
        steps: of the optimizer.

    Returns:
        The scorer in evaluation mode.
    """
    torch.manual_seed(0)
    model = MarginScorer(config).train()
    chosen = np.flatnonzero(use)
    features = torch.from_numpy(pair_features(vectors[pairs.before], vectors[pairs.after])[chosen])
    targets = torch.from_numpy(pairs.targets[chosen]).float()
    model.mean.copy_(features.mean(0))
    # Every pair is there in both orders, so this is zero but for rounding; exactly zero, two
    # recordings that are the same have no difference.
    model.mean[: features.shape[1] // 2] = 0.0
    model.deviation.copy_(features.std(0) + 1e-3)
    # Both kinds of pairs, and within each every speaker, are drawn equally often.
    weights = np.zeros(len(chosen))
    for same, portion in ((True, _SAME_TEXT), (False, 1 - _SAME_TEXT)):
        for speaker in np.unique(pairs.speakers[chosen]):
            cell = (pairs.same_text[chosen] == same) & (pairs.speakers[chosen] == speaker)
            weights[cell] = portion / max(1, cell.sum())
    rng = np.random.default_rng(0)
    order = rng.choice(len(chosen), (steps, _BATCH), p=weights / weights.sum())
    optimizer = torch.optim.AdamW(model.parameters(), _LR, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for drawn in torch.from_numpy(order):
        loss = F.binary_cross_entropy_with_logits(model(features[drawn]), targets[drawn])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()


def held_out(
    pairs: RatedPairs, vectors: NDArray[np.float64], config: MarginConfig, *, steps: int
) -> NDArray[np.float64]:
    """Raw scores of every pair by a network that has not heard its speaker.

    Args:
        pairs: of rated recordings.
        vectors: ``[R, F]`` of the recordings.
        config: sizes and labels.
        steps: of the optimizer, for each speaker.

    Returns:
        ``[N, L]`` in 0..1.
    """
    scores = np.zeros_like(pairs.targets)
    for speaker in np.unique(pairs.speakers):
        own = pairs.speakers == speaker
        model = fit(pairs, vectors, config, use=~own, steps=steps)
        scores[own] = model.shares(vectors[pairs.before[own]], vectors[pairs.after[own]])
    return scores


def calibrated(model: MarginScorer, calibration: Isotonic) -> MarginScorer:
    """The same scorer with a calibration.

    Args:
        model: without one.
        calibration: of its raw scores.

    Returns:
        A new scorer with the same weights.
    """
    copy = MarginScorer(replace(model.config, calibration=calibration))
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def cross_calibrated(scores: NDArray[np.float64], pairs: RatedPairs) -> NDArray[np.float64]:
    """Margins from 1 to 10 by a calibration that has not seen the speaker either.

    Args:
        scores: raw ones from :func:`held_out`.
        pairs: they belong to.

    Returns:
        ``[N, L]``.
    """
    margins = np.zeros_like(scores)
    for speaker in np.unique(pairs.speakers):
        own = pairs.speakers == speaker
        rest = ~own & pairs.same_text
        calibration = Isotonic.fit(scores[rest].ravel(), pairs.targets[rest].ravel())
        margins[own] = to_margin(calibration(scores[own]))
    return margins
