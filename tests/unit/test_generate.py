from __future__ import annotations

import pytest
import torch

from stepaudio.errors import PromptError
from stepaudio.lm.generate import collect, generate
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.types import LMSpec, SamplingParams, TokenSpec

FREE = SamplingParams(constrain=False, temperature=0.0, max_new_tokens=8)


class Counting:
    """Says last id + 1, whatever the temperature; id 9 is the end."""

    spec = LMSpec(40, 20, TokenSpec(5, 6), (9,), 16)

    def new_cache(self, capacity: int) -> Counting:
        self.sizes: list[int] = []
        return self

    def select(self, rows: torch.Tensor) -> None:
        assert len(rows)

    def next_logits(self, ids, cache, padding=None) -> torch.Tensor:
        self.sizes.append(len(ids))
        return 100.0 * torch.nn.functional.one_hot(ids[:, -1] + 1, 40).float()


def prompts(*rows: list[int]) -> list[torch.Tensor]:
    return [torch.tensor(row) for row in rows]


def test_streams_end_and_length() -> None:
    model = Counting()
    steps = list(generate(model, prompts([7], [1, 2, 6], [10]), FREE))
    streams, reasons = collect(steps)
    assert [s.tolist() for s in streams] == [[8], [7, 8], list(range(11, 19))]
    assert reasons == ["end", "end", "length"]
    assert steps[1].active.tolist() == [False, True, True]
    assert steps[1].stop_reasons == ("end", "running", "running")
    assert model.sizes == [3, 3, 2, 1, 1, 1, 1, 1]  # finished samples leave the batch


def test_context_length_stops() -> None:
    streams, reasons = collect(generate(Counting(), prompts([0] * 13 + [10]), FREE))
    assert streams[0].tolist() == [11, 12]
    assert reasons == ["length"]


def test_cancel() -> None:
    answers = iter([False, False, True])
    steps = list(generate(Counting(), prompts([1], [8]), FREE, cancel=lambda: next(answers)))
    assert len(steps) == 3
    assert steps[-1].stop_reasons == ("cancelled", "end")
    assert not steps[-1].active.any()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (torch.zeros(0, dtype=torch.int64), "prompt 1 must be"),
        (torch.zeros(1, 2, dtype=torch.int64), "prompt 1 must be"),
        (torch.tensor([0.5]), "prompt 1 must be"),
        (torch.tensor([40]), "prompt 1 has ids outside"),
        (torch.zeros(16, dtype=torch.int64), "prompt 1 has 16 ids"),
    ],
)
def test_bad_prompts_are_refused_at_once(prompt: torch.Tensor, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        generate(Counting(), [torch.tensor([1]), prompt], FREE)


def test_room_for_less_than_a_unit_is_refused() -> None:
    with pytest.raises(PromptError, match="nothing can follow"):
        generate(Counting(), prompts([1] * 12), SamplingParams())


def test_generators_are_counted() -> None:
    with pytest.raises(ValueError, match="2 prompts"):
        generate(Counting(), prompts([1], [2]), FREE, generators=[torch.Generator()])


def test_no_prompts() -> None:
    assert collect(generate(Counting(), [], FREE)) == ([], [])


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_new_tokens=33, temperature=1.0),
        SamplingParams(max_new_tokens=33, repetition="ras", top_p=0.8, temperature=1.0),
        SamplingParams(max_new_tokens=33, repetition="published_v1", top_k=5, constrain=False),
    ],
)
def test_batch_draws_what_its_singles_draw(params: SamplingParams) -> None:
    lm = Step1LM(Step1Config.debug()).eval()
    fixed = torch.Generator().manual_seed(5)
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=fixed)
    rows = [torch.randint(0, 120, (n,), generator=fixed) for n in (3, 40, 1, 17)]
    generators = [torch.Generator().manual_seed(n) for n in range(4)]
    together, reasons = collect(lm.generate(rows, params, generators=generators))
    assert "length" in reasons
    for n, row in enumerate(rows):
        alone, reason = collect(
            lm.generate([row], params, generators=[torch.Generator().manual_seed(n)])
        )
        assert torch.equal(alone[0], together[n])
        assert reason == [reasons[n]]
        assert not params.constrain or len(alone[0]) % 5 == 0


def test_tokens_come_one_by_one() -> None:
    steps = Step1LM(Step1Config.debug()).generate([torch.tensor([5])], SamplingParams())
    step = next(steps)
    assert step.ids.shape == step.active.shape == (1,)
    assert not step.ids.is_inference()
