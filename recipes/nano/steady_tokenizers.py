"""The two tokenizers once more, so that noise does not change what they write.

Trained on quiet recordings alone, they give speech in noise other codes: at 0 to 20 dB a fifth of
the linguistic and a ninth of the semantic ones stay what they were, and the words are gone before
any edit. Here each learns to write for the noisy recording what it wrote for the quiet one. The
codebook does not move and quiet recordings keep their codes, so decoder and language model stay
valid.

    python -m recipes.nano.steady_tokenizers linguistic runs/nano/data/features \
        --start runs/nano/linguistic/model -o runs/nano/linguistic_steady
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.nano.codes import Codes
from recipes.nano.data.features import KINDS, Features
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch, Draw
from recipes.nano.train_tokenizers import colour
from stepaudio.tokenizers.features import apply_cmvn, low_frame_rate
from stepaudio.tokenizers.linguistic import LinguisticTokenizer
from stepaudio.tokenizers.semantic import SemanticTokenizer

__all__ = ["Pairs", "code_loss", "draw_pairs"]

#: Seconds of sound in a step, seconds of a row, and how often the row is a noisy recording.
STEP_SECONDS, ROW_SECONDS, NOISY_SHARE = 48.0, (2.4, 3.6, 4.8, 7.2), 0.7
#: Seconds of a unit: two linguistic codes and three semantic ones.
UNIT = 0.12
#: What each tokenizer hears, and how far another microphone moves it.
HEARS = {"linguistic": ("fbank", 0.7), "semantic": ("whisper", 0.03)}

#: Folder and item.
Place = tuple[int, int]


class Pairs:
    """Recordings to hear, and those whose codes are to be written.

    Args:
        folders: with features and codes.

    Raises:
        ValueError: nothing in them was made noisy.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.features = [Features(f) for f in folders]
        self.codes = [Codes(f) for f in folders]
        noisy: list[tuple[Place, Place]] = []
        quiet: list[tuple[Place, Place]] = []
        for folder, features in enumerate(self.features):
            by_id = {row["id"]: item for item, row in enumerate(features.rows)}
            for item, row in enumerate(features.rows):
                if row["change"] != "noisy":
                    quiet.append(((folder, item), (folder, item)))
                elif row["source"] in by_id:
                    noisy.append(((folder, item), (folder, by_id[row["source"]])))
        if not noisy:
            raise ValueError(f"no recording was made noisy in {', '.join(map(str, folders))}")
        self.groups = [noisy, quiet]
        self.units = [
            np.asarray([min(self._units(a), self._units(b)) for a, b in group])
            for group in self.groups
        ]

    def draw(
        self, rng: np.random.Generator, units: int, kind: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One row.

        Args:
            rng: source of everything.
            units: of 0.12 s; a recording that has fewer is not drawn while another has as many.
            kind: of feature.

        Returns:
            Feature of the recording heard, ``[T, C]``; linguistic and semantic codes to write.
        """
        which = int(rng.random() >= NOISY_SHARE)
        lengths = self.units[which]
        fits = np.flatnonzero(lengths >= min(units, int(lengths.max())))
        heard, written = self.groups[which][int(rng.choice(fits))]
        # Both tokenizers hear a recording from its beginning.
        feature = self.features[heard[0]].get(heard[1], kind, 0.0, units * UNIT)
        tokens = self.codes[written[0]].tokens(written[1], 0, units)
        frames = round(units * UNIT * KINDS[kind][1])
        feature = F.pad(feature, (0, 0, 0, frames - len(feature)), value=float(feature.min()))
        return feature, tokens.linguistic, tokens.semantic

    def _units(self, place: Place) -> int:
        return self.codes[place[0]].units(place[1])


def draw_pairs(pairs: Pairs, which: str, scale: int) -> Draw:
    """Batches of rows of one length.

    Args:
        pairs: to draw from.
        which: ``"linguistic"`` or ``"semantic"``.
        scale: how many times as large, on a machine that likes it so.
    """
    kind, microphone = HEARS[which]

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        seconds = float(rng.choice(ROW_SECONDS))
        rows = [
            pairs.draw(rng, round(seconds / UNIT), kind)
            for _ in range(round(scale * STEP_SECONDS / seconds))
        ]
        heard = colour(torch.stack([row[0] for row in rows]), rng, microphone)
        codes = [row[1] if which == "linguistic" else row[2] for row in rows]
        padded = nn.utils.rnn.pad_sequence(codes, batch_first=True, padding_value=-1)
        return {"heard": heard, "codes": padded}

    return draw


def code_loss(hidden: Tensor, codebook: Tensor, codes: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of the code among all, by how near its centroid is.

    Distances count in units of the mean distance to the nearest one, which is how far a state lies
    from its code when nothing is wrong.

    Args:
        hidden: states, ``[B, T, D]``.
        codebook: centroids, ``[K, D]``.
        codes: to be written, ``[B, T]``; -1 where nothing is.

    Returns:
        The loss, and the share of codes that are nearest.
    """
    length = min(hidden.shape[1], codes.shape[1])
    states, codes = hidden[:, :length].flatten(0, 1), codes[:, :length].flatten()
    known = codes >= 0
    states, codes = states[known], codes[known]
    distance = (
        states.square().sum(-1, keepdim=True)
        - 2 * states @ codebook.T
        + codebook.square().sum(-1)
    )  # fmt: skip
    unit = distance.detach().min(dim=-1).values.mean()
    logits = -distance / unit
    hit = (logits.argmax(-1) == codes).float().mean()
    # The second part holds the states, which lie off their centroids by chance, where they belong.
    off = (states - codebook[codes]).square().sum(-1).mean() / unit
    return {"loss": F.cross_entropy(logits, codes) + 0.1 * off, "right": hit, "off": off.detach()}


def main() -> None:
    """Train one of the two on and write its folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=list(HEARS))
    parser.add_argument("features", nargs="+", help="folders with codes")
    parser.add_argument("--start", required=True, help="folder of the tokenizer")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    out = Path(args.out)
    kind = LinguisticTokenizer if args.which == "linguistic" else SemanticTokenizer
    tokenizer = kind.from_pretrained(args.start).train()
    codebook = tokenizer.codebook.detach().clone().to(machine.device)
    tokenizer.codebook.requires_grad_(False)

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        if isinstance(tokenizer, LinguisticTokenizer):
            x = low_frame_rate(batch["heard"])
            x = apply_cmvn(x, tokenizer.cmvn_shift, tokenizer.cmvn_scale)
            return code_loss(tokenizer.hidden(x), codebook, batch["codes"])
        x = batch["heard"].transpose(1, 2)
        lengths = torch.full((len(x),), x.shape[-1], device=x.device)
        # Their codes go by direction alone.
        unit = F.normalize(tokenizer.hidden(x, lengths)[0], dim=-1)
        return code_loss(unit, codebook, batch["codes"])

    run(
        out=out, models={"tokenizer": tokenizer}, draw=draw_pairs(
            Pairs(args.features), args.which, machine.scale
        ),
        loss=loss, minutes=args.minutes, lr=4e-4, machine=machine,
    )  # fmt: skip
    tokenizer.eval().save_pretrained(out / "model", force=True)


if __name__ == "__main__":
    main()
