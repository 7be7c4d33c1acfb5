"""The flow decoder.

A row is a prompt and a stretch of speech to be filled in, as the decoder meets them when it is
used: the prompt is the same recording (resynthesis), the recording before an edit (editing) or
another one of the same voice (zero-shot speech). In the first two the words are the same, so the
decoder can learn to look up how the voice said them instead of guessing it from the codes. Before
an edit they were said at other times, which the rows know (``labels.times``).

    python -m recipes.nano.train_flow runs/nano/data/features -o runs/nano/flow
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recipes.nano.codes import Codes, codebook_axes
from recipes.nano.data.features import Features
from recipes.nano.data.timeline import Timeline
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch, Draw
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.flow_matching import masked_mean
from stepaudio.tokenizers.interleave import interleave, regroup_for_decoder

__all__ = ["FRAMES_PER_UNIT", "Row", "Rows", "draw_rows", "flow_loss"]

#: Longest target in units of 0.12 s and how often it is drawn; rows of a step hold this many units.
TARGET_UNITS, TARGET_SHARES, STEP_UNITS = (12, 20, 34, 70), (0.35, 0.35, 0.2, 0.1), 132
#: Where prompts come from.
PROMPTS, PROMPT_SHARES = ("same", "before", "other", "none"), (0.4, 0.3, 0.2, 0.1)
FRAMES_PER_UNIT = 6
#: Seconds of a unit, and units below which a recording is not used.
UNIT, SHORTEST = 0.12, 6

#: Folder and item.
Place = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """A prompt and a target: ``[N, 2]`` pairs, ``[2 N, C]`` mel, ``[D]`` speaker, prompt frames."""

    pairs: Tensor
    mel: Tensor
    speaker: Tensor
    prompt_frames: int


class Rows:
    """Prompts and targets of one voice.

    Args:
        folders: with features and codes.

    Raises:
        ValueError: no recording is long enough.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.features = [Features(f) for f in folders]
        self.codes = [Codes(f) for f in folders]
        self.by_speaker: dict[str, list[Place]] = defaultdict(list)
        self.before: dict[Place, list[tuple[Place, Timeline | None]]] = defaultdict(list)
        real: list[Place] = []
        synthetic: list[Place] = []
        for folder, features in enumerate(self.features):
            by_id = {row["id"]: item for item, row in enumerate(features.rows)}
            for item, row in enumerate(features.rows):
                place = folder, item
                if self._units(place) < SHORTEST:
                    continue
                self.by_speaker[row["speaker"]].append(place)
                (synthetic if row["id"].startswith("syn") else real).append(place)
                source = by_id.get(row["source"] or "")
                if source is None or self._units((folder, source)) < SHORTEST:
                    continue
                line = Timeline.between(features.rows[source], row)
                if row["change"] in ("noisy", "paused"):  # heard before; the source is to be said
                    back = line.reversed() if line else None
                    self.before[folder, source].append((place, back))
                else:
                    self.before[place].append(((folder, source), line))
        # Real voices are what the model will meet.
        groups = [(group, share) for group, share in ((real, 0.65), (synthetic, 0.35)) if group]
        if not groups:
            raise ValueError(f"no recording is long enough in {', '.join(map(str, folders))}")
        self.groups = [group for group, _ in groups]
        self.shares = np.asarray([share for _, share in groups])
        self.shares /= self.shares.sum()

    def draw(self, rng: np.random.Generator, longest: int) -> Row:
        """A row whose target has at most ``longest`` units."""
        target = self._any(rng)
        units = self._units(target)
        take = min(units, int(rng.integers(longest // 2, longest + 1)))
        start = int(rng.integers(0, units - take + 1))
        kind = str(rng.choice(PROMPTS, p=PROMPT_SHARES))
        voice, pieces = target, []
        if kind == "before" and target in self.before:
            options = self.before[target]
            voice, line = options[int(rng.integers(len(options)))]
            first, count = self._said_before(line, voice, start, take, rng)
            pieces.append(self._stretch(voice, first, count))
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

    def _said_before(
        self, line: Timeline | None, voice: Place, start: int, take: int, rng: np.random.Generator
    ) -> tuple[int, int]:
        """Beginning and length, in units, of the same words before the edit.

        At most twice as long as the target (a long pause may have been there), and as long as it,
        anywhere, if nobody knows when they were said.
        """
        units = self._units(voice)
        if line is None:
            return int(rng.integers(0, max(0, units - take) + 1)), take
        a, b = line.to_source([start * UNIT, (start + take) * UNIT]) / UNIT
        first = min(max(0, round(float(a)) - 2), units - 1)
        return first, min(max(1, round(float(b)) + 2 - first), 2 * take + 4)

    def alone(self, rng: np.random.Generator, longest: int) -> tuple[Tensor, Tensor]:
        """``[N, 2]`` pairs and ``[2 N, C]`` mel of a stretch of one recording."""
        target = self._any(rng)
        start = int(rng.integers(0, max(1, self._units(target) - longest + 1)))
        return self._stretch(target, start, longest)

    def mean(self, rng: np.random.Generator, decoder: TokenFlowDecoder, count: int) -> Tensor:
        """Average spectrum of ``count`` recordings, ``[C]``."""
        averages = []
        for _ in range(count):
            folder, item = self.groups[0][int(rng.integers(len(self.groups[0])))]
            averages.append(decoder.average_mel(self.features[folder].get(item, "mel").T))
        return torch.stack(averages).mean(dim=0)

    def _any(self, rng: np.random.Generator) -> Place:
        group = self.groups[int(rng.choice(len(self.groups), p=self.shares))]
        return group[int(rng.integers(len(group)))]

    def _units(self, place: Place) -> int:
        return self.codes[place[0]].units(place[1])

    def _speaker(self, place: Place) -> str:
        return str(self.features[place[0]].rows[place[1]]["speaker"])

    def _stretch(self, place: Place, start: int, take: int) -> tuple[Tensor, Tensor]:
        folder, item = place
        take = min(take, self._units(place) - start)
        tokens = self.codes[folder].tokens(item, start, take)
        pairs = regroup_for_decoder(interleave(tokens), self.codes[folder].spec)
        mel = self.features[folder].get(item, "mel", start * UNIT, take * UNIT)
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


def draw_rows(rows: Rows, scale: int) -> Draw:
    """Batches of about :data:`STEP_UNITS` units.

    Args:
        rows: to draw from.
        scale: how many times as large, on a machine that likes it so.
    """

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        longest = int(rng.choice(TARGET_UNITS, p=TARGET_SHARES))
        count = max(2, scale * STEP_UNITS // longest)
        drawn = [rows.draw(rng, longest) for _ in range(count)]
        return {
            "pairs": pad_sequence([row.pairs for row in drawn], batch_first=True),
            "lengths": torch.tensor([len(row.pairs) for row in drawn]),
            "mel": pad_sequence([row.mel for row in drawn], batch_first=True),
            "speaker": torch.stack([row.speaker for row in drawn]),
            "prompt_frames": torch.tensor([row.prompt_frames for row in drawn]),
        }

    return draw


def flow_loss(decoder: TokenFlowDecoder) -> Callable[[Batch, float], dict[str, Tensor]]:
    """Of batches of :func:`draw_rows`."""

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        return decoder.training_loss(
            batch["pairs"], batch["lengths"], batch["mel"], batch["speaker"],
            batch["prompt_frames"], cond_dropout=0.1,
        )  # fmt: skip

    return loss


def train_prior(
    decoder: TokenFlowDecoder, rows: Rows, out: Path, minutes: float, machine: Machine
) -> None:
    """Train the token encoder alone, against the mel: a third of the cost of a whole step."""
    decoder.to(machine.device)

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        drawn = [rows.alone(rng, 33) for _ in range(12 * machine.scale)]
        mels = [decoder.relative_mel(mel, decoder.average_mel(mel.T)) for _, mel in drawn]
        return {
            "pairs": pad_sequence([pairs for pairs, _ in drawn], batch_first=True),
            "lengths": torch.tensor([len(pairs) for pairs, _ in drawn]),
            "mel": pad_sequence(mels, batch_first=True),
        }

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        mu, mask = decoder.encode_tokens(batch["pairs"], batch["lengths"])
        return {"loss": masked_mean((mu - batch["mel"]).abs(), mask)}

    encoder = {
        "embedding": decoder.input_embedding,
        "encoder": decoder.encoder,
        "projection": decoder.encoder_proj,
    }
    run(out=out, models=encoder, draw=draw, loss=loss, minutes=minutes, lr=1.5e-3, machine=machine)


def main() -> None:
    """Train and write the decoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--prior-minutes", type=float, default=10.0, help="of the token encoder")
    parser.add_argument("--start", help="folder of a decoder to go on from, without a prior")
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    rows, out = Rows(args.features), Path(args.out)
    if args.start:
        decoder = TokenFlowDecoder.from_pretrained(args.start).train()
    else:
        decoder = TokenFlowDecoder(FlowConfig.nano())
        start_embeddings(decoder, out.parent)
        decoder.get_buffer("average").copy_(rows.mean(np.random.default_rng(0), decoder, 400))
        train_prior(decoder, rows, out / "prior", args.prior_minutes, machine)
    run(
        out=out, models={"decoder": decoder}, draw=draw_rows(rows, machine.scale),
        loss=flow_loss(decoder), minutes=args.minutes, lr=8e-4 if args.start else 1e-3,
        machine=machine, muon=("decoder.decoder.", "decoder.encoder."),
        on_save=lambda: decoder.save_pretrained(out / "model", force=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
