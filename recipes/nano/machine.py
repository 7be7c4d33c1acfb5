"""What a training runs on: the cores of a CPU, or an accelerator where there is one.

On an accelerator a step holds more, other processes draw its batches ahead, and matrices are
multiplied in bfloat16 unless a stage's losses need more. On a CPU everything happens in turn; one
with matrix units (AMX) multiplies in bfloat16 too.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from stepaudio.devices import cpu_capabilities, resolve_device, resolve_dtype

__all__ = ["Machine"]

#: Batch scale of an accelerator: models this small keep none busy with what suits a CPU.
ACCELERATOR_SCALE = 8
MOST_WORKERS = 8


@dataclass(frozen=True)
class Machine:
    """A device and how to keep it busy.

    Attributes:
        device: where models are trained.
        scale: what a step holds, in units of what suits a CPU.
        workers: processes that draw batches ahead; without any, each is drawn when it is needed.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    scale: int = 1
    workers: int = 0

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add ``--device``, ``--batch-scale``, ``--workers`` and ``--threads``."""
        parser.add_argument("--device", default="auto", help="auto takes an accelerator if any")
        parser.add_argument(
            "--batch-scale",
            type=int,
            help=f"times the rows of a step (default: 1 on a CPU, {ACCELERATOR_SCALE} elsewhere)",
        )
        parser.add_argument(
            "--workers",
            type=int,
            help=f"processes that draw (default: 0 on a CPU, up to {MOST_WORKERS} elsewhere)",
        )
        parser.add_argument("--threads", type=int, default=1, help="of a CPU")

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> Machine:
        """The machine asked for; sets the number of threads of this process."""
        torch.set_num_threads(args.threads)
        device = resolve_device(args.device)
        scale, workers = 1, 0
        if device.type != "cpu":
            scale, workers = ACCELERATOR_SCALE, min(MOST_WORKERS, os.cpu_count() or 1)
        return cls(
            device,
            scale if args.batch_scale is None else args.batch_scale,
            workers if args.workers is None else args.workers,
        )

    def autocast(self) -> AbstractContextManager[object]:
        """Multiply matrices in bfloat16 where the device is made for it, else change nothing."""
        if self.device.type == "cpu":
            dtype = torch.bfloat16 if cpu_capabilities().get("amx_bf16") else torch.float32
        else:
            dtype = resolve_dtype("auto", self.device)
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def clock(self) -> float:
        """Seconds of training: processor time per thread, on an accelerator time itself.

        A busy CPU so trains as much as an idle one.
        """
        if self.device.type == "cpu":
            return time.process_time() / torch.get_num_threads()
        return time.monotonic()
