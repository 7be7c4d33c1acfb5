r"""How large a language model, and how many codes a step (VALL-E 2, section 3.2), at equal compute.

Every variant learns edits from scratch for the same processor time, from the same rows in the same
order; speakers it never heard tell how well. Rows are short, so that copying is learned within
minutes: this compares, it does not make a model to keep.

    python -m recipes.nano.compare_lm TRAIN_FEATURES --heldout FEATURES -o runs/nano/variants \
        --result docs/results/nano_lm.json --minutes 8
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recipes.nano.codes import codebook_axes
from recipes.nano.lm_rows import Row, Rows
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from recipes.nano.variant_report import table, write_report
from stepaudio.evaluation.bootstrap import mean_interval
from stepaudio.lm.grouped import GroupedConfig, GroupedLM
from stepaudio.lm.step1 import Step1Config
from stepaudio.tokenizers.text import EOT

__all__ = ["VARIANTS", "grouped_batch", "main"]

#: Layers, width, inner width and codes a step.
VARIANTS = {
    "4 layers of 192": (4, 192, 512, 1),
    "2 layers of 192": (2, 192, 512, 1),
    "6 layers of 288": (6, 288, 768, 1),
    "4 layers of 192, five codes a step": (4, 192, 512, 5),
}
TOKENS_PER_STEP = 4096
#: Units of the longest source, rows that are only tested, and seconds of the timed generation.
LONGEST, HELD_OUT, TIMED = 24, 200, 5.0
CODES_PER_UNIT, UNIT = 5, 0.12
COLUMNS = {
    "parameters": "parameters",
    "steps": "steps of training",
    "seconds_per_second": "seconds per second",
    "nats_per_code": "nats per code",
    "share_right": "codes right",
}


def grouped_batch(rows: Sequence[Row]) -> Batch:
    """Rows as prompts and answers.

    Args:
        rows: with whole units as answers.

    Returns:
        ``prefix`` ``[B, P]``, its ``padding`` ``[B]`` at the head, ``codes`` ``[B, N]`` filled up
        at the end, and their ``lengths`` ``[B]``.
    """
    prompts = [torch.tensor(row.ids[: row.begin]) for row in rows]
    answers = [torch.tensor(row.ids[row.begin : -1]) for row in rows]
    longest = max(map(len, prompts))
    return {
        "prefix": torch.stack([F.pad(p, (longest - len(p), 0)) for p in prompts]),
        "padding": torch.tensor([longest - len(p) for p in prompts]),
        "codes": pad_sequence(answers, batch_first=True),
        "lengths": torch.tensor([len(a) for a in answers]),
    }


def build(name: str, rows: Rows, runs: Path) -> GroupedLM:
    """An untrained variant whose tables begin where the tokenizers put their codes."""
    layers, width, inner, group = VARIANTS[name]
    config = replace(
        Step1Config.nano(), num_hidden_layers=layers, hidden_size=width, intermediate_size=inner,
        vocab_size=rows.text.vocab_size, audio_offset=rows.text.audio_offset,
        linguistic_size=rows.spec.linguistic_size, semantic_size=rows.spec.semantic_size,
        end_ids=(rows.text.token_id(EOT),),
    )  # fmt: skip
    torch.manual_seed(0)
    lm = GroupedLM(GroupedConfig(config, group))
    with torch.no_grad():
        codes = torch.cat(codebook_axes(runs, width))
        for table in (lm.model.embed_tokens.weight, lm.lm_head.weight):
            table[config.audio_offset :][: len(codes)] = codes * table.std()
    return lm


def train(lm: GroupedLM, rows: Rows, out: Path, minutes: float, machine: Machine) -> int:
    """Train one variant; the number of steps that fitted into its time."""

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        return grouped_batch(rows.alike(rng, LONGEST, TOKENS_PER_STEP))

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        return {
            "loss": lm.loss(batch["prefix"], batch["codes"], batch["lengths"], batch["padding"])
        }

    run(
        out=out, models={"lm": lm}, draw=draw, loss=loss, minutes=minutes, lr=2e-3, machine=machine,
        no_decay=("embed_tokens",), muon=("lm.model.layers.",),
    )  # fmt: skip
    return int(torch.load(out / "state.pt", weights_only=True)["step"])


@torch.inference_mode()
def measure(lm: GroupedLM, rows: Sequence[Row]) -> dict[str, Any]:
    """Nats per code and share of codes right, of rows that were not learned from."""
    lm.eval()
    nats, right = [], []
    for row in rows:
        batch = grouped_batch([row])
        logits = lm(batch["prefix"], batch["codes"])[:, :-1].flatten(0, 2)
        targets = batch["codes"].flatten()
        nats.append(float(F.cross_entropy(logits, targets)))
        right.append(float((logits.argmax(-1) == targets).float().mean()))
    alone = [""] * len(rows)
    return {
        "nats_per_code": asdict(mean_interval(nats, alone)),
        "share_right": asdict(mean_interval(right, alone)),
    }


@torch.inference_mode()
def seconds_per_second(lm: GroupedLM, row: Row) -> float:
    """Seconds of work for a second of speech, prompt included; the fastest of three."""
    codes = row.ids[row.begin : -1]
    count = round(TIMED / UNIT) * CODES_PER_UNIT
    forced = [codes[n % len(codes)] for n in range(count)]
    taken = []
    for _ in range(3):
        began, cache = time.perf_counter(), lm.new_cache()
        lm.next_logits(torch.tensor([row.ids[: row.begin]]), cache)
        for code in forced:
            lm.next_logits(torch.tensor([[code]]), cache)
        taken.append(time.perf_counter() - began)
    return min(taken) / TIMED


def main() -> None:
    """Train, measure and write all variants; one that is finished is not trained again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("--heldout", required=True, help="feature folder of other speakers")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--result", required=True, help="JSON file")
    parser.add_argument("--minutes", type=float, default=8.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine, out = Machine.from_arguments(args), Path(args.out)
    rows = Rows(args.features, 0.0)
    others = Rows([args.heldout], 0.0, rows.text)
    rng = np.random.default_rng(0)
    tested = [others.draw_edit(rng, LONGEST) for _ in range(HELD_OUT)]
    variants = {}
    for name in VARIANTS:
        lm = build(name, rows, out.parent)
        steps = train(lm, rows, out / name.replace(" ", "_"), args.minutes, machine)
        variants[name] = {
            "parameters": sum(p.numel() for p in lm.parameters()),
            "steps": steps,
            "seconds_per_second": seconds_per_second(lm.cpu(), tested[0]),
        } | measure(lm, tested)
    page = table("language model", COLUMNS, variants)
    write_report(args.result, page, minutes=args.minutes, rows=HELD_OUT, variants=variants)


if __name__ == "__main__":
    main()
