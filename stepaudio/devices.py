"""Where tensors live: the only file that knows the names of accelerators."""

from __future__ import annotations

from typing import Any

import torch

from stepaudio.errors import DeviceError

__all__ = [
    "available_devices",
    "cpu_capabilities",
    "resolve_device",
    "resolve_dtype",
    "resolve_flow_dtype",
]


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


def cpu_capabilities() -> dict[str, Any]:
    """What instructions the CPU has, by name such as ``"amx_bf16"``.

    Returns:
        What PyTorch tells; nothing where it is too old to tell.
    """
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn ``"auto"`` into the best device of this machine.

    Args:
        device: ``"auto"``, or anything ``torch.device`` accepts.

    Returns:
        A device object.

    Raises:
        DeviceError: no such device, or not on this machine.
    """
    if device != "auto":
        return _checked(device)
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
        DeviceError: not a floating dtype.
    """
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return dtype
    if dtype == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bf16 else torch.float32
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if not isinstance(dtype, str) or dtype not in named:
        raise DeviceError(f"dtype {dtype!r} is not one of 'auto', {', '.join(map(repr, named))}")
    return named[dtype]


def resolve_flow_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Turn the name of a floating type that the flow decoder was measured with into the type.

    Args:
        dtype: ``"float32"``, ``"bfloat16"`` or the ``torch.dtype``.

    Returns:
        One of these two.

    Raises:
        DeviceError: another type.
    """
    for known in (torch.float32, torch.bfloat16):
        if dtype in (known, str(known).removeprefix("torch.")):
            return known
    raise DeviceError(f"flow_dtype {dtype!r} is not one of 'float32', 'bfloat16'")


def _checked(device: str | torch.device) -> torch.device:
    there = available_devices()
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        known = False
    else:
        # What is not listed, such as "meta" or another maker's device, torch itself must know.
        listed = chosen.type in ("cuda", "mps")
        known = not listed or any(
            str(chosen) == name or (not chosen.index and name.split(":")[0] == chosen.type)
            for name in there
        )
    if not known:
        names = ", ".join(map(repr, there))
        raise DeviceError(f"device {device!s} is not on this machine; use 'auto' or one of {names}")
    return chosen
