"""How the conformance checks say no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from stepaudio.errors import StepAudioError

__all__ = [
    "ConformanceError",
    "demand",
    "demand_close",
    "demand_refusal",
    "demand_success",
    "random_ids",
    "seeded",
]

_Result = TypeVar("_Result")


class ConformanceError(AssertionError):
    """An implementation breaks the contract of its interface; the message says which part."""


def demand(condition: bool, sentence: str) -> None:
    """State a rule.

    Args:
        condition: whether it is kept.
        sentence: what to tell if it is not.

    Raises:
        ConformanceError: ``condition`` is False.
    """
    if not condition:
        raise ConformanceError(sentence)


def demand_close(actual: Tensor, expected: Tensor, atol: float, sentence: str) -> None:
    """State that two results agree, relative to the size of what was expected.

    Args:
        actual: one result.
        expected: the other; the shapes must be equal.
        atol: largest difference allowed, as a share of ``max(1, max|expected|)``.
        sentence: what to tell if they do not agree.

    Raises:
        ConformanceError: other shapes, or a larger difference.
    """
    if actual.shape != expected.shape:
        raise ConformanceError(f"{sentence}: {tuple(actual.shape)} against {tuple(expected.shape)}")
    if not actual.numel():
        return
    scale = max(1.0, float(expected.detach().abs().max()))
    worst = float((actual.detach().double() - expected.detach().double()).abs().max()) / scale
    # Written so that NaN is refused as well.
    if not worst <= atol:
        raise ConformanceError(f"{sentence}: they differ by {worst:.3g}, {atol:g} is allowed")


def demand_refusal(
    action: Callable[[], object],
    sentence: str,
    errors: tuple[type[Exception], ...] = (StepAudioError, ValueError),
) -> None:
    """State that wrong input is refused with a proper error.

    Args:
        action: does what must be refused.
        sentence: the rule.
        errors: types of error that count as a refusal.

    Raises:
        ConformanceError: nothing is raised, or something else.
    """
    names = " or ".join(error.__name__ for error in errors)
    try:
        action()
    except errors:
        return
    except Exception as error:  # whatever it is, it is the wrong one
        raise ConformanceError(
            f"{sentence} with {names}, but it raised {type(error).__name__}: {error}"
        ) from error
    raise ConformanceError(f"{sentence} with {names}, but it was accepted")


def demand_success(action: Callable[[], _Result], sentence: str) -> _Result:
    """State that something must work.

    Args:
        action: what.
        sentence: the rule.

    Returns:
        What the action returns.

    Raises:
        ConformanceError: anything is raised; a broken rule within it keeps its own sentence.
    """
    try:
        return action()
    except ConformanceError:
        raise
    except Exception as error:  # whatever it is, it should not have come
        raise ConformanceError(
            f"{sentence}, but it raised {type(error).__name__}: {error}"
        ) from error


def seeded(*seeds: int) -> list[torch.Generator]:
    """One CPU generator per seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_ids(length: int, vocab_size: int, forbidden: Sequence[int], seed: int) -> Tensor:
    """Ids for a prompt.

    Args:
        length: how many.
        vocab_size: ids are below this.
        forbidden: ids that must not occur.
        seed: of the draw.

    Returns:
        ``[length]`` int64.
    """
    excluded = set(forbidden)
    allowed = torch.tensor([i for i in range(vocab_size) if i not in excluded])
    draw = torch.randint(len(allowed), (length,), generator=seeded(seed)[0])
    return allowed[draw]
