from __future__ import annotations

import dataclasses

import pytest
import torch

from stepaudio.errors import GenerationError
from stepaudio.lm import sampling
from stepaudio.lm.sampling import sample_next
from stepaudio.types import LMSpec, SamplingParams, TokenSpec

INF = float("inf")
#: Ids 0..9 text with the end at 3, 10..12 linguistic, 13..16 semantic, 17..19 unused.
SPEC = LMSpec(20, 10, TokenSpec(3, 4), (3,), 100)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def sample(logits: torch.Tensor, params: SamplingParams, **changes: object) -> torch.Tensor:
    rows = len(logits)
    arguments = {
        "history": torch.full((rows, 10), -1),
        "generated": torch.zeros(rows, dtype=torch.int64),
        "generators": seeded(*range(rows)),
    }
    return sample_next(logits, params, SPEC, **(arguments | changes))


def test_top_k() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
    assert sampling.keep_top_k(logits, 2).tolist() == [[-INF, 4.0, -INF, 3.0]]
    assert torch.equal(sampling.keep_top_k(logits, 0), logits)
    assert torch.equal(sampling.keep_top_k(logits, 9), logits)


def test_top_p() -> None:
    logits = torch.tensor([[0.125, 0.5, 0.25, 0.125]]).log()

    def kept(p: float) -> list[int]:
        return sampling.keep_top_p(logits, p).isfinite()[0].nonzero()[:, 0].tolist()

    assert kept(0.0) == [1]
    assert kept(0.49) == [1]
    assert kept(0.6) == [1, 2]
    assert kept(0.8) == [0, 1, 2]
    assert kept(1.0) == [0, 1, 2, 3]


def test_grammar_slots() -> None:
    allowed = sampling.grammar_mask(torch.arange(6), SPEC)
    linguistic, semantic = {10, 11, 12}, {13, 14, 15, 16}
    expected = [linguistic | {3}, linguistic, semantic, semantic, semantic, linguistic | {3}]
    assert [set(row.nonzero()[:, 0].tolist()) for row in allowed] == expected


@pytest.mark.parametrize("repetition", ["none", "ras"])
def test_rows_in_different_slots_draw_what_they_draw_alone(repetition: str) -> None:
    generator = torch.Generator().manual_seed(0)
    params = SamplingParams(
        temperature=0.8, top_k=3, top_p=0.9, repetition=repetition, ras_threshold=0.05
    )
    for trial in range(60):
        logits = 3 * torch.randn(2, 20, generator=generator)
        slots = torch.randint(0, 5, (2,), generator=generator)
        history = torch.randint(10, 17, (2, 10), generator=generator)
        both = sample(
            logits, params, generated=slots, history=history, generators=seeded(trial, trial + 99)
        )
        for row, seed in enumerate((trial, trial + 99)):
            one = slice(row, row + 1)
            alone = sample(
                logits[one], params, generated=slots[one], history=history[one],
                generators=seeded(seed),
            )  # fmt: skip
            assert both[row] == alone[0]
            assert sampling.grammar_mask(slots[one], SPEC)[0, alone[0]]


def test_min_new_tokens_forbids_the_end() -> None:
    logits = torch.zeros(2, 20)
    logits[:, 3] = 50.0
    params = SamplingParams(min_new_tokens=10)
    ids = sample(logits, params, generated=torch.tensor([5, 10]))
    assert ids[0] != 3
    assert ids[1] == 3


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log().repeat(3, 1)
    generators = seeded(1, 2, 3)
    uniform = [torch.rand(1, dtype=torch.float64, generator=g).item() for g in seeded(1, 2, 3)]
    expected = [0 if u < 0.5 else 2 if u < 0.75 else 3 for u in uniform]
    assert sampling.draw(logits, generators).tolist() == expected


def test_draw_follows_the_distribution() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.0, 0.7])
    (generator,) = seeded(0)
    ids = sampling.draw(probabilities.log().repeat(4000, 1), [generator] * 4000)
    torch.testing.assert_close(ids.bincount(minlength=4) / 4000, probabilities, atol=0.03, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), INF])
def test_unusable_logits(bad: float, temperature: float) -> None:
    logits = torch.zeros(1, 20)
    logits[0, 11] = bad
    with pytest.raises(GenerationError, match="finite"):
        sample(logits, SamplingParams(temperature=temperature))


def test_repetition_ratio_readings() -> None:
    history = torch.tensor([[-1, -1, 7, 5, 5, 6, 6, 6, 6, 9], [7] * 10])
    ratio = sampling.repetition_ratio(torch.tensor([7, 7]), history, 10)
    assert ratio.tolist() == [0.1, 1.0]
    literal = sampling.repetition_ratio(torch.tensor([7, 7]), history, 10, count_self=True)
    assert literal.tolist() == [0.2, 1.1]
    assert sampling.repetition_ratio(torch.tensor([7]), history[:1], 5).tolist() == [0.0]


@pytest.mark.parametrize(
    ("matches", "count_self", "fires"), [(1, False, False), (2, False, True), (1, True, True)]
)
def test_ras_redraws_from_the_whole_distribution(
    matches: int, count_self: bool, fires: bool
) -> None:
    # top_p=0 always proposes id 10; only a redraw can give anything else.
    logits = torch.full((200, 20), -INF)
    logits[:, 10], logits[:, 11] = 0.1, 0.0
    history = torch.full((200, 10), 12)
    history[:, 2 : 2 + matches] = 10
    params = SamplingParams(temperature=1.0, top_p=0.0, repetition="ras", ras_count_self=count_self)
    ids = sample(logits, params, history=history, generators=seeded(*range(200)))
    assert set(ids.tolist()) == ({10, 11} if fires else {10})


def test_initial_history() -> None:
    prompt = torch.tensor([1, 10, 2, 16, 17, 13, 4])
    ras = SamplingParams(repetition="ras", ras_window=4)
    assert sampling.initial_history(prompt, ras, SPEC).tolist() == [-1, 10, 16, 13]
    first = SamplingParams(repetition="published_v1")
    expected = [-1, -1, -1, 1, 10, 2, 16, 17, 13, 4]
    assert sampling.initial_history(prompt, first, SPEC).tolist() == expected


def test_published_presets() -> None:
    first, second = sampling.published_v1(), sampling.published_v2()
    assert (first.temperature, first.top_k, first.repetition) == (0.7, 50, "published_v1")
    assert (second.temperature, second.top_k, second.repetition) == (0.7, 0, "none")
    assert not first.constrain
    assert not second.constrain


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1e6])
def test_any_usable_temperature_draws(temperature: float) -> None:
    params = SamplingParams(temperature=temperature)
    sampling.check_sampling(params)
    logits = 1e4 * torch.randn(1, 20, generator=torch.Generator().manual_seed(0))
    drawn = int(sample(logits, params)[0])
    assert drawn in (3, 10, 11, 12)
    assert temperature > 1 or drawn == int(sample(logits, SamplingParams(temperature=0.0))[0])


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1.0},
        {"temperature": INF},
        {"temperature": float("nan")},
        {"temperature": 1e-40},
        {"top_k": -1},
        {"top_p": 1.5},
        {"repetition": "often"},
        {"ras_window": 0},
        {"ras_threshold": -0.1},
        {"max_new_tokens": 0},
        {"min_new_tokens": -1},
    ],
)
def test_nonsense_is_refused_by_name(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        sampling.check_sampling(dataclasses.replace(SamplingParams(), **change))
