"""Stage 9: the flow decoder.

A row is one recording as the prompt and another of the same voice to be filled in; half of the
synthetic rows have an edit between the two, which is what the decoder meets when it is used.

    python -m recipes.nano.train_flow runs/nano/features -o runs/nano/flow
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recipes.nano.codes import Codes
from recipes.nano.features import Features
from recipes.nano.loop import run
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.flow_matching import masked_mean
from stepaudio.tokenizers.interleave import interleave, regroup_for_decoder
from stepaudio.tokenizers.linguistic import LinguisticTokenizer
from stepaudio.tokenizers.semantic import SemanticTokenizer

__all__ = ["Rows"]

#: Longest prompt and target, in units of 0.12 s, and rows of one step.
PROMPT_UNITS, TARGET_UNITS, ROWS = 25, 34, 6
FRAMES_PER_UNIT = 6


class Rows:
    """Prompt and target of one voice."""

    def __init__(self, features: Features, codes: Codes) -> None:
        self.features, self.codes = features, codes
        by_speaker: dict[str, list[int]] = defaultdict(list)
        for item, row in enumerate(features.rows):
            if codes.units(item) >= 6:
                by_speaker[row["speaker"]].append(item)
        self.by_speaker = {k: np.asarray(v) for k, v in by_speaker.items()}
        groups: tuple[list[int], list[int]] = ([], [])
        for items in self.by_speaker.values():
            groups[features.rows[int(items[0])]["id"].startswith("syn")].extend(items.tolist())
        self.groups = groups

    def draw(
        self, rng: np.random.Generator, alone: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """``[N, 2]`` pairs, ``[2 N, 80]`` mel, ``[D]`` speaker and the prompt's frames."""
        group = self.groups[int(rng.random() < 0.4)]
        target = int(group[int(rng.integers(len(group)))])
        mates = self.by_speaker[self.features.rows[target]["speaker"]]
        prompt = int(mates[int(rng.integers(len(mates)))])
        pieces = []
        prompt_frames = 0
        if prompt != target and not alone and rng.random() < 0.85:
            pieces.append(self._stretch(prompt, PROMPT_UNITS, rng))
            prompt_frames = len(pieces[0][1])
        pieces.append(self._stretch(target, TARGET_UNITS, rng))
        pairs = torch.cat([p for p, _ in pieces])
        mel = torch.cat([m for _, m in pieces])
        return pairs, mel, self.codes.speaker(prompt), prompt_frames

    def _stretch(self, item: int, longest: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        units = self.codes.units(item)
        take = min(units, int(rng.integers(longest // 2, longest + 1)))
        start = int(rng.integers(0, units - take + 1))
        tokens = self.codes.tokens(item, start, take)
        pairs = regroup_for_decoder(interleave(tokens), self.codes.spec)
        mel = self.features.get(item, "mel", start * 0.12, take * 0.12)
        frames = take * FRAMES_PER_UNIT
        return pairs, F.pad(mel[:frames], (0, 0, 0, max(0, frames - len(mel))), value=-11.5)


@torch.no_grad()
def start_embeddings(decoder: TokenFlowDecoder, runs: Path) -> None:
    """Let every code begin where its tokenizer put it: principal axes of the codebook.

    Codes that sound alike then share what is learned about them, which from random beginnings
    takes longer than this whole training.
    """
    weight = decoder.input_embedding.embedding.weight
    spec = decoder.spec.tokens
    linguistic = LinguisticTokenizer.from_pretrained(runs / "linguistic" / "model").codebook
    semantic = SemanticTokenizer.from_pretrained(runs / "semantic" / "model").quantizer
    first = spec.linguistic_size + 1  # after the blank
    for begin, codebook in ((0, linguistic), (first, semantic._codebook.embed)):
        centred = codebook - codebook.mean(dim=0)
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[: weight.shape[1]]
        points = centred @ axes.T
        weight[begin : begin + len(points)] = points / points.std()


def main() -> None:
    """Train and write the decoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--prior-minutes", type=float, default=8.0, help="of the token encoder")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = Rows(Features(args.features), Codes(args.features))
    decoder = TokenFlowDecoder(FlowConfig.nano())
    out = Path(args.out)
    start_embeddings(decoder, out.parent)

    def prior(rng: np.random.Generator, progress: float) -> dict[str, Tensor]:
        """The token encoder alone, against the mel: a third of the cost of a whole step."""
        drawn = [rows.draw(rng, alone=True) for _ in range(2 * ROWS)]
        pairs = pad_sequence([p for p, *_ in drawn], batch_first=True)
        mel = pad_sequence([m for _, m, *_ in drawn], batch_first=True)
        mu, mask = decoder.encode_tokens(pairs, torch.tensor([len(p) for p, *_ in drawn]))
        return {"loss": masked_mean((mu - mel).abs(), mask)}

    encoder = {
        "embedding": decoder.input_embedding,
        "encoder": decoder.encoder,
        "projection": decoder.encoder_proj,
    }
    run(out=out / "prior", models=encoder, loss=prior, minutes=args.prior_minutes, lr=1.5e-3)

    def loss(rng: np.random.Generator, progress: float) -> dict[str, Tensor]:
        drawn = [rows.draw(rng) for _ in range(ROWS)]
        lengths = torch.tensor([len(p) for p, *_ in drawn])
        pairs = pad_sequence([p for p, *_ in drawn], batch_first=True)
        mel = pad_sequence([m for _, m, *_ in drawn], batch_first=True)
        speaker = torch.stack([s for *_, s, _ in drawn])
        frames = torch.tensor([n for *_, n in drawn])
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return decoder.training_loss(pairs, lengths, mel, speaker, frames, noise, cond_dropout=0.15)

    run(
        out=out, models={"decoder": decoder}, loss=loss, minutes=args.minutes, lr=1e-3,
        on_save=lambda: decoder.save_pretrained(out / "model", force=True) and None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
