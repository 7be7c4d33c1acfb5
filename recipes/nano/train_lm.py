"""Stage 10: the language model, on pairs of the same words before and after a change.

Rows grow from one second to whole recordings: a short row already teaches to copy what was said,
which is what everything else builds on. Loss on the assistant's turn only (paper, section 3.1).
One head is taught where to look: the recipe knows which stretch of the source each new token
renders, and a model this small takes hours to find that out from the loss alone.

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
from torch.nn.utils.rnn import pad_sequence

from recipes.nano.codes import Codes, codebook_axes
from recipes.nano.features import Features
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from stepaudio.data.pairs import edit_of_change
from stepaudio.edits import Edit
from stepaudio.lm.alibi import alibi_slopes
from stepaudio.lm.step1 import Attention, Step1Config, Step1LM
from stepaudio.prompts import encode_edit_prompt, prompt_phrases
from stepaudio.tokenizers.interleave import interleave, to_text
from stepaudio.tokenizers.text import EOT
from stepaudio.tokenizers.text_training import train_text_tokenizer

TEXT_VOCABULARY = 1000
TOKENS_PER_STEP = 4096
#: Longest source in units of 0.12 s by share of the budget used.
CURRICULUM = ((0.25, 12), (0.5, 24), (0.75, 45), (1.01, 80))


#: The head that learns to follow the source: late enough to know what it looks for, early enough
#: to use what it finds, and of the slowest falling bias (the fourth of six heads).
GUIDED_LAYER, GUIDED_HEAD = 2, 3
#: How far, in units of 0.12 s, it may look beside the right place: changes of real voices keep the
#: time scale exactly, another synthetic reading of the words only roughly.
EXACT, ROUGH = 0.6, 2.0
#: No codebook: the place of a token that nothing shall look at.
NOWHERE = -2
#: Weight of the guidance beside the loss of the next token.
GUIDE = 0.2


@dataclass(frozen=True)
class Row:
    """One conversation.

    Attributes:
        ids: prompt, target and end.
        begin: where the target begins.
        source: where the source's tokens begin; they run on without a gap.
        count: of the source's tokens.
        scale: units of the source per unit of the target; zero where it is not constant.
        width: tolerance of the place looked at, in units.
    """

    ids: list[int]
    begin: int
    source: int
    count: int
    scale: float
    width: float


@dataclass(frozen=True)
class Pair:
    """An edit with the recording before and after it, as items of one feature folder."""

    folder: int
    edit: Edit
    before: int
    after: int
    text: str
    croppable: bool


def pairs_of(folder: int, features: Features, codes: Codes) -> Iterator[Pair]:
    """All pairs of a feature folder."""
    by_id = {row["id"]: item for item, row in enumerate(features.rows)}
    for item, row in enumerate(features.rows):
        source = by_id.get(row["source"] or "")
        if source is None or min(codes.units(item), codes.units(source)) < 6:
            continue
        edit = edit_of_change(row["change"], row["text"])
        assert edit is not None
        if row["change"] in ("noisy", "paused"):
            yield Pair(folder, edit, item, source, "", row["change"] == "noisy")
            continue
        if edit.kind == "paralinguistic":
            words = features.rows[source]["text"]
            yield Pair(folder, edit, source, item, words, False)
            # No published words ask for a sound to be taken away; those for a style come nearest.
            yield Pair(folder, Edit.remove("style"), item, source, words, False)
            continue
        text = row["text"].lower() if row["text"].isupper() else row["text"]
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
        lines = sorted({t for p in self.pairs for t in (p.text, p.edit.text) if t})
        self.spec = self.codes[0].spec
        self.text = train_text_tokenizer(
            lines,
            TEXT_VOCABULARY + self.spec.size,
            audio_tokens=self.spec.size,
            phrases=prompt_phrases(),
        )
        # Real voices are what the model will meet: two thirds of the rows.
        real = np.asarray([not self.synthetic(pair) for pair in self.pairs])
        weight = np.where(real, 2.0 / max(1, real.sum()), 1.0 / max(1, (~real).sum()))
        self.weight = weight / weight.sum()

    def synthetic(self, pair: Pair) -> bool:
        """Whether nobody ever said what the pair starts from."""
        before: str = self.features[pair.folder].rows[pair.before]["id"]
        return before.startswith("syn")

    def draw(self, rng: np.random.Generator, longest: int) -> Row:
        """One row whose source is no longer than ``longest`` units."""
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
            prompt = encode_edit_prompt(self.text, pair.edit, to_text(source), text)
            answer = interleave(target, offset=self.text.audio_offset).tolist()
            return Row(
                ids=[*prompt, *answer, self.text.token_id(EOT)],
                begin=len(prompt),
                source=next(n for n, i in enumerate(prompt) if i >= self.text.audio_offset),
                count=len(source.linguistic) + len(source.semantic),
                # What cannot be cut in proportion has no constant scale of time either.
                scale=1.0 / ratio if pair.croppable else 0.0,
                width=ROUGH if self.synthetic(pair) else EXACT,
            )

    def batch(self, rng: np.random.Generator, longest: int, tokens: int) -> Batch:
        """As many rows as fit into ``tokens`` positions, padding included.

        Args:
            rng: source of everything.
            longest: of a source, in units.
            tokens: positions of a step.

        Returns:
            ``ids`` ``[B, T + 1]``, padded at the end. ``places`` among the ``B * T`` positions
            that predict what is learned, and the ``targets`` they predict, ``[N]``. ``asked``
            ``[B, J]``, positions that predict the tokens of the target, padded with -1; and what
            :class:`Row` says of the source, ``[B]``.
        """
        drawn: list[Row] = []
        width = 0
        while True:
            row = self.draw(rng, longest)
            wider = max(width, len(row.ids))
            if drawn and wider * (len(drawn) + 1) > tokens:
                break
            drawn.append(row)
            width = wider
        asked = [torch.arange(row.begin - 1, len(row.ids) - 1) for row in drawn]
        places = [positions + line * (width - 1) for line, positions in enumerate(asked)]
        return {
            "ids": pad_sequence([torch.tensor(row.ids) for row in drawn], batch_first=True),
            "places": torch.cat(places),
            "targets": torch.cat([torch.tensor(row.ids[row.begin :]) for row in drawn]),
            "asked": pad_sequence([p[:-1] for p in asked], batch_first=True, padding_value=-1),
            "source": torch.tensor([row.source for row in drawn]),
            "count": torch.tensor([row.count for row in drawn]),
            "scale": torch.tensor([row.scale for row in drawn]),
            "width": torch.tensor([row.width for row in drawn]),
        }


def misplaced(attention: Attention, x: Tensor, batch: Batch, kinds: Tensor) -> Tensor:
    """How little the guided head looks at the place of the source its next token renders.

    Args:
        attention: the layer of the guided head.
        x: ``[B, T, D]`` what it reads.
        batch: from :meth:`Rows.batch`.
        kinds: ``[V]`` codebook of each id, negative for text.

    Returns:
        Mean negative logarithm of the attention that falls on the right place.
    """
    dim = attention.q_proj.out_features // attention.heads
    group = GUIDED_HEAD // (attention.heads // attention.groups)
    asked = batch["asked"].clamp_min(0)
    query = F.linear(x, attention.q_proj.weight[GUIDED_HEAD * dim :][:dim])
    query = query.gather(1, asked[..., None].expand(-1, -1, dim))
    key = F.linear(x, attention.k_proj.weight[group * dim :][:dim])
    place = torch.arange(x.shape[1], device=x.device)
    back = (place[:, None] - place).float()
    bias = -float(alibi_slopes(attention.heads)[GUIDED_HEAD]) * back.clamp(min=0).sqrt()
    bias = bias.masked_fill(back < 0, float("-inf"))
    looks = ((query @ key.transpose(1, 2)).float() * dim**-0.5 + bias[asked]).softmax(dim=-1)
    source, count, scale, width = (
        batch[name][:, None] for name in ("source", "count", "scale", "width")
    )
    # Tokens are counted from the first of the source and of the target.
    there, wanted = place - source, torch.arange(asked.shape[1], device=x.device)
    kind = kinds[batch["ids"]]
    kind_there = kind[:, :-1].masked_fill((there < 0) | (there >= count), NOWHERE)
    off = (_when(wanted) * scale / width)[:, :, None] - (_when(there) / width)[:, None]
    right = off.square_().mul_(-0.5).exp_()
    right = right * (kind[:, 1:].gather(1, asked)[:, :, None] == kind_there[:, None])
    missed = -torch.log((looks * right).sum(dim=-1) + 1e-3)
    counted = (batch["asked"] >= 0) & (scale > 0)
    return (missed * counted).sum() / counted.sum().clamp_min(1)


def _when(token: Tensor) -> Tensor:
    """Middle of what the token renders, in units: two linguistic, then three semantic in each."""
    slot = token % 5
    return token // 5 + torch.where(slot < 2, (2 * slot + 1) / 4, (2 * slot - 3) / 6)


def main() -> None:
    """Train and write the model's and the vocabulary's folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
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

    guided, heard = lm.get_submodule(f"model.layers.{GUIDED_LAYER}.self_attn"), [torch.empty(0)]
    assert isinstance(guided, Attention)
    guided.register_forward_pre_hook(lambda _, inputs: heard.__setitem__(0, inputs[0]))
    kinds = torch.full((config.vocab_size,), -1, dtype=torch.int8)
    kinds[config.audio_offset :][: config.linguistic_size] = 0
    kinds[config.audio_offset + config.linguistic_size :][: config.semantic_size] = 1
    kinds = kinds.to(machine.device)

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        longest = next(units for share, units in CURRICULUM if progress < share)
        return rows.batch(rng, longest, machine.scale * TOKENS_PER_STEP)

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        hidden = lm.model(lm.model.embed_tokens(batch["ids"][:, :-1]))
        place = misplaced(guided, heard[0], batch, kinds)
        logits, targets = lm.lm_head(hidden.flatten(0, 1)[batch["places"]]), batch["targets"]
        value = F.cross_entropy(logits, targets)
        hit, kind = logits.argmax(-1) == targets, kinds[targets]
        return {
            "loss": value + GUIDE * place,
            "next": value,
            "place": place,
            "linguistic": (hit & (kind == 0)).sum() / (kind == 0).sum().clamp_min(1),
            "semantic": (hit & (kind == 1)).sum() / (kind == 1).sum().clamp_min(1),
        }

    run(
        out=out,
        models={"lm": lm},
        draw=draw,
        loss=loss,
        minutes=args.minutes,
        lr=2e-3,
        machine=machine,
        no_decay=("embed_tokens",),
        muon=("lm.model.layers.",),
        on_save=lambda: lm.save_pretrained(out / "model", force=True),
    )


if __name__ == "__main__":
    main()
