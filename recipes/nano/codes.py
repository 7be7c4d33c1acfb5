"""Every recording as codes, and as a speaker embedding.

python -m recipes.nano.codes runs/nano/features --linguistic DIR --semantic DIR --speaker DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from recipes.nano.data.features import Features
from stepaudio.decoder.speaker import CAMPPlus
from stepaudio.devices import resolve_device
from stepaudio.tokenizers.features import apply_cmvn, low_frame_rate
from stepaudio.tokenizers.interleave import truncate
from stepaudio.tokenizers.linguistic import LinguisticTokenizer
from stepaudio.tokenizers.semantic import SemanticTokenizer
from stepaudio.types import SpeechTokens, TokenSpec

__all__ = ["Codes", "codebook_axes"]


class Codes:
    """Codes and embeddings of all recordings of a feature folder, in its order."""

    def __init__(self, folder: str | Path) -> None:
        with np.load(Path(folder) / "codes.npz") as file:
            self.linguistic, self.semantic = file["linguistic"], file["semantic"]
            self.starts, self.speakers = file["starts"], file["speakers"]
            sizes = [int(s) for s in file["sizes"]]
        self.spec = TokenSpec(*sizes)

    def units(self, item: int) -> int:
        """Whole 0.12 s units of a recording."""
        return int(self.starts[item + 1] - self.starts[item])

    def tokens(self, item: int, start: int = 0, units: int | None = None) -> SpeechTokens:
        """Codes of a stretch, in units."""
        first = int(self.starts[item]) + start
        last = (
            int(self.starts[item + 1])
            if units is None
            else min(first + units, int(self.starts[item + 1]))
        )
        return SpeechTokens(
            torch.from_numpy(self.linguistic[2 * first : 2 * last].astype(np.int64)),
            torch.from_numpy(self.semantic[3 * first : 3 * last].astype(np.int64)),
            self.spec,
        )

    def speaker(self, item: int) -> Tensor:
        """``[D]`` embedding of a recording."""
        return torch.from_numpy(self.speakers[item].astype(np.float32))


@torch.no_grad()
def codebook_axes(runs: Path, width: int) -> tuple[Tensor, Tensor]:
    """Where the tokenizers put their codes, as a start for embedding tables.

    Codes that sound alike then share what is learned about them, which from random beginnings
    takes longer than the whole training.

    Args:
        runs: folder with the trained ``linguistic`` and ``semantic``.
        width: of the table.

    Returns:
        ``[K, width]`` per codebook: coordinates on its principal axes, of unit variance in all;
        zeros where the codebook has fewer axes.
    """
    linguistic = LinguisticTokenizer.from_pretrained(runs / "linguistic" / "model").codebook
    semantic = SemanticTokenizer.from_pretrained(runs / "semantic" / "model").codebook
    tables = []
    for codebook in (linguistic, semantic):
        centred = codebook - codebook.mean(dim=0)
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[:width]
        points = centred @ axes.T
        tables.append(F.pad(points / points.std(), (0, width - points.shape[1])))
    return tables[0], tables[1]


@torch.no_grad()
def main() -> None:
    """Tokenize from the stored features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features")
    parser.add_argument("--linguistic", required=True)
    parser.add_argument("--semantic", required=True)
    parser.add_argument("--speaker", required=True)
    parser.add_argument("--device", default="auto", help="auto takes an accelerator if any")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    features = Features(args.features)
    linguistic = LinguisticTokenizer.from_pretrained(args.linguistic).to(device)
    semantic = SemanticTokenizer.from_pretrained(args.semantic).to(device)
    speaker = CAMPPlus.from_pretrained(args.speaker).to(device)
    spec = TokenSpec(linguistic.config.codebook_size, semantic.config.codes)
    a, b, embeddings, starts = [], [], [], [0]
    for item in track(range(len(features)), "codes"):
        fbank = features.get(item, "fbank").to(device)
        stacked = apply_cmvn(low_frame_rate(fbank), linguistic.cmvn_shift, linguistic.cmvn_scale)
        codes = linguistic.quantize(linguistic.hidden(stacked[None]))[0]
        mel = features.get(item, "whisper").to(device).T[None]
        pieces = [m for m in torch.split(mel, 3000, dim=-1) if m.shape[-1] >= 4]
        lengths = [torch.full((1,), m.shape[-1], device=device) for m in pieces]
        parts = [
            semantic.quantize(semantic.hidden(m, length)[0])[0]
            for m, length in zip(pieces, lengths, strict=True)
        ]
        tokens = truncate(SpeechTokens(codes.cpu(), torch.cat(parts).cpu(), spec))
        a.append(tokens.linguistic.numpy().astype(np.int16))
        b.append(tokens.semantic.numpy().astype(np.int16))
        starts.append(starts[-1] + tokens.num_units)
        centred = fbank - fbank.mean(dim=0, keepdim=True)
        embeddings.append(speaker(centred[None])[0].cpu().numpy().astype(np.float16))
    np.savez(
        Path(args.features) / "codes.npz", linguistic=np.concatenate(a), semantic=np.concatenate(b),
        starts=np.asarray(starts), speakers=np.stack(embeddings),
        sizes=np.asarray([spec.linguistic_size, spec.semantic_size]),
    )  # fmt: skip
    print(json.dumps({"hours": round(starts[-1] * 0.12 / 3600, 2)}))


if __name__ == "__main__":
    main()
