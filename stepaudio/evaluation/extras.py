"""Optional packages: found or named as missing, never silently left out."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any

from stepaudio.errors import MissingExtraError
from stepaudio.evaluation.contracts import Metric

__all__ = ["build_metrics", "need", "package_version"]


def need(module: str, purpose: str) -> Any:
    """Import an optional package.

    Args:
        module: what to import, e.g. ``"speechmos.dnsmos"``.
        purpose: what needs it; begins the message.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed, or it is and cannot be imported; the message says
            why.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library of the package is missing
        raise MissingExtraError(
            f"{purpose} needs the package {module.partition('.')[0]} ({error}); "
            "install it with: pip install 'stepaudio[eval]'"
        ) from error


def package_version(distribution: str) -> str:
    """Version of an installed package, ``"unknown"`` for one that was not installed by pip."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def build_metrics(
    makers: Mapping[str, Callable[[], Metric]],
) -> tuple[list[Metric], dict[str, str]]:
    """Build what can be built and say what cannot.

    Args:
        makers: a constructor per name of the report, e.g. ``{"dnsmos": Dnsmos}``.

    Returns:
        The metrics, and for each one that is missing the reason.
    """
    metrics: list[Metric] = []
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            metrics.append(make())
        except MissingExtraError as error:
            missing[name] = str(error)
    return metrics, missing
