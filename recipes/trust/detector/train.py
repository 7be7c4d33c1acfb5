"""Stage: fit a network to the bank, to all of it or without the sounds of one generator."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.nano.loop import run
from recipes.nano.prefetch import Batch
from recipes.trust.detector.bank import Bank, family, held_out
from stepaudio.safety.detector_network import DetectorConfig, DetectorNetwork

__all__ = ["train"]

BATCH = 32
_FRAME_LOSS = 0.5


def train(bank: Bank, out: Path, minutes: float, without: str = "") -> DetectorNetwork:
    """Train; goes on where it was stopped.

    Args:
        bank: of sounds; those of held-out speakers are not heard.
        out: folder.
        minutes: of processor time.
        without: family of generators that is not heard.

    Returns:
        The network in evaluation mode, neither calibrated nor with its domain.
    """
    torch.manual_seed(0)
    network = DetectorNetwork(DetectorConfig.release()).train()

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        made = network(batch["bands"], batch["lengths"])
        target = batch["target"][:, ::2]
        each = F.binary_cross_entropy_with_logits(made.scores, target, reduction="none")
        frames = (each * made.voiced).sum() / made.voiced.sum().clamp(min=1)
        # Of spliced rows only the frames are judged: there is no answer for the whole.
        share = (target * made.voiced).sum(-1) / made.voiced.sum(-1).clamp(min=1)
        whole = ((share == 0) | (share == 1)).float()
        clip = F.binary_cross_entropy_with_logits(
            made.clip_scores, share, whole, reduction="sum"
        ) / whole.sum().clamp(min=1)
        hit = ((made.clip_scores > 0) == (share > 0.5)).float()
        right = (hit * whole).sum() / whole.sum().clamp(min=1)
        return {"loss": clip + _FRAME_LOSS * frames, "clip": clip, "frames": frames, "right": right}

    run(
        out=out, models={"network": network}, loss=loss, minutes=minutes, lr=2e-3,
        weight_decay=0.02,
        draw=bank.drawing(lambda row: not held_out(row) and family(row) != without, BATCH),
    )  # fmt: skip
    return network.eval()
