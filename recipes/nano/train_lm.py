"""Stage 10: the language model, on pairs of the same words before and after a change.

Rows grow from one second to whole recordings: a short row already teaches to copy what was said,
which is what everything else builds on. Loss on the assistant's turn only (paper, section 3.1).

    python -m recipes.nano.train_lm runs/nano/features [FEATURES ...] -o runs/nano/lm
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.nano.codes import Codes, codebook_axes
from recipes.nano.features import Features
from recipes.nano.loop import run
from stepaudio.edits import Edit
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.prompts import encode_edit_prompt, prompt_phrases
from stepaudio.tokenizers.interleave import interleave, to_text
from stepaudio.tokenizers.text import EOT
from stepaudio.tokenizers.text_training import train_text_tokenizer
from stepaudio.types import SpeechTokens

TEXT_VOCABULARY = 1000
TOKENS_PER_STEP = 4096
#: Longest source in units of 0.12 s by share of the budget used.
CURRICULUM = ((0.25, 12), (0.5, 24), (0.75, 45), (1.01, 80))


@dataclass(frozen=True)
class Pair:
    """An edit with the recording before and after it, as items of one feature folder."""

    folder: int
    edit: Edit
    before: int
    after: int
    text: str
    croppable: bool


def edit_of(change: str) -> Edit:
    """The edit whose rule is called ``change``."""
    kind, _, label = change.partition(":")
    if kind == "speed":
        strength = 2 if label.startswith("more ") else 1
        return Edit.speed(label.removeprefix("more "), strength=strength)
    return Edit.emotion(label) if kind == "emotion" else Edit.style(label)


def pairs_of(folder: int, features: Features, codes: Codes) -> Iterator[Pair]:
    """All pairs of a feature folder."""
    by_id = {row["id"]: item for item, row in enumerate(features.rows)}
    for item, row in enumerate(features.rows):
        source = by_id.get(row["source"] or "")
        if source is None or min(codes.units(item), codes.units(source)) < 6:
            continue
        text = row["text"].lower() if row["text"].isupper() else row["text"]
        if row["change"] in ("noisy", "paused"):
            edit = Edit.denoise() if row["change"] == "noisy" else Edit.trim_silence()
            yield Pair(folder, edit, item, source, "", row["change"] == "noisy")
            continue
        edit = edit_of(row["change"])
        yield Pair(folder, edit, source, item, text, True)
        if edit.kind != "speed":
            yield Pair(folder, Edit.remove(edit.kind), item, source, text, True)


class Rows:
    """Token rows with their target mask."""

    def __init__(self, folders: list[str]) -> None:
        self.features = [Features(f) for f in folders]
        self.codes = [Codes(f) for f in folders]
        self.pairs = [
            p
            for n, (f, c) in enumerate(zip(self.features, self.codes, strict=True))
            for p in pairs_of(n, f, c)
        ]
        lines = sorted({p.text for p in self.pairs if p.text})
        self.spec = self.codes[0].spec
        self.text = train_text_tokenizer(
            lines,
            TEXT_VOCABULARY + self.spec.size,
            audio_tokens=self.spec.size,
            phrases=prompt_phrases(),
        )
        # Real voices are what the model will meet: two thirds of the rows.
        real = np.asarray(
            [not self.features[p.folder].rows[p.before]["id"].startswith("syn") for p in self.pairs]
        )
        weight = np.where(real, 2.0 / max(1, real.sum()), 1.0 / max(1, (~real).sum()))
        self.weight = weight / weight.sum()

    def draw(self, rng: np.random.Generator, longest: int) -> tuple[list[int], int]:
        """Ids of one row and where the target begins."""
        while True:
            pair = self.pairs[int(rng.choice(len(self.pairs), p=self.weight))]
            codes = self.codes[pair.folder]
            before, after, text = codes.units(pair.before), codes.units(pair.after), pair.text
            start, units = 0, before
            if pair.croppable and before > longest:
                units = int(rng.integers(max(6, longest // 2), longest + 1))
                start = int(rng.integers(0, before - units + 1))
                words = text.split()
                first, last = (round(len(words) * x / before) for x in (start, start + units))
                text = " ".join(words[first : max(last, first + 1)]) if words else ""
            elif before > 80:
                continue
            ratio = after / before
            target_start = round(start * ratio)
            target_units = max(1, round((start + units) * ratio) - target_start)
            source = codes.tokens(pair.before, start, units)
            target = codes.tokens(pair.after, target_start, target_units)
            return self.ids(pair.edit, source, target, text)

    def ids(
        self, edit: Edit, source: SpeechTokens, target: SpeechTokens, text: str
    ) -> tuple[list[int], int]:
        """Prompt, target and end of one edit."""
        prompt = encode_edit_prompt(self.text, edit, to_text(source), text)
        answer = interleave(target, offset=self.text.audio_offset).tolist()
        return [*prompt, *answer, self.text.token_id(EOT)], len(prompt)


def main() -> None:
    """Train and write the model's and the vocabulary's folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    out, rows = Path(args.out), Rows(args.features)
    rows.text.save_pretrained(out / "text", force=True)
    config = replace(
        Step1Config.nano(), vocab_size=rows.text.vocab_size, audio_offset=rows.text.audio_offset,
        linguistic_size=rows.spec.linguistic_size, semantic_size=rows.spec.semantic_size,
        end_ids=(rows.text.token_id(EOT),),
    )  # fmt: skip
    lm = Step1LM(config)
    with torch.no_grad():
        codes = torch.cat(codebook_axes(out.parent, config.hidden_size))
        for table in (lm.model.embed_tokens.weight, lm.lm_head.weight):
            table[config.audio_offset :][: len(codes)] = codes * table.std()

    def loss(rng: np.random.Generator, progress: float) -> dict[str, Tensor]:
        longest = next(units for share, units in CURRICULUM if progress < share)
        drawn: list[tuple[list[int], int]] = []
        while True:
            row = rows.draw(rng, longest)
            width = max([len(row[0]), *(len(ids) for ids, _ in drawn)])
            if drawn and width * (len(drawn) + 1) > TOKENS_PER_STEP:
                break
            drawn.append(row)
        width = max(len(ids) for ids, _ in drawn)
        ids = torch.stack([F.pad(torch.tensor(r), (0, width - len(r))) for r, _ in drawn])
        wanted = torch.full_like(ids, -100)
        for line, (row_ids, begin) in zip(wanted, drawn, strict=True):
            line[begin : len(row_ids)] = torch.tensor(row_ids[begin:])
        hidden = lm.model(lm.model.embed_tokens(ids[:, :-1]))
        keep = wanted[:, 1:] != -100
        logits, target = lm.lm_head(hidden[keep]), wanted[:, 1:][keep]
        value = F.cross_entropy(logits, target)
        kind = target - rows.text.audio_offset
        hit = (logits.argmax(-1) == target).float()
        linguistic = (kind >= 0) & (kind < rows.spec.linguistic_size)
        return {
            "loss": value,
            "linguistic": hit[linguistic].mean(),
            "semantic": hit[kind >= rows.spec.linguistic_size].mean(),
        }

    run(
        out=out,
        models={"lm": lm},
        loss=loss,
        minutes=args.minutes,
        lr=2e-3,
        no_decay=("embed_tokens",),
        on_save=lambda: lm.save_pretrained(out / "model", force=True),
    )


if __name__ == "__main__":
    main()
