"""The two tokenizers.

The linguistic encoder learns which phone is spoken, three times per 60 ms frame; its centroids are
k-means of what it computes. The semantic encoder learns where on a sphere 40 ms of sound lie if
distance there is distance between mels (relative to the recording's average), so that k-means of
that divides the sounds; pitch, voicing and, lightly, phones are learned beside it. Prosody is meant
to stay in the codes: an editor can only change what they carry (paper, section 2.1).

A codebook that names phones first leaves no room for the sound, and nobody understands what is
decoded from it; one trained through straight-through gradients was still far behind after as long.

    python -m recipes.nano.train_tokenizers linguistic runs/nano/features -o runs/nano/linguistic
    python -m recipes.nano.train_tokenizers semantic runs/nano/features -o runs/nano/semantic
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from recipes.nano.data.features import KINDS, Features
from recipes.nano.data.symbols import PHONES
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from stepaudio.tokenizers.features import low_frame_rate
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer
from stepaudio.tokenizers.semantic import SemanticConfig, SemanticTokenizer

#: Seconds of sound in one step: on a CPU, many small steps teach the semantic one faster. The row
#: lengths drawn: long rows teach late positions.
LINGUISTIC_SECONDS, SEMANTIC_SECONDS = 64.0, 24.0
ROW_SECONDS = (4.8, 9.6, 14.4)
#: Lengths of rows that hold a single recording, and how often a step has them.
SINGLE_SECONDS, SINGLE_SHARE = (2.4, 3.6, 4.8, 7.2), 0.7
GRID = 0.06


class Rows:
    """Rows of a fixed length, each filled with consecutive random recordings."""

    def __init__(self, features: Features, seconds: float) -> None:
        self.features, self.seconds = features, seconds
        self.lengths = np.asarray([features.seconds(i) for i in range(len(features))])
        real = np.asarray([not row["id"].startswith("syn") for row in features.rows])
        weight = self.lengths.copy()
        # Real voices are what the model will meet: half of all seconds.
        weight[real] /= weight[real].sum() or 1.0
        weight[~real] /= weight[~real].sum() or 1.0
        self.items = np.flatnonzero(self.lengths > 0.5)
        self.weight = weight[self.items] / weight[self.items].sum()

    def draw(
        self, rng: np.random.Generator, kinds: tuple[str, ...], single: bool = False
    ) -> dict[str, Tensor]:
        """``[B, T, C]`` of every kind, and ``[B, T50, 80]`` average of the loud mel frames.

        Args:
            rng: source of everything.
            kinds: of features.
            single: rows of one recording each, as long as there are recordings of that length.
        """
        # Everything is counted in 60 ms, the coarsest frame, which keeps all rates aligned.
        length = round(float(rng.choice(SINGLE_SECONDS if single else ROW_SECONDS)) / GRID)
        items, weight = self.items, self.weight
        if single and (self.lengths[items] >= length * GRID).any():
            keep = self.lengths[items] >= length * GRID
            items, weight = items[keep], weight[keep] / weight[keep].sum()
        rows: list[dict[str, Tensor]] = []
        for _ in range(round(self.seconds / (length * GRID))):
            parts: dict[str, list[Tensor]] = {k: [] for k in (*kinds, "average")}
            filled = 0
            while filled < length:
                item = int(rng.choice(items, p=weight))
                whole = int(self.lengths[item] / GRID)
                take = min(whole, length - filled)
                start = int(rng.integers(0, whole - take + 1))
                for kind in kinds:
                    count = round(take * GRID * KINDS[kind][1])
                    part = self.features.get(item, kind, start * GRID, take * GRID)
                    parts[kind].append(_pad(part, count))
                if "mel" in kinds:
                    mel = parts["mel"][-1]
                    level = mel.mean(dim=1)
                    mean = mel[level >= level.mean()].mean(dim=0)
                    parts["average"].append(mean.expand(3 * take, -1))
                filled += take
            rows.append({k: torch.cat(v) for k, v in parts.items() if v})
        return {k: torch.stack([row[k] for row in rows]) for k in rows[0]}


def _pad(x: Tensor, count: int) -> Tensor:
    return F.pad(
        x[:count], (0, 0, 0, max(0, count - len(x))), value=float(x.min()) if len(x) else 0.0
    )


def colour(x: Tensor, rng: np.random.Generator, scale: float) -> Tensor:
    """Another microphone: a random smooth curve added over the mel bands of each row."""
    band = torch.linspace(-1, 1, x.shape[-1])
    curve = torch.from_numpy(rng.normal(0, scale, (len(x), 1, 2)).astype(np.float32))
    return x + curve[..., :1] * band + curve[..., 1:] * (2 * band**2 - 1)


class LinguisticTrainer(nn.Module):
    """The encoder and a phone classifier on top."""

    def __init__(self, features: Features, scale: int) -> None:
        super().__init__()
        self.tokenizer = LinguisticTokenizer(LinguisticConfig.nano())
        self.classify = nn.Linear(self.tokenizer.config.encoder.width, 3 * len(PHONES))
        self.rows = Rows(features, scale * LINGUISTIC_SECONDS)
        rng = np.random.default_rng(1)
        sample = torch.cat(
            [self.rows.draw(rng, ("fbank",))["fbank"].flatten(0, 1) for _ in range(8)]
        )
        stack = self.tokenizer.cmvn_shift.numel() // sample.shape[-1]
        self.tokenizer.cmvn_shift.copy_(-sample.mean(dim=0).repeat(stack))
        self.tokenizer.cmvn_scale.copy_(1 / sample.std(dim=0).repeat(stack))

    def draw(self, rng: np.random.Generator, progress: float) -> Batch:
        """Filter banks and phones of rows, each through another microphone."""
        batch = self.rows.draw(rng, ("fbank", "target"))
        return batch | {"fbank": colour(batch["fbank"], rng, 0.7)}

    def loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Cross-entropy of the phone in each 20 ms."""
        x = low_frame_rate(batch["fbank"])
        x = (x + self.tokenizer.cmvn_shift) * self.tokenizer.cmvn_scale
        logits = self.classify(self.tokenizer.hidden(x)).unflatten(-1, (3, -1)).flatten(1, 2)
        phones = batch["target"][..., 0].long()[:, : logits.shape[1]]
        logits = logits[:, : phones.shape[1]]
        loss = F.cross_entropy(logits.flatten(0, 1), phones.flatten(), ignore_index=-1)
        # Unknown phones are -1, which no prediction is.
        hit = (logits.argmax(-1) == phones).sum() / (phones >= 0).sum().clamp_min(1)
        return {"loss": loss, "accuracy": hit}

    @torch.no_grad()
    def fit_centroids(self, hours: float, rounds: int = 15) -> None:
        """K-means over the encoder's states on real and synthetic speech."""
        rng = np.random.default_rng(2)
        self.eval()
        states = []
        for _ in track(range(round(hours * 3600 / self.rows.seconds)), "k-means features"):
            fbank = self.rows.draw(rng, ("fbank",))["fbank"]
            x = low_frame_rate(fbank.to(self.tokenizer.codebook.device))
            x = (x + self.tokenizer.cmvn_shift) * self.tokenizer.cmvn_scale
            states.append(self.tokenizer.hidden(x).flatten(0, 1))
        x = torch.cat(states)
        codebook = self.tokenizer.codebook
        codebook.copy_(kmeans(x, len(codebook), rounds))


def kmeans(x: Tensor, codes: int, rounds: int) -> Tensor:
    """Lloyd's algorithm; an empty centroid moves to a random point. ``[N, D]`` to ``[K, D]``."""
    generator = torch.Generator().manual_seed(0)
    centres = x[torch.randperm(len(x), generator=generator)[:codes].to(x.device)]
    for _ in track(range(rounds), "k-means"):
        nearest = torch.cat(
            [
                (p @ centres.T - centres.square().sum(-1) / 2).argmax(-1)
                for p in torch.split(x, 65536)
            ]
        )
        counts = torch.bincount(nearest, minlength=codes)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        empty = counts == 0
        centres = sums / counts.clamp_min(1)[:, None]
        other = torch.randint(len(x), (int(empty.sum()),), generator=generator)
        centres[empty] = x[other.to(x.device)]
    return centres


class ConvBlock(nn.Module):
    """A residual pair of convolutions, ``[B, T, D]`` to ``[B, T, D]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Conv1d(width, width, 5, padding=2)
        self.flat = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions see."""
        y: Tensor = x + self.flat(F.gelu(self.wide(self.norm(x).transpose(1, 2)).transpose(1, 2)))
        return y


class SemanticTrainer(nn.Module):
    """The encoder, and the heads that say what it must keep besides the sound."""

    axes: Tensor
    anchor: Tensor

    def __init__(self, features: Features, scale: int) -> None:
        super().__init__()
        config = SemanticConfig.nano()
        width = config.width
        self.rows = Rows(features, scale * SEMANTIC_SECONDS)
        self.tokenizer = SemanticTokenizer(config)
        self.tokenizer.quantizer._codebook.embed.requires_grad_(False)
        self.inner = nn.Sequential(ConvBlock(width), ConvBlock(width), nn.Linear(width, 2 * width))
        self.heads = nn.Linear(width, len(PHONES) + 2)
        isometry = torch.linalg.qr(torch.randn(width, 2 * 80 + 1)).Q.T
        self.register_buffer("axes", isometry[:-1].clone())
        self.register_buffer("anchor", isometry[-1].clone())

    def place(self, relative: Tensor) -> Tensor:
        """Where 40 ms lie on the sphere.

        Args:
            relative: ``[B, 2 N, 80]`` mel relative to the recording's average.

        Returns:
            ``[B, N, D]`` of unit length.
        """
        pairs = relative.clamp_min(-5.0).reshape(len(relative), -1, 2 * relative.shape[-1])
        return F.normalize(pairs @ self.axes / 16.0 + self.anchor, dim=-1)

    def draw(self, rng: np.random.Generator, progress: float) -> Batch:
        """What the encoder hears and what it shall know of it."""
        # The sound is told relative to its average: an encoder must hear enough of one recording.
        single = bool(rng.random() < SINGLE_SHARE)
        batch = self.rows.draw(rng, ("whisper", "mel", "target"), single)
        return batch | {"whisper": colour(batch["whisper"], rng, 0.03)}

    def units(self, whisper: Tensor) -> Tensor:
        """Directions the encoder computes, ``[B, T, 128]`` at 100 Hz to ``[B, T / 4, D]``."""
        x = whisper.transpose(1, 2)
        # Its hidden() would ask the device whether a clip is empty.
        hidden, _ = self.tokenizer.encoder(x, torch.full((len(x),), x.shape[-1], device=x.device))
        return F.normalize(hidden, dim=-1)

    def loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Distance to the place of the sound; pitch, voicing and phones."""
        unit = self.units(batch["whisper"])
        count = min(unit.shape[1], batch["mel"].shape[1] // 2)
        relative = (batch["mel"] - batch["average"])[:, : 2 * count]
        placed = (unit[:, :count] - self.place(relative)).square().sum(-1).mean()
        # Unit vectors have tiny elements, which linear maps would take thousands of steps to scale.
        inner = self.inner(unit[:, :count] * unit.shape[-1] ** 0.5)
        heads = self.heads(inner.unflatten(-1, (2, -1)).flatten(1, 2))
        target = batch["target"][:, : 2 * count]
        phones, voiced = target[..., 0].long(), target[..., 2]
        known = phones >= 0
        phone = F.cross_entropy(
            heads[..., 2:].flatten(0, 1), phones.flatten(), ignore_index=-1, reduction="sum"
        ) / known.sum().clamp_min(1)
        pitch = (
            (heads[..., 0] - (target[..., 1] - 5) / 0.3).abs() * voiced
        ).sum() / voiced.sum().clamp_min(1)
        voicing = F.binary_cross_entropy_with_logits(heads[..., 1], voiced)
        hit = ((heads[..., 2:].argmax(-1) == phones) & known).sum() / known.sum().clamp_min(1)
        return {
            "loss": 4.0 * placed + 0.25 * phone + 0.2 * (pitch + voicing),
            "placed": placed, "phone": phone, "pitch": pitch, "voicing": voicing, "accuracy": hit,
        }  # fmt: skip

    @torch.no_grad()
    def fit_codes(self, hours: float, rounds: int = 15) -> None:
        """K-means of the directions the encoder computes."""
        rng = np.random.default_rng(3)
        self.eval()
        states = []
        codebook = self.tokenizer.quantizer._codebook.embed
        for _ in track(range(round(hours * 3600 / self.rows.seconds)), "k-means features"):
            whisper = self.rows.draw(rng, ("whisper",), single=True)["whisper"]
            states.append(self.units(whisper.to(codebook.device)).flatten(0, 1))
        codebook.copy_(F.normalize(kmeans(torch.cat(states), len(codebook), rounds), dim=-1))


def main() -> None:
    """Train one of the two and write its folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["linguistic", "semantic"])
    parser.add_argument("features")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    out, features = Path(args.out), Features(args.features)
    kind = LinguisticTrainer if args.which == "linguistic" else SemanticTrainer
    trainer = kind(features, machine.scale)
    run(
        out=out, models={"trainer": trainer}, draw=trainer.draw, loss=trainer.loss,
        minutes=args.minutes, lr=1.2e-3, machine=machine, exact=kind is SemanticTrainer,
    )  # fmt: skip
    if isinstance(trainer, LinguisticTrainer):
        trainer.fit_centroids(hours=1.5)
    else:
        trainer.fit_codes(hours=1.5)
    trainer.tokenizer.save_pretrained(out / "model", force=True)


if __name__ == "__main__":
    main()
