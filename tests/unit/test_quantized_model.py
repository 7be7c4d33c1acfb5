"""Quantized language models: what is rounded, saving, loading, rounding while loading, freeing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stepaudio import hub
from stepaudio.errors import CheckpointError
from stepaudio.lm.int4 import Int4Linear
from stepaudio.lm.int8 import Int8Linear
from stepaudio.lm.quantize import Bits, quantize
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.offload import resident_bytes
from stepaudio.training.language_model import load_language_model

# Large enough that linear layers are most of it.
CONFIG = replace(Step1Config.debug(), hidden_size=192, intermediate_size=256)
IDS = torch.arange(2, 42).view(2, 20)


@pytest.fixture(scope="module")
def lm() -> Step1LM:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Step1LM(CONFIG).eval()


@torch.inference_mode()
def logits(lm: Step1LM) -> Tensor:
    return lm(IDS)


@pytest.mark.parametrize(("bits", "off", "ratio"), [(8, 0.03, 0.32), (4, 0.35, 0.25)])
def test_less_memory_for_nearly_the_same_logits(
    lm: Step1LM, bits: Bits, off: float, ratio: float
) -> None:
    state = torch.random.get_rng_state()
    rounded = quantize(lm, bits)
    assert torch.equal(state, torch.random.get_rng_state())
    assert rounded.config == replace(CONFIG, bits=bits)
    exact, found = logits(lm), logits(rounded)
    assert 0 < ((found - exact).norm() / exact.norm()).item() < off
    linear = sum(m.weight.nbytes for m in lm.modules() if isinstance(m, nn.Linear))
    kept = resident_bytes(lm) - linear
    # Counted before the kernel's own layout, which torch cannot see.
    assert resident_bytes(quantize(lm, bits)) - kept < ratio * linear
    with pytest.raises(ValueError, match="already"):
        quantize(rounded, bits)


def test_only_linear_layers_are_rounded_and_the_last_one_to_eight_bits(lm: Step1LM) -> None:
    rounded = quantize(lm, 4)
    assert not [m for m in rounded.modules() if isinstance(m, nn.Linear)]
    assert isinstance(rounded.lm_head, Int8Linear)
    assert sum(isinstance(m, Int4Linear) for m in rounded.modules()) == 7 * CONFIG.num_hidden_layers
    assert isinstance(lm.lm_head, nn.Linear)
    for name, parameter in rounded.named_parameters():
        assert parameter.data_ptr() == lm.get_parameter(name).data_ptr(), name


@pytest.mark.parametrize("bits", [8, 4])
def test_cached_equals_uncached(lm: Step1LM, bits: Bits) -> None:
    rounded = quantize(lm, bits)
    with torch.inference_mode():
        cache = rounded.new_cache()
        for position in range(IDS.shape[1]):
            step = rounded.next_logits(IDS[:, position : position + 1], cache)
    assert torch.allclose(step, logits(rounded)[:, -1], atol=2e-3)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantized_folder_is_a_folder_like_any_other(
    lm: Step1LM, bits: Bits, tmp_path: Path
) -> None:
    rounded = quantize(lm, bits)
    wanted = logits(rounded)
    rounded.save_pretrained(tmp_path / "rounded")
    again = Step1LM.from_pretrained(tmp_path / "rounded")
    assert again.config.bits == bits
    assert torch.equal(logits(again), wanted)
    assert torch.equal(logits(Step1LM.from_pretrained(tmp_path / "rounded", bits=bits)), wanted)
    with pytest.raises(CheckpointError, match=f"weights of {bits} bits"):
        Step1LM.from_pretrained(tmp_path / "rounded", bits=12 - bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_rounded_while_it_is_read_freed_and_read_again(
    lm: Step1LM, bits: Bits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm.save_pretrained(tmp_path)
    wanted = logits(quantize(lm, bits))
    read: list[str] = []
    original = hub.read_tensor
    for module in ("stepaudio.hub", "stepaudio.lm.quantize"):
        monkeypatch.setattr(
            f"{module}.read_tensor", lambda path, name: (read.append(name), original(path, name))[1]
        )
    found = Step1LM.from_pretrained(tmp_path, bits=bits)
    # Every tensor once, none of them a float32 copy of the model.
    assert sorted(read) == sorted(lm.state_dict())
    assert torch.equal(logits(found), wanted)
    full = resident_bytes(Step1LM.from_pretrained(tmp_path, bits=bits))
    found.unload()
    assert not found.loaded
    assert resident_bytes(found) == 0 < full
    found.reload()
    assert torch.equal(logits(found), wanted)


def test_weights_that_cannot_be_rounded_are_named(lm: Step1LM, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in lm.state_dict().items()}
    state["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    lm.save_pretrained(tmp_path, weights=state)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj: .*not finite"):
        Step1LM.from_pretrained(tmp_path, bits=8)


def test_half_precision_keeps_the_scales(lm: Step1LM, tmp_path: Path) -> None:
    lm.save_pretrained(tmp_path)
    half = Step1LM.from_pretrained(tmp_path, bits=8, dtype=torch.bfloat16)
    assert isinstance(half.lm_head, Int8Linear)
    assert half.lm_head.scale.dtype == torch.float32
    assert half.model.embed_tokens.weight.dtype == torch.bfloat16
    assert logits(half).dtype == torch.bfloat16


def test_rounded_weights_are_not_trained(lm: Step1LM, tmp_path: Path) -> None:
    quantize(lm, 8).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="8 bits, which cannot be trained"):
        load_language_model(str(tmp_path))


def test_bits_are_eight_or_four() -> None:
    with pytest.raises(ValueError, match="bits must be 8, 4 or None, not 3"):
        replace(CONFIG, bits=3)
