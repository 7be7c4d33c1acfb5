from __future__ import annotations

import pytest
import torch
from conftest import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from training_debug import SPEC, answer, debug_lm, prompt

from stepaudio.errors import DataError
from stepaudio.lm.alibi import QUERY_BLOCK
from stepaudio.rl.dpo import answer_sums
from stepaudio.seeds import seeded
from stepaudio.training.language_model import AnswerLogProbs
from stepaudio.training.packing import LazyBatches, pack, plan_packs


def texts(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = seeded(3, "texts")
    return [
        (torch.tensor(prompt(draw)), torch.tensor(answer(1 + 20 * (i % 3), draw)))
        for i in range(count)
    ]


def test_a_pack_by_hand() -> None:
    packed = pack(
        [
            (torch.tensor([1, 2]), torch.tensor([7, 8, 3])),
            (torch.tensor([4]), torch.tensor([9])),
        ]
    )
    assert packed.ids.tolist() == [[1, 2, 7, 8, 3, 4, 9]]
    assert packed.documents == (5, 2)
    # Position 1 holds id 2 and predicts 7; position 5 holds id 4 and predicts 9.
    assert packed.places.tolist() == [1, 2, 3, 5]
    assert packed.targets.tolist() == [7, 8, 3, 9]
    assert packed.owners.tolist() == [0, 0, 0, 1]
    assert packed.ends.tolist() == [4, 6]


@pytest.mark.parametrize("eager", [False, True])
def test_packed_is_unpacked(eager: bool) -> None:
    """No text hears another, forwards or backwards, and long ones are cut into query blocks."""
    lm = debug_lm()
    for layer in lm.model.layers:
        layer.self_attn.eager = eager  # type: ignore[union-attr]
    model, several = AnswerLogProbs(lm), texts(6)
    draw = seeded(4, "long")
    several.append((torch.tensor([1, 2]), torch.tensor(answer(QUERY_BLOCK // 5 + 3, draw))))
    together = model(pack(several))
    together.sum().backward()
    gradient = lm.model.embed_tokens.weight.grad
    assert gradient is not None
    lm.model.embed_tokens.weight.grad = None
    alone = [model(pack([text])) for text in several]
    torch.cat(alone).sum().backward()
    assert_close(together, torch.cat(alone), 2e-5)
    assert_close(lm.model.embed_tokens.weight.grad, gradient, 2e-4)


def test_log_probs_are_those_of_the_model() -> None:
    lm = debug_lm()
    (text,) = texts(1)
    ids = torch.cat(text)[None]
    wanted = lm(ids[:, :-1]).log_softmax(-1)[0, len(text[0]) - 1 :]
    wanted = wanted.gather(1, text[1][:, None])[:, 0]
    packed = pack([text, text])
    found = AnswerLogProbs(lm)(packed)
    assert_close(found, torch.cat([wanted, wanted]), 2e-5)
    assert_close(answer_sums(found, packed), wanted.sum().expand(2), 2e-4)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=80),
    spare=st.integers(0, 60),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_every_row_is_in_one_pack_that_holds_it(lengths: list[int], spare: int, seed: int) -> None:
    capacity = max(lengths) + spare
    packs = plan_packs(lengths, capacity, seeded(seed, "a"))
    assert sorted(row for rows in packs for row in rows) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in rows) <= capacity for rows in packs)
    assert packs == plan_packs(lengths, capacity, seeded(seed, "a"))


def test_packs_are_full_and_shuffled() -> None:
    lengths = [5 + i % 40 for i in range(400)]
    packs = plan_packs(lengths, 100, seeded(0, "a"))
    assert len(packs) <= 1.03 * sum(lengths) / 100 + 1
    assert packs != plan_packs(lengths, 100, seeded(1, "a"))


def test_a_row_no_pack_holds_is_named() -> None:
    with pytest.raises(DataError, match="row 2 has 9 tokens but a pack holds 8"):
        plan_packs([3, 9], 8, seeded(0, "a"))


def test_lazy_batches_make_only_what_is_asked_for() -> None:
    made: list[int] = []
    batches = LazyBatches(5, lambda number: made.append(number) or number)  # type: ignore[func-returns-value]
    assert (len(batches), batches[-1], batches[1:3]) == (5, 4, [1, 2])
    assert made == [4, 1, 2]
    with pytest.raises(IndexError):
        batches[5]


def test_end_ids_are_no_audio() -> None:
    """The debug rows end with an id that is counted as an answer token but not as audio."""
    assert answer(2, seeded(0, "a"))[-1] < SPEC.audio_offset
