"""The vocoder, on real and synthetic speech band-limited to 8 kHz as the mel is.

Losses: log-magnitude spectra at several resolutions, the mel itself, and how phases change over
frequency (group delay) and time (instantaneous frequency), wrapped and weighted by magnitude.

    python -m recipes.nano.train_vocoder MANIFEST [MANIFEST ...] -o runs/nano/vocoder
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.nano.data.corpus import read_manifest
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.mel import log_mel

#: FFT sizes of the multi-resolution loss; hops are a quarter.
RESOLUTIONS = (256, 512, 1024, 2048)
CROP_FRAMES, BATCH = 36, 12


class Crops:
    """Random stretches of recordings at the vocoder's rate."""

    def __init__(self, manifests: list[str], samples: int, rate: int) -> None:
        groups = [[u.path for u in read_manifest(m)] for m in manifests]
        self.groups, self.samples, self.rate = groups, samples, rate

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """``[count, S]`` samples; every manifest is as likely as the others."""
        rows: list[Tensor] = []
        while len(rows) < count:
            group = self.groups[int(rng.integers(len(self.groups)))]
            with soundfile.SoundFile(group[int(rng.integers(len(group)))]) as file:
                need = math.ceil((self.samples / self.rate + 0.1) * file.samplerate)
                if file.frames < need:
                    continue
                file.seek(int(rng.integers(0, file.frames - need + 1)))
                x = file.read(need, dtype="float32", always_2d=True).mean(axis=1)
                if file.samplerate != 16000:
                    x = soxr.resample(x, file.samplerate, 16000)
            x = soxr.resample(x, 16000, self.rate)[: self.samples]
            peak = np.abs(x).max()
            if len(x) == self.samples and peak > 0.01:
                rows.append(torch.from_numpy(x * (rng.uniform(0.2, 0.95) / peak)).float())
        return torch.stack(rows)


def spectral_losses(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Log-magnitude and phase-derivative distances over all resolutions."""
    magnitude, phase = fake.new_zeros(()), fake.new_zeros(())
    for size in RESOLUTIONS:
        window = torch.hann_window(size, device=fake.device)
        a, b = (
            torch.stft(x, size, size // 4, window=window, return_complex=True) for x in (fake, real)
        )
        ma, mb = a.abs().clamp_min(1e-4), b.abs().clamp_min(1e-4)
        magnitude = magnitude + F.l1_loss(ma.log(), mb.log()) + (ma - mb).norm() / mb.norm()
        if size in (512, 1024):
            weight = mb.sqrt()
            for dim in (1, 2):
                turn_a = _turn(a, dim)
                turn_b = _turn(b, dim)
                w = weight.narrow(dim, 1, weight.shape[dim] - 1)
                # 1 - cos of the difference of two unit phasors: wraps by itself.
                unlike = 1 - (turn_a * turn_b.conj()).real
                phase = phase + (w * unlike).sum() / w.sum()
    return magnitude / len(RESOLUTIONS), phase / 4


def _turn(x: Tensor, dim: int) -> Tensor:
    count = x.shape[dim] - 1
    step = x.narrow(dim, 1, count) * x.narrow(dim, 0, count).conj()
    return step / step.abs().clamp_min(1e-6)


def main() -> None:
    """Train and write the vocoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    config = ISTFTConfig.nano()
    vocoder, spec = ISTFTVocoder(config), config.mel
    crops = Crops(args.manifests, CROP_FRAMES * spec.hop_length, spec.sample_rate)
    edge = 2 * spec.hop_length  # frames there see the reflected padding of the crop

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        return {"real": crops.draw(rng, machine.scale * BATCH)}

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        real = batch["real"]
        mel = log_mel(real, spec)
        fake = vocoder(mel)[..., edge:-edge]
        real = real[..., edge:-edge]
        magnitude, phase = spectral_losses(fake, real)
        sound = F.l1_loss(log_mel(fake, spec), log_mel(real, spec))
        return {
            "loss": magnitude + sound + phase,
            "magnitude": magnitude,
            "mel": sound,
            "phase": phase,
        }

    out = Path(args.out)
    run(
        out=out, models={"vocoder": vocoder}, draw=draw, loss=loss, minutes=args.minutes, lr=1e-3,
        clip=5.0, machine=machine, exact=True,
        on_save=lambda: vocoder.save_pretrained(out / "model", force=True) and None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
