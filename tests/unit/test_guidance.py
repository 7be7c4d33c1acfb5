"""Guided generation against the formula, written out by hand from whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stepaudio.errors import PromptError
from stepaudio.lm.cache import KVCache
from stepaudio.lm.generate import collect, generate
from stepaudio.lm.grouped import GroupedConfig, GroupedLM
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.types import Contrast, SamplingParams

GREEDY = SamplingParams(constrain=False, temperature=0.0, max_new_tokens=6)
DRAWN = SamplingParams(constrain=False, temperature=1.0, top_p=0.9, max_new_tokens=6)


@pytest.fixture(scope="module")
def lm() -> Step1LM:
    torch.manual_seed(0)
    lm = Step1LM(Step1Config.debug()).eval()
    with torch.no_grad():
        # Random weights say nearly the same after every prompt.
        lm.lm_head.weight.mul_(30)
    return lm


def ids(lm: Step1LM, *lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = lm.config.vocab_size
    return [torch.randint(0, size, (length,), generator=generator) for length in lengths]


def by_hand(lm: Step1LM, prompt: Tensor, contrasts: Sequence[Contrast], count: int) -> list[int]:
    """Greedy ids by the formula, everything read anew for each."""
    new: list[int] = []
    for _ in range(count):
        said = torch.tensor(new, dtype=torch.int64)
        with torch.no_grad():
            asked, *away = (
                lm(torch.cat([p, said])[None])[0, -1].log_softmax(-1)
                for p in (prompt, *(c.prompt for c in contrasts))
            )
        guided = asked.clone()
        for contrast, other in zip(contrasts, away, strict=True):
            guided += contrast.weight * (asked - other)
        new.append(int(guided.argmax()))
    return new


def run(
    lm: Step1LM,
    prompts: list[Tensor],
    contrasts: list[list[Contrast]] | None,
    sampling: SamplingParams = GREEDY,
    seeds: Sequence[int] | None = None,
) -> list[list[int]]:
    numbers = [5 + len(p) for p in prompts] if seeds is None else seeds
    generators = [torch.Generator().manual_seed(number) for number in numbers]
    found, _ = collect(generate(lm, prompts, sampling, generators=generators, contrasts=contrasts))
    return [stream.tolist() for stream in found]


def test_it_is_the_formula(lm: Step1LM) -> None:
    """Of prompts and contrasts of all lengths, none, one or two of them to each."""
    one, two, three, *others = ids(lm, 9, 5, 7, 4, 8, 9)
    contrasts = [
        [Contrast(others[0], 0.7), Contrast(others[1], 1.5)],
        [],
        [Contrast(others[2], 2.0)],
    ]
    prompts = [one, two, three]
    guided = run(lm, prompts, contrasts)
    for prompt, mine, new in zip(prompts, contrasts, guided, strict=True):
        assert new == by_hand(lm, prompt, mine, len(new))
        assert len(new) == 6 or new == run(lm, [prompt], [mine])[0]
    plain = run(lm, prompts, None)
    assert guided[1] == plain[1]
    assert guided[0] != plain[0]
    assert guided[2] != plain[2]


def test_a_batch_draws_what_its_singles_draw(lm: Step1LM) -> None:
    """Also several draws of one prompt, which is read once."""
    one, two, away, other = ids(lm, 9, 5, 6, 7)
    mine = [[Contrast(away, 1.0)], [Contrast(other, 0.5), Contrast(away, 0.5)], []]
    prompts = [one, two, two.flip(0)]
    together = run(lm, prompts, mine, DRAWN)
    assert together == [run(lm, [p], [m], DRAWN)[0] for p, m in zip(prompts, mine, strict=True)]
    assert run(lm, [one, two, one], [mine[0], mine[1], mine[0]], DRAWN) == [
        together[0], together[1], together[0],
    ]  # fmt: skip


def test_samples_that_share_a_prompt_keep_their_own_contrasts(lm: Step1LM) -> None:
    prompt, one, two = ids(lm, 9, 6, 7)
    guides = [[Contrast(one, 4.0)], [Contrast(two, 4.0)], [], [Contrast(one, 1.0)]]
    alone = [run(lm, [prompt], [mine], DRAWN, [3])[0] for mine in guides]
    assert len({tuple(stream) for stream in alone}) == 4
    for chosen in ([0, 1], [0, 2], [2, 0], [3, 1, 0, 2, 1]):
        batch = run(
            lm, [prompt] * len(chosen), [guides[i] for i in chosen], DRAWN, [3] * len(chosen)
        )
        assert batch == [alone[i] for i in chosen]


def test_what_is_equal_is_read_once(lm: Step1LM, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, one, two = ids(lm, 9, 6, 7)
    sizes: list[int] = []
    next_logits = lm.next_logits

    def watched(inputs: Tensor, *others: Any) -> Tensor:
        sizes.append(len(inputs))
        return next_logits(inputs, *others)

    monkeypatch.setattr(lm, "next_logits", watched)
    guides = [[Contrast(c.clone(), 1.0)] for c in (one, two, one, one)]
    run(lm, [prompt] * 4, guides, replace(DRAWN, max_new_tokens=2))
    # Two prompts that differ in what they are kept away from, and two contrasts.
    assert sizes[:2] == [2, 2]


def test_what_says_the_same_guides_nowhere(lm: Step1LM) -> None:
    (prompt,) = ids(lm, 9)
    assert run(lm, [prompt], [[Contrast(prompt, 3.0)]]) == run(lm, [prompt], None)
    assert run(lm, [prompt], [[]]) == run(lm, [prompt], None)


def test_a_grouped_model_is_guided_too() -> None:
    torch.manual_seed(2)
    lm = GroupedLM(GroupedConfig.debug()).eval()
    spec = lm.spec
    text, other = torch.arange(1, 6), torch.arange(4, 12)
    sampling = SamplingParams(temperature=0.0, max_new_tokens=2 * spec.tokens.unit_length)
    plain, _ = collect(generate(lm, [text], sampling))
    same, _ = collect(generate(lm, [text], sampling, contrasts=[[Contrast(text, 2.0)]]))
    guided, _ = collect(generate(lm, [text], sampling, contrasts=[[Contrast(other, 50.0)]]))
    assert same[0].tolist() == plain[0].tolist() != guided[0].tolist()


def test_a_contrast_that_does_not_fit_is_refused(lm: Step1LM) -> None:
    prompt, long = ids(lm, 4, lm.spec.context_length)
    with pytest.raises(
        PromptError, match=r"contrast 1 of prompt 0 has 512 ids.*nothing can follow"
    ):
        run(lm, [prompt], [[Contrast(prompt, 1.0), Contrast(long, 1.0)]])
    with pytest.raises(PromptError, match="contrast 0 of prompt 1 must be"):
        run(lm, [prompt, prompt], [[], [Contrast(prompt[:0], 1.0)]])


def test_contrasts_end_at_the_context_too(lm: Step1LM, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, long = ids(lm, 10, 500)
    caches: list[KVCache] = []
    new_cache = lm.new_cache
    monkeypatch.setattr(
        lm, "new_cache", lambda size: (caches.append(new_cache(size)), caches[-1])[1]
    )
    sampling = SamplingParams(temperature=1.0, max_new_tokens=400, min_new_tokens=400)
    found, reasons = collect(
        generate(lm, [prompt, prompt], sampling, contrasts=[[Contrast(long, 1.0)], []])
    )
    # Of the whole units that are left, each without its last id, which is not read.
    assert [len(stream) for stream in found] == [10, 400]
    assert reasons == ["length", "length"]
    assert [cache.length for cache in caches] == [409, 509]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_above_0_and_finite(lm: Step1LM, weight: float) -> None:
    prompt, away = ids(lm, 4, 5)
    with pytest.raises(PromptError, match="contrast 0 of prompt 0 has the weight"):
        run(lm, [prompt], [[Contrast(away, weight)]])


def test_every_prompt_has_a_list_of_contrasts(lm: Step1LM) -> None:
    prompt, away = ids(lm, 4, 5)
    for lists in ([], [[Contrast(away, 1.0)]], [[], [], []]):
        with pytest.raises(PromptError, match=f"2 prompts need .*, got {len(lists)}"):
            run(lm, [prompt, prompt], lists)
