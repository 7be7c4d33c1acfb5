from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import assert_close

from stepaudio.errors import CheckpointError
from stepaudio.interfaces import SpeechLM
from stepaudio.lm.alibi import QUERY_BLOCK
from stepaudio.lm.generate import collect
from stepaudio.lm.step1 import RMSNorm, Step1Config, Step1LM
from stepaudio.types import LMSpec, SamplingParams, TokenSpec

ATOL = 2e-5


@pytest.fixture(scope="module")
def lm() -> Step1LM:
    model = Step1LM(Step1Config.debug()).eval()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, 120, shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_release_spec() -> None:
    with torch.device("meta"):
        spec = Step1LM(dataclasses.replace(Step1Config.release(), num_hidden_layers=1)).spec
    assert spec == LMSpec(74752, 65536, TokenSpec(1024, 4096), (3,), 8192)


def test_is_a_speech_lm(lm: Step1LM) -> None:
    assert isinstance(lm, SpeechLM)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": 5}, "5 heads"),
        ({"num_attention_groups": 4}, "4 key/value groups"),
        ({"audio_offset": 100}, "do not fit"),
        ({"end_ids": (85,)}, "not audio"),
        ({"end_ids": (500,)}, "not audio"),
        ({"attention": "flash"}, "'flash'"),
    ],
)
def test_bad_configs(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(Step1Config.debug(), **change)


def test_rms_norm_rounds_the_factor_before_the_weight() -> None:
    norm = RMSNorm(3, 0.0).bfloat16()
    norm.weight.data = torch.tensor([1.0, 3.0, 0.7], dtype=torch.bfloat16)
    x = torch.tensor([[1.1, 2.3, -0.3]], dtype=torch.bfloat16)
    factor = (1 / x.float().square().mean().sqrt()).bfloat16()
    assert torch.equal(norm(x), (x * factor) * norm.weight)
    full = RMSNorm(2, 0.0)
    torch.testing.assert_close(full(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 12.5**0.5)


@pytest.mark.parametrize("length", [3, QUERY_BLOCK + 30])
def test_eager_equals_sdpa_with_gradients(lm: Step1LM, length: int) -> None:
    fused = copy.deepcopy(lm)
    eager = Step1LM(dataclasses.replace(lm.config, attention="eager"))
    eager.load_state_dict(lm.state_dict())
    batch, padding = ids(2, length), torch.tensor([0, 2])
    outputs = [model(batch, padding=padding) for model in (fused, eager)]
    assert_close(outputs[0][0], outputs[1][0], ATOL)
    assert_close(outputs[0][1, 2:], outputs[1][1, 2:], ATOL)
    for output in outputs:
        output[:, 2:].logsumexp(-1).mean().backward()
    for left, right in zip(fused.parameters(), eager.parameters(), strict=True):
        assert left.grad is not None
        assert_close(left.grad, right.grad, ATOL)


def test_generating_does_not_spoil_training() -> None:
    lm = Step1LM(Step1Config.debug())
    streams, _ = collect(lm.generate([ids(6)], SamplingParams(max_new_tokens=5)))
    lm(torch.cat([ids(6), streams[0]])[None]).sum().backward()
    assert lm.lm_head.weight.grad is not None


@torch.no_grad()
def test_left_padded_batch_equals_its_singles(lm: Step1LM) -> None:
    rows = [ids(n) for n in (QUERY_BLOCK + 5, 9, 1)]
    longest = max(map(len, rows))
    padding = torch.tensor([longest - len(row) for row in rows])
    batch = torch.stack([torch.nn.functional.pad(r, (longest - len(r), 0), value=3) for r in rows])
    together = lm(batch, padding=padding)
    assert together.isfinite().all()
    for row, out, head in zip(rows, together, padding.tolist(), strict=True):
        assert_close(out[head:], lm(row[None])[0], ATOL)


@torch.no_grad()
@pytest.mark.parametrize("pieces", [(7, 1, 1, 4), (1, 1, 1), (QUERY_BLOCK, QUERY_BLOCK + 1)])
def test_cached_equals_uncached(lm: Step1LM, pieces: tuple[int, ...]) -> None:
    batch, padding = ids(2, sum(pieces)), torch.tensor([0, pieces[0] - 1])
    cache, parts = lm.new_cache(capacity=2), []
    for index, part in enumerate(batch.split(pieces, dim=1)):
        parts.append(lm(part, cache, padding=None if index else padding))
    whole, joined = lm(batch, padding=padding), torch.cat(parts, dim=1)
    assert cache.length == batch.shape[1]
    assert_close(joined[0], whole[0], ATOL)
    assert_close(joined[1, padding[1] :], whole[1, padding[1] :], ATOL)


@torch.no_grad()
def test_right_padding_changes_nothing_before_it(lm: Step1LM) -> None:
    row = ids(1, 12)
    assert_close(lm(row)[:, :8], lm(row[:, :8]), ATOL)


@torch.no_grad()
def test_padding_after_the_first_call_is_refused(lm: Step1LM) -> None:
    cache = lm.new_cache()
    lm(ids(1, 3), cache)
    with pytest.raises(ValueError, match="first call"):
        lm(ids(1, 1), cache, torch.tensor([1]))


@torch.no_grad()
def test_bfloat16_stays_near(lm: Step1LM) -> None:
    half = copy.deepcopy(lm).bfloat16()
    out, expected = half(ids(1, 20)), lm(ids(1, 20))
    assert out.dtype == torch.bfloat16
    assert (out.float() - expected).abs().mean() < 0.05 * expected.std()


def test_save_and_load(lm: Step1LM, tmp_path: Path) -> None:
    lm.save_pretrained(tmp_path)
    again = Step1LM.from_pretrained(tmp_path)
    assert again.config == lm.config
    assert torch.equal(again(ids(1, 5)), lm(ids(1, 5)))
    (tmp_path / "config.json").write_text('{"num_attention_heads": 7}')
    with pytest.raises(CheckpointError, match="7 heads"):
        Step1LM.from_pretrained(tmp_path)
