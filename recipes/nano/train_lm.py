"""The language model: edits, on pairs before and after a change, and words spoken in a voice.

Rows grow from one second to whole recordings: a short row already teaches to copy what was said,
which is what everything else builds on. Loss on the assistant's turn only (paper, section 3.1).
One head is taught where to look (:mod:`recipes.nano.guidance`). ``--start`` goes on from a model
that was trained before, on other recordings perhaps, but on codes of the same tokenizers.

    python -m recipes.nano.train_lm runs/nano/data/features -o runs/nano/lm
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.nano.codes import codebook_axes
from recipes.nano.guidance import GUIDED_LAYER, misplaced
from recipes.nano.lm_rows import Rows
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from stepaudio.edits import EDIT_KINDS
from stepaudio.lm.step1 import Attention, Step1Config, Step1LM
from stepaudio.tokenizers.text import EOT, SentencePieceText

__all__ = ["main"]

TOKENS_PER_STEP = 4096
#: Longest source in units of 0.12 s by share of the budget used.
CURRICULUM = ((0.2, 12), (0.4, 24), (0.6, 45), (1.01, 110))
#: The same where a model goes on: it can copy already. Only streams are longer than parts of 8 s.
GOING_ON = ((0.8, 70), (1.01, 110))

#: Weight of the guidance beside the loss of the next token.
GUIDE = 0.2


def main() -> None:
    """Train and write the model's and the vocabulary's folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument(
        "--speech-share", type=float, default=0.2, help="of the rows: words in a given voice"
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=(),
        choices=tuple(EDIT_KINDS),
        help="kinds of edits not to learn",
    )
    parser.add_argument("--start", help="folder of an earlier run, whose weights to begin with")
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    out, start = Path(args.out), Path(args.start) if args.start else None
    text = SentencePieceText.from_pretrained(start / "text") if start else None
    rows = Rows(args.features, args.speech_share, text, args.without)
    rows.text.save_pretrained(out / "text", force=True)
    config = replace(
        Step1Config.nano(), vocab_size=rows.text.vocab_size, audio_offset=rows.text.audio_offset,
        linguistic_size=rows.spec.linguistic_size, semantic_size=rows.spec.semantic_size,
        end_ids=(rows.text.token_id(EOT),),
    )  # fmt: skip
    lm = Step1LM.from_pretrained(start / "model") if start else fresh(config, out.parent)

    guided, heard = lm.get_submodule(f"model.layers.{GUIDED_LAYER}.self_attn"), [torch.empty(0)]
    assert isinstance(guided, Attention)
    guided.register_forward_pre_hook(lambda _, inputs: heard.__setitem__(0, inputs[0]))
    kinds = torch.full((config.vocab_size,), -1, dtype=torch.int8)
    kinds[config.audio_offset :][: config.linguistic_size] = 0
    kinds[config.audio_offset + config.linguistic_size :][: config.semantic_size] = 1
    kinds = kinds.to(machine.device)

    plan = GOING_ON if start else CURRICULUM

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        longest = next(units for share, units in plan if progress < share)
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


def fresh(config: Step1Config, runs: Path) -> Step1LM:
    """An untrained model whose tables begin where the tokenizers put their codes.

    Args:
        config: of the model.
        runs: folder with the trained tokenizers.
    """
    lm = Step1LM(config)
    with torch.no_grad():
        codes = torch.cat(codebook_axes(runs, config.hidden_size))
        for table in (lm.model.embed_tokens.weight, lm.lm_head.weight):
            table[config.audio_offset :][: len(codes)] = codes * table.std()
    return lm


if __name__ == "__main__":
    main()
