"""Names of devices and number types: what is accepted, and what the refusal says."""

from __future__ import annotations

import pytest
import torch

from stepaudio.devices import available_devices, resolve_device, resolve_dtype, resolve_flow_dtype
from stepaudio.errors import DeviceError, StepAudioError

CPU = torch.device("cpu")


def test_every_available_device_resolves() -> None:
    for name in available_devices():
        assert str(resolve_device(name)) == name
    assert resolve_device("auto").type in {name.split(":")[0] for name in available_devices()}
    assert resolve_device(CPU) is not None
    assert resolve_device("meta").type == "meta"


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "cuda:99"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=r"is not on this machine; use 'auto' or one of 'cpu'"):
        resolve_device(name)


def test_a_known_kind_that_is_not_here_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps", torch.device("cuda", 0)):
        with pytest.raises(DeviceError, match="not on this machine"):
            resolve_device(name)


def test_dtypes() -> None:
    assert resolve_dtype("auto", CPU) == torch.float32
    assert resolve_dtype("bfloat16", CPU) == torch.bfloat16
    assert resolve_dtype(torch.float16, CPU) == torch.float16
    for wrong in ("float8", "int8", torch.int8, None):
        with pytest.raises(DeviceError, match="is not one of 'auto', 'float32', 'bfloat16'"):
            resolve_dtype(wrong, CPU)  # type: ignore[arg-type]


def test_dtypes_of_the_flow() -> None:
    for name in ("float32", "bfloat16"):
        wanted = getattr(torch, name)
        assert resolve_flow_dtype(name) is resolve_flow_dtype(wanted) is wanted
    for wrong in ("auto", "float16", torch.float16, "torch.float32", "float8", None):
        with pytest.raises(DeviceError, match="is not one of 'float32', 'bfloat16'"):
            resolve_flow_dtype(wrong)  # type: ignore[arg-type]


def test_refusals_are_ours_and_what_they_used_to_be() -> None:
    assert issubclass(DeviceError, StepAudioError)
    assert issubclass(DeviceError, ValueError)
    assert issubclass(DeviceError, RuntimeError)
