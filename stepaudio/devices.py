"""Where tensors live: the only file that knows the names of accelerators."""

from __future__ import annotations

import torch

__all__ = ["available_devices", "resolve_device", "resolve_dtype"]


def available_devices() -> dict[str, str]:
    """What this machine can run on.

    Returns:
        A description by the name that :func:`resolve_device` understands; the CPU comes first.
    """
    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn ``"auto"`` into the best device of this machine.

    Args:
        device: ``"auto"``, or anything ``torch.device`` accepts.

    Returns:
        A device object.
    """
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Turn ``"auto"`` into bfloat16 on an accelerator that has it and float32 elsewhere.

    Args:
        dtype: ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"`` or a ``torch.dtype``.
        device: where the model will run.

    Returns:
        A floating dtype.

    Raises:
        ValueError: the name is not a floating dtype.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bf16 else torch.float32
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in named:
        raise ValueError(f"dtype {dtype!r} is not one of 'auto', {', '.join(map(repr, named))}")
    return named[dtype]
