r"""How large the velocity network of the flow, at equal compute; and how many solver steps.

Every variant keeps the trained token encoder and learns the rest from scratch for the same
processor time, from the same rows in the same order. Then recordings of speakers never heard go to
tokens and back. The trained decoder is heard with other numbers of steps, other starts and other
noise; with ``--minutes 0`` that is all, and nothing is trained.

    python -m recipes.nano.compare_flow FEATURES --heldout EVAL_MANIFEST --flow runs/nano/flow \
        -o runs/nano/flows --result docs/results/nano_flow.json --minutes 8
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from recipes.nano.heard import COLUMNS, Clip, clips, heard, metrics, timed
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.train_flow import Rows, draw_rows, flow_loss
from recipes.nano.variant_report import table, write_report
from stepaudio import EditPipeline
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.evaluation.contracts import Metric

__all__ = ["SETTINGS", "VARIANTS", "main"]

#: Layers and width of the velocity network; heads have 64 values.
VARIANTS = {"3 layers of 128": (3, 128), "5 layers of 192": (5, 192), "7 layers of 256": (7, 256)}
#: Solver steps; where the flow starts: 0 is noise alone, 1 would be token features alone; and the
#: scale of the noise.
SETTINGS = (
    (1, 0.2, 0.0), (2, 0.2, 0.0), (2, 0.4, 0.0), (4, 0.4, 0.0), (2, 0.4, 0.3),
    (2, 0.6, 0.6), (4, 0.6, 0.6), (8, 0.6, 0.6), (16, 0.0, 1.0),
)  # fmt: skip
#: With which networks of other sizes are heard: what the embedded model ships with.
HEARD = (2, 0.2, 0.0)
CLIPS = 12


def variant(trained: TokenFlowDecoder, layers: int, width: int) -> TokenFlowDecoder:
    """An untrained velocity network behind the trained token encoder, which stays as it is."""
    velocity = replace(trained.config.velocity, depth=layers, width=width, heads=width // 64)
    torch.manual_seed(0)
    decoder = TokenFlowDecoder(replace(trained.config, velocity=velocity))
    kept = {
        name: value
        for name, value in trained.state_dict().items()
        if not name.startswith("decoder.")
    }
    decoder.load_state_dict(kept, strict=False)
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_(name.startswith("decoder."))
    return decoder


def train(
    decoder: TokenFlowDecoder, rows: Rows, out: Path, minutes: float, machine: Machine
) -> int:
    """Train one; the number of steps that fitted into its time."""
    run(
        out=out, models={"decoder": decoder}, draw=draw_rows(rows, machine.scale),
        loss=flow_loss(decoder), minutes=minutes, lr=1e-3, machine=machine,
        muon=("decoder.decoder.",),
    )  # fmt: skip
    return int(torch.load(out / "state.pt", weights_only=True)["step"])


def solved(decoder: TokenFlowDecoder, setting: tuple[int, float, float]) -> TokenFlowDecoder:
    """The decoder with these steps, start and noise."""
    steps, start, temperature = setting
    decoder.config = replace(decoder.config, steps=steps, start=start, temperature=temperature)
    return decoder


def again(
    decoder: TokenFlowDecoder, sources: Sequence[Clip], measures: Sequence[Metric]
) -> dict[str, Any]:
    """Recordings through the embedded model with this decoder, and the share of its time."""
    pipe = EditPipeline.from_pretrained(flow=decoder.eval(), watermarker=None)
    made, factor = timed(lambda clip: pipe.resynthesize(clip.audio, seed=0).audio, sources)
    return {"realtime_factor": factor, **heard(made, sources, measures)}


def main() -> None:
    """Train, measure and write all; a variant that is finished is not trained again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+")
    parser.add_argument("--flow", required=True, help="folder of the trained decoder's run")
    parser.add_argument("--heldout", required=True, help="manifest of other speakers")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--result", required=True, help="JSON file")
    parser.add_argument("--minutes", type=float, default=8.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine, measures = Machine.from_arguments(args), metrics()
    sources, folder = clips(args.heldout, CLIPS), Path(args.flow) / "model"
    settings = {}
    for setting in SETTINGS:
        decoder = solved(TokenFlowDecoder.from_pretrained(folder), setting)
        name = "{} step(s) from {}, noise x {}".format(*setting)
        settings[name] = again(decoder, sources, measures)
    rows, sizes = Rows(args.features), {}
    for name, (layers, width) in VARIANTS.items() if args.minutes > 0 else ():
        decoder = variant(TokenFlowDecoder.from_pretrained(folder), layers, width)
        count = train(decoder, rows, Path(args.out) / name.replace(" ", "_"), args.minutes, machine)
        solved(decoder.cpu(), HEARD)
        parameters = sum(p.numel() for p in decoder.decoder.parameters())
        sizes[name] = {
            "parameters": parameters, "steps": count, **again(decoder, sources, measures)
        }  # fmt: skip
    columns = {key: COLUMNS[key] for key in ("realtime_factor", "wer", "similarity", "p808")}
    tables = [table("velocity network", COLUMNS, sizes)] if sizes else []
    page = "\n\n".join([*tables, table("trained decoder", columns, settings)])
    write_report(
        args.result, page, minutes=args.minutes, clips=len(sources), settings=settings, sizes=sizes
    )


if __name__ == "__main__":
    main()
