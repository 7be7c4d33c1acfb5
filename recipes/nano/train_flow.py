"""Stage 9: the flow decoder.

A row is a prompt and a stretch of speech to be filled in, as the decoder meets them when it is
used: the prompt is the same recording (resynthesis), the recording before an edit (editing) or
another one of the same voice (zero-shot speech). In the first two the words are the same, so the
decoder can learn to look up how the voice said them instead of guessing it from the codes.

    python -m recipes.nano.train_flow runs/nano/features [FEATURES ...] -o runs/nano/flow
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recipes.nano.codes import Codes, codebook_axes
from recipes.nano.features import Features
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.flow_matching import masked_mean
from stepaudio.tokenizers.interleave import interleave, regroup_for_decoder

__all__ = ["FRAMES_PER_UNIT", "Row", "Rows"]

#: Longest target in units of 0.12 s and how often it is drawn; rows of a step hold this many units.
TARGET_UNITS, TARGET_SHARES, STEP_UNITS = (12, 20, 34, 70), (0.35, 0.35, 0.2, 0.1), 132
#: Where prompts come from.
PROMPTS, PROMPT_SHARES = ("same", "before", "other", "none"), (0.4, 0.3, 0.2, 0.1)
FRAMES_PER_UNIT = 6


@dataclass(frozen=True)
class Row:
    """A prompt and a target: ``[N, 2]`` pairs, ``[2 N, C]`` mel, ``[D]`` speaker, prompt frames."""

    pairs: Tensor
    mel: Tensor
    speaker: Tensor
    prompt_frames: int


class Rows:
    """Prompts and targets of one voice."""

    def __init__(self, folders: list[str]) -> None:
        self.features = [Features(f) for f in folders]
        self.codes = [Codes(f) for f in folders]
        by_speaker: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.before: dict[tuple[int, int], tuple[int, int]] = {}
        self.groups: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for folder, (features, codes) in enumerate(zip(self.features, self.codes, strict=True)):
            by_id = {row["id"]: item for item, row in enumerate(features.rows)}
            for item, row in enumerate(features.rows):
                if codes.units(item) < 6:
                    continue
                by_speaker[row["speaker"]].append((folder, item))
                self.groups[row["id"].startswith("syn")].append((folder, item))
                source = by_id.get(row["source"] or "")
                if source is not None and codes.units(source) >= 6:
                    self.before[folder, item] = (folder, source)
        self.by_speaker = dict(by_speaker)

    def draw(self, rng: np.random.Generator, longest: int) -> Row:
        """A row whose target has at most ``longest`` units."""
        # Real voices are what the model will meet.
        group = self.groups[int(rng.random() < 0.35)]
        target = group[int(rng.integers(len(group)))]
        units = self._units(target)
        take = min(units, int(rng.integers(longest // 2, longest + 1)))
        start = int(rng.integers(0, units - take + 1))
        kind = str(rng.choice(PROMPTS, p=PROMPT_SHARES))
        voice, pieces = target, []
        if kind == "before" and target in self.before:
            voice = self.before[target]
            scale = self._units(voice) / units
            first = max(0, round(start * scale) - 2)
            pieces.append(self._stretch(voice, first, round(take * scale) + 4))
        elif kind == "same" or kind == "before":
            first = max(0, start - int(rng.integers(0, longest // 3 + 1)))
            pieces.append(self._stretch(voice, first, longest))
        elif kind == "other":
            mates = self.by_speaker[self._speaker(target)]
            voice = mates[int(rng.integers(len(mates)))]
            if voice != target:
                room = max(0, self._units(voice) - longest)
                pieces.append(self._stretch(voice, int(rng.integers(0, room + 1)), longest))
        prompt_frames = len(pieces[0][1]) if pieces else 0
        pieces.append(self._stretch(target, start, take))
        return Row(
            torch.cat([pairs for pairs, _ in pieces]),
            torch.cat([mel for _, mel in pieces]),
            self.codes[voice[0]].speaker(voice[1]),
            prompt_frames,
        )

    def alone(self, rng: np.random.Generator, longest: int) -> tuple[Tensor, Tensor]:
        """``[N, 2]`` pairs and ``[2 N, C]`` mel of a stretch of one recording."""
        group = self.groups[int(rng.random() < 0.35)]
        target = group[int(rng.integers(len(group)))]
        start = int(rng.integers(0, max(1, self._units(target) - longest + 1)))
        return self._stretch(target, start, longest)

    def mean(self, rng: np.random.Generator, decoder: TokenFlowDecoder, count: int) -> Tensor:
        """Average spectrum of ``count`` recordings, ``[C]``."""
        averages = []
        for _ in range(count):
            group = self.groups[0] or self.groups[1]
            folder, item = group[int(rng.integers(len(group)))]
            averages.append(decoder.average_mel(self.features[folder].get(item, "mel").T))
        return torch.stack(averages).mean(dim=0)

    def _units(self, place: tuple[int, int]) -> int:
        return self.codes[place[0]].units(place[1])

    def _speaker(self, place: tuple[int, int]) -> str:
        return str(self.features[place[0]].rows[place[1]]["speaker"])

    def _stretch(self, place: tuple[int, int], start: int, take: int) -> tuple[Tensor, Tensor]:
        folder, item = place
        take = min(take, self._units(place) - start)
        tokens = self.codes[folder].tokens(item, start, take)
        pairs = regroup_for_decoder(interleave(tokens), self.codes[folder].spec)
        mel = self.features[folder].get(item, "mel", start * 0.12, take * 0.12)
        frames = take * FRAMES_PER_UNIT
        return pairs, F.pad(mel[:frames], (0, 0, 0, max(0, frames - len(mel))), value=-11.5)


@torch.no_grad()
def start_embeddings(decoder: TokenFlowDecoder, runs: Path) -> None:
    """Let every code begin where its tokenizer put it; see :func:`codebook_axes`."""
    weight = decoder.input_embedding.embedding.weight
    linguistic, semantic = codebook_axes(runs, weight.shape[1])
    first = decoder.spec.tokens.linguistic_size + 1  # after the blank
    weight[: len(linguistic)] = linguistic
    weight[first : first + len(semantic)] = semantic


def main() -> None:
    """Train and write the decoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--prior-minutes", type=float, default=10.0, help="of the token encoder")
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    rows = Rows(args.features)
    decoder = TokenFlowDecoder(FlowConfig.nano())
    out = Path(args.out)
    start_embeddings(decoder, out.parent)
    decoder.get_buffer("average").copy_(rows.mean(np.random.default_rng(0), decoder, 400))
    decoder.to(machine.device)

    def draw_prior(rng: np.random.Generator, progress: float) -> Batch:
        drawn = [rows.alone(rng, 33) for _ in range(12 * machine.scale)]
        mels = [decoder.relative_mel(mel, decoder.average_mel(mel.T)) for _, mel in drawn]
        return {
            "pairs": pad_sequence([pairs for pairs, _ in drawn], batch_first=True),
            "lengths": torch.tensor([len(pairs) for pairs, _ in drawn]),
            "mel": pad_sequence(mels, batch_first=True),
        }

    def prior(batch: Batch, progress: float) -> dict[str, Tensor]:
        """The token encoder alone, against the mel: a third of the cost of a whole step."""
        mu, mask = decoder.encode_tokens(batch["pairs"], batch["lengths"])
        return {"loss": masked_mean((mu - batch["mel"]).abs(), mask)}

    encoder = {
        "embedding": decoder.input_embedding,
        "encoder": decoder.encoder,
        "projection": decoder.encoder_proj,
    }
    run(
        out=out / "prior", models=encoder, draw=draw_prior, loss=prior, minutes=args.prior_minutes,
        lr=1.5e-3, machine=machine,
    )  # fmt: skip

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        longest = int(rng.choice(TARGET_UNITS, p=TARGET_SHARES))
        count = max(2, machine.scale * STEP_UNITS // longest)
        drawn = [rows.draw(rng, longest) for _ in range(count)]
        return {
            "pairs": pad_sequence([row.pairs for row in drawn], batch_first=True),
            "lengths": torch.tensor([len(row.pairs) for row in drawn]),
            "mel": pad_sequence([row.mel for row in drawn], batch_first=True),
            "speaker": torch.stack([row.speaker for row in drawn]),
            "prompt_frames": torch.tensor([row.prompt_frames for row in drawn]),
        }

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        return decoder.training_loss(
            batch["pairs"], batch["lengths"], batch["mel"], batch["speaker"],
            batch["prompt_frames"], cond_dropout=0.1,
        )  # fmt: skip

    run(
        out=out, models={"decoder": decoder}, draw=draw, loss=loss, minutes=args.minutes, lr=1e-3,
        machine=machine, muon=("decoder.decoder.", "decoder.encoder."),
        on_save=lambda: decoder.save_pretrained(out / "model", force=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
