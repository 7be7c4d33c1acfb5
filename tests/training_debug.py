"""A debug language model and rows for it, and a stage of five lines, for the tests of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.seeds import scoped_seed, seeded
from stepaudio.training.config import TrainingConfig
from stepaudio.training.loop import train
from stepaudio.training.metrics import read_metrics
from stepaudio.training.sft import SFT, SFTConfig
from stepaudio.training.stage import Mean, Stage

SPEC = Step1LM(Step1Config.debug()).spec
CPU = torch.device("cpu")


def debug_lm(seed: int = 0) -> Step1LM:
    with scoped_seed(seed, CPU):
        return Step1LM(Step1Config.debug())


def answer(units: int, generator: torch.Generator) -> list[int]:
    """Whole units of audio ids and the end."""
    tokens, ids = SPEC.tokens, []
    for _ in range(units):
        ids += torch.randint(tokens.linguistic_size, (2,), generator=generator).tolist()
        semantic = torch.randint(tokens.semantic_size, (3,), generator=generator)
        ids += (tokens.linguistic_size + semantic).tolist()
    return [SPEC.audio_offset + code for code in ids] + [SPEC.end_ids[0]]


def prompt(generator: torch.Generator) -> list[int]:
    length = int(torch.randint(4, 12, (), generator=generator))
    return [1, *torch.randint(10, SPEC.audio_offset, (length,), generator=generator).tolist()]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_completions(path: Path, count: int = 24) -> Path:
    draw = seeded(1, "completions")
    return write_lines(
        path,
        [{"prompt": prompt(draw), "completion": answer(1 + i % 4, draw)} for i in range(count)],
    )


def write_pairs(path: Path, count: int = 24) -> Path:
    """The better answer says audio id 0 first, the worse says audio id 1."""
    draw = seeded(2, "pairs")
    rows = []
    for i in range(count):
        chosen, rejected = answer(1 + i % 3, draw), answer(1 + (i + 1) % 3, draw)
        chosen[0], rejected[0] = SPEC.audio_offset, SPEC.audio_offset + 1
        rows.append(
            {
                "prompt": prompt(draw), "chosen": chosen, "rejected": rejected,
                "margin": 4.0 if i % 2 else 9.0, "origin": "human" if i % 2 else "judge",
            }
        )  # fmt: skip
    return write_lines(path, rows)


class Toy(Stage[torch.Tensor]):
    """Learns to add up numbers, with dropout, from micro-batches of unequal size.

    ``sizes`` are those of the micro-batches: the same rows however they are cut.
    """

    steps = 6

    def __init__(self, config: TrainingConfig, sizes: Sequence[int] = (1, 4, 3)) -> None:
        self.config, self.sizes = config, sizes
        with scoped_seed(0, CPU):
            self.model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.seen = torch.zeros(())

    def batches(self, step: int) -> list[torch.Tensor]:
        rows = torch.randn(8, 4, generator=seeded(self.config.seed, f"rows {step}"))
        self.seen = self.seen + rows.sum()
        return list(rows.split(list(self.sizes)))

    def losses(self, model: nn.Module, batch: torch.Tensor) -> dict[str, Mean]:
        error = model(batch)[:, 0] - batch.sum(1)
        return {
            "loss": Mean(error.square().sum(), len(batch)),
            "error": Mean(error.detach().abs().sum(), float(len(batch))),
        }

    def state(self) -> dict[str, torch.Tensor]:
        return {"seen": self.seen}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.seen = state["seen"]

    def export(self, weights: dict[str, torch.Tensor], folder: Path) -> None:
        weights = {**weights, "seen": self.seen}
        safetensors.torch.save_file(weights, folder / "weights.safetensors")


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "metrics.jsonl")]


def sft_config(output: str, data: str) -> SFTConfig:
    """Ten steps with checkpoints after every other."""
    return SFTConfig(
        output=output, data=data, learning_rate=1e-3, pack_tokens=64, packs_per_step=2,
        epochs=2, save_every=2, device="cpu",
    )  # fmt: skip


def run_sft(output: str, data: str) -> None:
    """In a process of its own."""
    train(SFT(sft_config(output, data), debug_lm()))
