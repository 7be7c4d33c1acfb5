from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from conftest import assert_close

from stepaudio.errors import PromptError
from stepaudio.lm.generate import collect
from stepaudio.lm.grouped import GroupedConfig, GroupedLM, clip_to_groups
from stepaudio.lm.step1 import Step1LM
from stepaudio.types import SamplingParams

ATOL = 2e-5


def build(size: int) -> GroupedLM:
    return GroupedLM(dataclasses.replace(GroupedConfig.debug(), group_size=size)).eval()


def codes(batch: int, length: int) -> torch.Tensor:
    return torch.randint(80, 112, (batch, length), generator=torch.Generator().manual_seed(length))


def test_one_code_per_group_is_the_plain_model() -> None:
    grouped = build(1)
    plain = Step1LM(grouped.config.decoder).eval()
    plain.load_state_dict(grouped.state_dict())
    prefix, stream = torch.randint(0, 80, (2, 6)), codes(2, 10)
    logits = plain(torch.cat([prefix, stream], dim=1))[:, 5:]
    assert_close(grouped(prefix, stream)[:, :, 0], logits, 0.0)
    targets = torch.cat([stream, torch.full((2, 1), 3)], dim=1)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert_close(grouped.loss(prefix, stream), loss, 1e-6)
    params = SamplingParams(max_new_tokens=20)
    drawn = [
        collect(m.generate(list(prefix), params, generators=generators))[0]
        for m in (plain, grouped)
        for generators in [[torch.Generator().manual_seed(n) for n in range(2)]]
    ]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_prediction_of_a_group_sees_only_the_groups_before(size: int) -> None:
    lm, prefix = build(size), torch.randint(0, 80, (1, 4))
    stream = codes(1, 3 * size)
    logits = lm(prefix, stream)
    assert logits.shape == (1, 4, size, 120)
    changed = stream.clone()
    changed[:, 2 * size - 1] = 80 + (changed[:, 2 * size - 1] - 79) % 32  # last of group 1
    other = lm(prefix, changed)
    assert torch.equal(logits[:, :2], other[:, :2])
    assert not torch.equal(logits[:, 2:], other[:, 2:])


def test_group_embedding_concatenates_in_order() -> None:
    lm, stream = build(2), codes(1, 4)
    table, matrix = lm.model.embed_tokens.weight, lm.group_embedding.weight
    by_hand = torch.stack([matrix @ table[stream[0, n : n + 2]].flatten() for n in (0, 2)])
    assert_close(lm._embed_groups(stream)[0], by_hand, ATOL)


def test_loss_counts_valid_groups_and_the_end() -> None:
    lm, prefix, stream = build(2), torch.randint(0, 80, (2, 3)), codes(2, 6)
    lm.lm_head.weight.data.zero_()
    assert math.isclose(lm.loss(prefix, stream).item(), math.log(120), rel_tol=1e-5)
    lm = build(2)
    whole = lm.loss(prefix, stream, torch.tensor([6, 2]))
    parts = [lm.loss(prefix[:1], stream[:1]) * 8, lm.loss(prefix[1:], stream[1:, :2]) * 4]
    assert_close(whole, sum(parts) / 12, 1e-5)
    whole.backward()
    assert all(parameter.grad is not None for parameter in lm.parameters())


def test_left_padded_prefix() -> None:
    lm, prefix, stream = build(2), torch.randint(0, 80, (1, 5)), codes(1, 4)
    padded = torch.nn.functional.pad(prefix, (3, 0))
    assert_close(lm(padded, stream, torch.tensor([3])), lm(prefix, stream), ATOL)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_generation_continues_like_the_training_pass(size: int) -> None:
    lm, prefix, stream = build(size), torch.randint(0, 80, (1, 4)), codes(1, 2 * size)
    prompt = torch.cat([prefix, stream[:, :size]], dim=1)
    cache = lm.new_cache()
    with torch.no_grad():
        whole = lm(prefix, stream)[0]
        steps = [lm.next_logits(prompt, cache)[0]]
        steps += [lm.next_logits(stream[:, size + n, None], cache)[0] for n in range(size)]
    assert cache.decoder.length == 6
    expected = torch.cat([whole[1], whole[2, :1]])
    expected[1:size, 3] = float("-inf")  # no end within a group
    finite = expected.isfinite()
    assert torch.equal(torch.stack(steps).isfinite(), finite)
    assert_close(torch.stack(steps)[finite], expected[finite], ATOL)


@pytest.mark.parametrize("size", [2, 5])
def test_batch_draws_what_its_singles_draw(size: int) -> None:
    lm = build(size)
    text = torch.arange(10)
    rows = [text, text[:3], torch.cat([text[:2], codes(1, 11)[0]])]
    params = SamplingParams(max_new_tokens=30, repetition="ras", temperature=1.0)
    together, _ = collect(
        lm.generate(rows, params, generators=[torch.Generator().manual_seed(n) for n in range(3)])
    )
    for n, row in enumerate(rows):
        alone, _ = collect(
            lm.generate([row], params, generators=[torch.Generator().manual_seed(n)])
        )
        assert torch.equal(alone[0], together[n])
        assert len(alone[0]) % 5 == 0


def test_clipping_at_the_start() -> None:
    assert clip_to_groups(torch.arange(7), 3).tolist() == [1, 2, 3, 4, 5, 6]
    assert clip_to_groups(torch.arange(6), 3).tolist() == list(range(6))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="group_size"):
        GroupedConfig(group_size=0)
    with pytest.raises(ValueError, match="cannot be quantized"):
        GroupedConfig(dataclasses.replace(GroupedConfig.debug().decoder, bits=4))
    lm = build(2)
    with pytest.raises(ValueError, match="whole groups"):
        lm(torch.zeros(1, 1, dtype=torch.int64), codes(1, 3))
    with pytest.raises(PromptError, match="less than one group"):
        next(lm.generate([torch.tensor([85])], SamplingParams()))


def test_save_and_load(tmp_path: Path) -> None:
    lm = build(2)
    lm.save_pretrained(tmp_path)
    again = GroupedLM.from_pretrained(tmp_path)
    assert again.config == lm.config
    prefix, stream = torch.randint(0, 80, (1, 4)), codes(1, 4)
    assert torch.equal(again(prefix, stream), lm(prefix, stream))
