"""The speaker encoder, by telling the corpus speakers apart (additive margin softmax).

python -m recipes.nano.train_speaker MANIFEST -o runs/nano/speaker
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.nano.data.corpus import read_manifest
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.tokenizers.features import kaldi_fbank

SECONDS, SPEAKERS_PER_STEP, MARGIN, SCALE = 2.0, 24, 0.2, 24.0


class Voices:
    """Recordings by speaker; a speaker needs at least two."""

    def __init__(self, manifest: str) -> None:
        by_speaker: dict[str, list[str]] = {}
        for utterance in read_manifest(manifest):
            if utterance.text:  # noises have none
                by_speaker.setdefault(utterance.speaker, []).append(utterance.path)
        self.paths = [p for _, p in sorted(by_speaker.items()) if len(p) >= 2]

    def crop(self, speaker: int, rng: np.random.Generator) -> Tensor:
        """Two seconds ``[S]`` at 16 kHz of one voice; short recordings repeat.

        Another pitch would be another voice, so only the noise floor is varied.
        """
        paths = self.paths[speaker]
        with soundfile.SoundFile(paths[int(rng.integers(len(paths)))]) as file:
            need = int(SECONDS * file.samplerate)
            file.seek(int(rng.integers(0, max(1, file.frames - need))))
            x = file.read(need, dtype="float32", always_2d=True).mean(axis=1)
            if file.samplerate != 16000:
                x = soxr.resample(x, file.samplerate, 16000)
        x = np.resize(x, int(SECONDS * 16000))
        return torch.from_numpy(
            x + rng.normal(0, 10 ** rng.uniform(-5, -3), len(x)).astype(np.float32)
        )


def main() -> None:
    """Train and write the encoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=6.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    voices, encoder = Voices(args.manifest), CAMPPlus(CAMPPlusConfig.nano())
    classes = nn.Linear(encoder.dim, len(voices.paths), bias=False)

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        chosen = np.concatenate(
            [
                rng.choice(len(voices.paths), SPEAKERS_PER_STEP, replace=False)
                for _ in range(machine.scale)
            ]
        )
        waves = torch.stack([voices.crop(int(s), rng) for s in chosen])
        features = kaldi_fbank(waves, window="povey")
        tilt = torch.from_numpy(rng.normal(0, 0.5, (len(waves), 1, 1)).astype(np.float32))
        features = features + tilt * torch.linspace(-1, 1, features.shape[-1])
        features = features - features.mean(dim=1, keepdim=True)
        return {"features": features, "target": torch.from_numpy(chosen)}

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        target = batch["target"]
        embedding = F.normalize(encoder(batch["features"]), dim=-1)
        cosine = embedding @ F.normalize(classes.weight, dim=-1).T
        logits = SCALE * (cosine - MARGIN * F.one_hot(target, len(voices.paths)))
        hit = (cosine.argmax(-1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": hit}

    models = {"encoder": encoder, "classes": classes}
    run(
        out=args.out, models=models, draw=draw, loss=loss, minutes=args.minutes, lr=2e-3,
        weight_decay=0.05, machine=machine, exact=True,
    )  # fmt: skip
    encoder.eval().save_pretrained(Path(args.out) / "model", force=True)


if __name__ == "__main__":
    main()
