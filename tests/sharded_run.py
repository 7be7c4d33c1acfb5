"""Run by torchrun: a model shared out among processes, kept in a checkpoint and gathered again."""

from __future__ import annotations

import sys
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from training_debug import debug_lm

from stepaudio.training.checkpoint import load_checkpoint, save_checkpoint, whole_weights
from stepaudio.training.language_model import AnswerLogProbs
from stepaudio.training.packing import pack

TEXT = pack([(torch.tensor([1, 2, 3]), torch.tensor([80, 81, 93, 94, 95, 3]))])


def build(*, shard: bool) -> tuple[AnswerLogProbs, torch.optim.Optimizer]:
    model = AnswerLogProbs(debug_lm())
    if shard:
        for block in model.lm.model.layers:
            fully_shard(block)
        fully_shard(model)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def step(model: AnswerLogProbs, optimizer: torch.optim.Optimizer) -> float:
    loss = -model(TEXT).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    first = dist.get_rank() == 0
    model, optimizer = build(shard=True)
    losses = [step(model, optimizer), step(model, optimizer)]
    save_checkpoint(folder, 2, model, optimizer, {}, writes=first, keep=1)
    losses.append(step(model, optimizer))
    dist.barrier()

    again, fresh = build(shard=True)
    assert load_checkpoint(folder / "step-00000002", again, fresh) == (2, {})
    assert step(again, fresh) == losses[2]
    weights = whole_weights(again)
    assert bool(weights) == first
    if first:
        safetensors.torch.save_file(weights, folder / "whole.safetensors")
        # One process that holds the whole model goes on from the same files.
        alone, own = build(shard=False)
        load_checkpoint(folder / "step-00000002", alone, own)
        assert abs(step(alone, own) - losses[2]) < 1e-5
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-4)
    dist.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
