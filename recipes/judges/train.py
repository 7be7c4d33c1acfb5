"""Train a clip classifier, and measure it on speakers it has not heard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.judges.clips import Clip, ClipBank, fold_speakers
from recipes.nano.loop import run
from recipes.nano.prefetch import Batch
from stepaudio.audio import Audio
from stepaudio.evaluation.clip_classifier import ClipClassifier, ClipClassifierConfig
from stepaudio.evaluation.confusion import Confusion

__all__ = ["train_judge"]


def train_judge(
    clips: Sequence[Clip],
    config: ClipClassifierConfig,
    out: str | Path,
    *,
    minutes: float,
    folds: int,
    batch: int = 32,
    lr: float = 1e-3,
) -> Confusion:
    """Train one model per fold and one on everybody; resumes where it was stopped.

    The confusion matrix is that of the fold models, each asked about the speakers it was trained
    without. The model kept has heard them all, so the matrix rather understates it.

    Args:
        clips: labelled recordings.
        config: of the network; its labels are all labels of the clips.
        out: folder; ``out/model`` is what a judge loads.
        minutes: processor time per thread for each of the ``folds + 1`` models.
        folds: parts into which speakers are dealt.
        batch: clips per step.
        lr: peak learning rate.

    Returns:
        The confusion matrix.
    """
    out = Path(out)
    parts = fold_speakers(clips, folds)
    bank = ClipBank(clips, ClipClassifier(config))
    pairs: list[tuple[str, str]] = []
    for number, part in enumerate(parts):
        model = _train(bank, config, out / f"fold{number}", minutes, batch, lr, without=part)
        for clip in (clip for clip in clips if clip.speaker in part):
            heard = int(model.classify(Audio.load(clip.path)).argmax())
            pairs.append((clip.label, config.labels[heard]))
    model = _train(bank, config, out / "all", minutes, batch, lr, without=set())
    confusion = Confusion.of(
        config.labels,
        pairs,
        speakers=(clip.speaker for clip in clips),
        protocol=(
            f"{folds} folds of whole speakers, each heard by a model trained without them; the "
            "model kept was trained in the same way on all speakers"
        ),
    )
    model.save_pretrained(out / "model", force=True)
    confusion.save(out / "model", force=True)
    return confusion


def _train(
    bank: ClipBank,
    config: ClipClassifierConfig,
    out: Path,
    minutes: float,
    batch: int,
    lr: float,
    *,
    without: set[str],
) -> ClipClassifier:
    torch.manual_seed(0)
    model = ClipClassifier(config).train()

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        fbank, lengths, target = bank.draw(batch, rng, without=without)
        return {"fbank": fbank, "lengths": lengths, "target": target}

    def loss(drawn: Batch, progress: float) -> dict[str, Tensor]:
        logits, target = model(drawn["fbank"], drawn["lengths"]), drawn["target"]
        hit = (logits.argmax(-1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target, label_smoothing=0.1), "accuracy": hit}

    run(
        out=out, models={"model": model}, draw=draw, loss=loss, minutes=minutes, lr=lr,
        weight_decay=0.05,
    )  # fmt: skip
    return model.eval()
