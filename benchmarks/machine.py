"""What a figure was measured with."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import stepaudio

__all__ = ["describe"]


def describe(seed: int, *packages: str) -> dict[str, Any]:
    """Machine, versions, threads and seed, for the head of a result file.

    Args:
        seed: of the run.
        *packages: whose versions count too.

    Returns:
        JSON values; a package that is not installed is None.
    """
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "stepaudio": stepaudio.__version__,
        **{package: _version(package) for package in packages},
        "seed": seed,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
