"""What a figure was measured with, and what the machine itself can do."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stepaudio

__all__ = [
    "bandwidth",
    "describe",
    "forget_peak",
    "load",
    "matrix_rate",
    "memory_megabytes",
    "seconds",
]


def describe(seed: int, *packages: str) -> dict[str, Any]:
    """Machine, versions, threads and seed, for the head of a result file.

    Args:
        seed: of the run.
        *packages: whose versions count too.

    Returns:
        JSON values; a package that is not installed is None.
    """
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "stepaudio": stepaudio.__version__,
        **{package: _version(package) for package in packages},
        "seed": seed,
    }


def load() -> float | None:
    """How many programs want to run now; 0 on a quiet machine, None where nobody counts."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bandwidth(values: Tensor) -> float:
    """Bytes per second that reading a large tensor reaches."""
    return values.numel() * values.element_size() / seconds(values.sum)


def matrix_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 5) -> float:
    """Floating point operations per second that large products reach, the best of some.

    Args:
        dtype: of the matrices.
        size: of the square matrices.
        repeats: products.
    """
    one = torch.ones(size, size, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: one @ one) for _ in range(repeats))


def forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can (Linux)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        # 5 sets the peak back to what is in use now; see proc(5).
        path.write_text("5", encoding="ascii")


def memory_megabytes() -> tuple[int, int] | None:
    """Resident memory now and at its peak, where the system tells it (Linux)."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines())
    now, peak = (int(lines[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
