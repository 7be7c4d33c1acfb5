"""The Step1 decoder and the first repetition rule against the golden arrays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import GOLDEN, Golden, assert_close

from stepaudio.hub import load_strict
from stepaudio.lm.alibi import alibi_slopes
from stepaudio.lm.sampling import mask_repetition_v1
from stepaudio.lm.step1 import Step1Config, Step1LM

LOGITS_ATOL = 1e-4


@pytest.fixture(scope="module")
def lm_golden(golden) -> Golden:
    return golden("lm.tiny")


def config_of(spec: dict, **changes: object) -> Step1Config:
    known = {field.name for field in dataclasses.fields(Step1Config)}
    shapes = {name: value for name, value in spec["config"].items() if name in known}
    size = shapes["vocab_size"]
    if size < Step1Config().vocab_size:  # the tiny vocabulary has no room for the real codebooks
        changes |= {"audio_offset": size - 64, "linguistic_size": 24, "semantic_size": 40}
    return Step1Config(**{**shapes, **changes})


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def lm(request, lm_golden: Golden) -> Step1LM:
    model = Step1LM(config_of(lm_golden.spec, attention=request.param)).eval()
    load_strict(model, lm_golden.weights(), "golden weights")
    return model


@torch.no_grad()
def test_full_pass(lm: Step1LM, lm_golden: Golden) -> None:
    taps: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda module, args, output: taps.__setitem__(name, output[0])

    hooks = [
        lm.model.embed_tokens.register_forward_hook(keep("embed")),
        lm.model.layers[0].self_attn.register_forward_hook(keep("layer0_attn")),
        lm.model.layers[0].register_forward_hook(keep("layer0_out")),
        lm.model.norm.register_forward_hook(keep("final_norm")),
    ]
    logits = lm(lm_golden["ids"].long()[None])[0]
    for hook in hooks:
        hook.remove()
    for name, value in taps.items():
        assert_close(value, lm_golden[name], LOGITS_ATOL)
    assert_close(logits, lm_golden["logits"], LOGITS_ATOL)
    assert torch.equal(logits.argmax(-1), lm_golden["logits"].argmax(-1))


@torch.no_grad()
def test_cached_steps(lm: Step1LM, lm_golden: Golden) -> None:
    ids = lm_golden["ids"].long()[None]
    steps = lm_golden["logits_steps"]
    prefill = ids.shape[1] - len(steps)
    cache = lm.new_cache(capacity=4)
    assert_close(lm(ids[:, :prefill], cache)[0, -1:], lm_golden["logits_prefill"], LOGITS_ATOL)
    for index, expected in enumerate(steps):
        logits = lm.next_logits(ids[:, prefill + index, None], cache)[0]
        assert_close(logits, expected, LOGITS_ATOL)
        assert logits.argmax() == expected.argmax()
    keys, values = cache.layer(0)
    assert_close(keys[0].transpose(0, 1), lm_golden["k0"], LOGITS_ATOL)
    assert_close(values[0].transpose(0, 1), lm_golden["v0"], LOGITS_ATOL)


@torch.no_grad()
def test_long_sequence(lm: Step1LM, lm_golden: Golden) -> None:
    expected = lm_golden["long_logits"]
    logits = lm(lm_golden["long_ids"].long()[None])[0, -len(expected) :]
    assert_close(logits, expected, LOGITS_ATOL)
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))


def test_slopes(lm_golden: Golden) -> None:
    names = [name for name in lm_golden.arrays if name.startswith("slopes")]
    assert names
    for name in names:
        assert_close(alibi_slopes(int(name.removeprefix("slopes"))), lm_golden[name], 1e-6)


def test_full_size_keys(fill) -> None:
    """The 291 tensors of the published model, by name and shape, on the meta device."""
    spec = fill.load_spec(str(GOLDEN / "specs" / "lm.real.json"))
    with torch.device("meta"):
        model = Step1LM(config_of(spec))
    assert model.config == Step1Config.release()
    expected = {entry["name"]: tuple(entry["shape"]) for entry in spec["entries"]}
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == expected
    assert len(expected) == spec["n_keys"]
    assert sum(p.numel() for p in model.parameters()) == spec["n_values"]


@pytest.fixture(scope="module")
def rules(golden_dir: Path) -> dict:
    return json.loads((golden_dir / "sampling.json").read_text())


def masked(histories: list[list[int]], size: int = 40) -> list[list[int]]:
    out = mask_repetition_v1(torch.zeros(len(histories), size), torch.tensor(histories))
    return [row.isneginf().nonzero()[:, 0].tolist() for row in out]


def test_repetition_v1(rules: dict) -> None:
    for case in rules["repetition"]:
        assert masked([case["ids"]]) == [case["masked"]], case["ids"]
    batch = rules["repetition_batch"]
    assert masked(batch["ids"]) == batch["masked"]
