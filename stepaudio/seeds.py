"""One seed for a whole run: each stage draws from a source of its own.

Sub-seeds are hashes, so that the noise of one stage does not depend on how much another has drawn,
and nothing global is ever seeded.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from stepaudio.errors import EditError

__all__ = ["choose_seeds", "derive_seed", "fresh_seed", "part_seed", "scoped_seed", "seeded"]

# Integers up to here survive a round trip through JSON in every language.
_LARGEST = 1 << 53


def fresh_seed(generator: torch.Generator | None = None) -> int:
    """Draw a seed.

    Args:
        generator: source; None asks the operating system.

    Returns:
        A number in ``0..2**53 - 1``.
    """
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return int(torch.randint(_LARGEST, (), generator=generator, device=generator.device))


def choose_seeds(
    seed: int | Sequence[int] | None, generator: torch.Generator | None, count: int
) -> list[int]:
    """One seed per sample.

    Args:
        seed: one for all, one for each, or None to draw them.
        generator: source of drawn seeds; None asks the operating system.
        count: samples.

    Returns:
        The seeds.

    Raises:
        EditError: another number of seeds than samples, or not whole numbers.
    """
    if seed is None:
        return [fresh_seed(generator) for _ in range(count)]
    seeds: list[Any] = list(seed) if isinstance(seed, list | tuple) else [seed] * count
    if len(seeds) != count:
        raise EditError(f"{count} samples need {count} seeds, got {len(seeds)}")
    try:
        return [operator.index(one) for one in seeds]
    except TypeError:
        raise EditError(f"a seed must be a whole number, not {seed!r}") from None


def derive_seed(seed: int, name: str) -> int:
    """A seed for one purpose.

    Args:
        seed: of the whole run.
        name: of the purpose.

    Returns:
        A number in ``0..2**63 - 1``, independent of those for other names.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def part_seed(seed: int, number: int) -> int:
    """Seed of a part of a long recording or text: the run's own for the first.

    Args:
        seed: of the run.
        number: of the part, from 0.

    Returns:
        The seed.
    """
    return derive_seed(seed, f"part {number}") if number else seed


def seeded(seed: int, name: str) -> torch.Generator:
    """A source of randomness for one purpose, on the CPU so that devices agree.

    Args:
        seed: of the whole run.
        name: of the purpose.

    Returns:
        A fresh generator.
    """
    return torch.Generator().manual_seed(derive_seed(seed, name))


@contextmanager
def scoped_seed(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's own randomness from a seed, put back as it was afterwards.

    For what cannot be handed a generator: dropout and the initialisation of layers.

    Args:
        seed: of the stretch inside.
        device: whose randomness, besides that of the CPU.

    Yields:
        Nothing.
    """
    elsewhere = device.type not in ("cpu", "meta")
    devices = [device.index or 0] if elsewhere else []
    with torch.random.fork_rng(devices, device_type=device.type if elsewhere else "cpu"):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if elsewhere:
            torch.get_device_module(device).manual_seed(seed)
        yield
