"""Asking a server piece by piece draws what our own sampler draws: whole distributions compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stepaudio.errors import NotServedError, ServerError
from stepaudio.lm.remote_sampling import Ask, Writer, check_servable
from stepaudio.lm.sampling import (
    initial_history,
    keep_top_k,
    keep_top_p,
    published_v1,
    published_v2,
    repetition_ratio,
    restrict,
)
from stepaudio.types import LMSpec, SamplingParams, TokenSpec

# 2 text ids, of which 1 is the end, 3 linguistic and 4 semantic codes.
SPEC = LMSpec(9, 2, TokenSpec(3, 4), (1,), 512)
UNIT = [2, 3, 5, 6, 7]
# The prompt's codes count as history of the repetition rule.
PROMPT = torch.tensor([0, 2, 2, 5, 5, 6, 4, 4])
PLAIN = SamplingParams(temperature=0.8, max_new_tokens=50)
RULES = {
    "temperature": PLAIN,
    "greedy": replace(PLAIN, temperature=0.0, top_k=2),
    "top-k": replace(PLAIN, top_k=3),
    "top-p": replace(PLAIN, top_p=0.6),
    "repetition": replace(PLAIN, repetition="ras", ras_window=8),
    "repetition, literally": replace(PLAIN, repetition="ras", ras_window=8, ras_count_self=True),
    "repetition, top-p": replace(PLAIN, repetition="ras", ras_window=8, top_p=0.5),
    "repetition, most likely first": replace(PLAIN, repetition="ras", ras_window=8, top_p=0.0),
    "no grammar": replace(PLAIN, constrain=False),
    "no grammar, repetition": replace(PLAIN, constrain=False, repetition="ras", ras_window=8),
    "no early end": replace(PLAIN, min_new_tokens=12),
}


def writer(params: SamplingParams, written: list[int]) -> Writer:
    made = Writer(PROMPT, 50, params, SPEC, torch.Generator().manual_seed(0))
    # What a server drew so far, whatever the repetition rule says to it: history as it is.
    made.written += written
    made._history = initial_history(
        torch.cat([PROMPT, torch.tensor(written)]), params, SPEC
    ).tolist()
    return made


def server(ask: Ask, logits: Tensor) -> Tensor:
    """Probabilities with which a server draws the first id of a request."""
    allowed = torch.full_like(logits, float("-inf"))
    allowed[list(range(SPEC.vocab_size)) if ask.allowed is None else list(ask.allowed)] = 0
    logits = (logits + allowed)[None]
    if ask.minimum:
        logits[:, list(SPEC.end_ids)] = float("-inf")
    if ask.temperature == 0:
        return torch.nn.functional.one_hot(logits[0].argmax(), SPEC.vocab_size).double()
    logits = keep_top_p(keep_top_k(logits / ask.temperature, ask.top_k), ask.top_p)
    return logits[0].double().softmax(-1)


def asked(params: SamplingParams, written: list[int], logits: Tensor) -> Tensor:
    """Distribution of the next id that counts, over everything the server may answer."""
    total = torch.zeros(SPEC.vocab_size, dtype=torch.float64)

    def follow(answers: list[int], share: float) -> None:
        one = writer(params, written)
        for answer in answers:
            one.ask()
            assert one.take(answer) == "redraw"
        chances = server(one.ask(), logits) * share
        for token in chances.nonzero()[:, 0].tolist():
            again = writer(params, written)
            for answer in [*answers, token]:
                again.ask()
                verdict = again.take(answer)
            if verdict == "redraw":
                follow([*answers, token], float(chances[token]))
            else:
                assert (verdict == "end") == (token in SPEC.end_ids)
                total[token] += chances[token]

    follow([], 1.0)
    return total


def local(params: SamplingParams, written: list[int], logits: Tensor) -> Tensor:
    """The same of our own sampler, by its definition."""
    count = torch.tensor([len(written)])
    left = restrict(logits[None], params, SPEC, count)
    if params.temperature == 0:
        return torch.nn.functional.one_hot(left[0].argmax(), SPEC.vocab_size).double()
    whole = left / params.temperature
    cut = keep_top_p(keep_top_k(whole, params.top_k), params.top_p)[0].double().softmax(-1)
    if params.repetition != "ras":
        return cut
    history = initial_history(torch.cat([PROMPT, torch.tensor(written)]), params, SPEC)[None]
    ids = torch.arange(SPEC.vocab_size)
    share = repetition_ratio(
        ids,
        history.expand(SPEC.vocab_size, -1),
        params.ras_window,
        count_self=params.ras_count_self,
    )
    bad = share > params.ras_threshold
    return cut * ~bad + (cut * bad).sum() * whole[0].double().softmax(-1)


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("rule", RULES)
def test_the_distribution_is_ours(rule: str, position: int) -> None:
    written = (UNIT + UNIT)[:position]
    for seed in range(3):
        logits = 2 * torch.randn(SPEC.vocab_size, generator=torch.Generator().manual_seed(seed))
        expected = local(RULES[rule], written, logits)
        found = asked(RULES[rule], written, logits)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_one_request_while_the_rules_are_kept() -> None:
    one = Writer(PROMPT, 10, PLAIN, SPEC, torch.Generator())
    ask = one.ask()
    assert (ask.ids, ask.count) == (tuple(PROMPT.tolist()), 10)
    assert ask.allowed == (1, 2, 3, 4, 5, 6, 7, 8)
    assert [one.take(token) for token in UNIT] == ["kept"] * 5
    assert one.take(5) == "redraw"  # a semantic code where a linguistic one or the end belongs
    ask = one.ask()
    assert (ask.ids[-5:], ask.count, ask.allowed) == (tuple(UNIT), 1, (1, 2, 3, 4))
    assert one.take(2) == "kept"
    assert one.ask().count == 4


def test_cut_distributions_take_a_request_per_stretch_of_like_slots() -> None:
    one = Writer(PROMPT, 10, replace(PLAIN, top_p=0.9, min_new_tokens=4), SPEC, torch.Generator())
    counts = []
    for token in UNIT:
        ask = one.ask()
        counts.append((ask.count, ask.allowed, ask.minimum))
        assert one.take(token) == "kept"
    semantic = (5, 6, 7, 8)
    assert counts[0] == (1, (1, 2, 3, 4), 1)
    assert counts[1] == (1, (2, 3, 4), 1)
    assert counts[2:] == [(3, semantic, 2), (2, semantic, 1), (1, semantic, 0)]


def test_what_replaces_a_repetition_is_drawn_from_the_whole_distribution() -> None:
    params = replace(PLAIN, repetition="ras", ras_window=8, top_k=1, top_p=0.3)
    one = Writer(PROMPT, 10, params, SPEC, torch.Generator())
    assert (one.ask().top_k, one.ask().top_p) == (1, 0.3)
    assert one.take(4) == "redraw"
    ask = one.ask()
    assert (ask.top_k, ask.top_p, ask.temperature, ask.count) == (0, 1.0, 0.8, 1)
    assert one.take(4) == "kept"  # drawn twice, it stays


def test_ids_that_nobody_asked_for_are_refused() -> None:
    one = Writer(PROMPT, 10, replace(PLAIN, top_k=2), SPEC, torch.Generator())
    one.ask()
    with pytest.raises(ServerError, match="allowed_token_ids"):
        one.take(7)
    with pytest.raises(ServerError, match="same model"):
        one.take(9)
    early = Writer(PROMPT, 10, replace(PLAIN, min_new_tokens=1), SPEC, torch.Generator())
    early.ask()
    with pytest.raises(ServerError, match="min_tokens"):
        early.take(1)


def test_what_a_server_cannot_do_is_refused() -> None:
    check_servable(published_v2())
    with pytest.raises(NotServedError, match="published_v1"):
        check_servable(published_v1())
    with pytest.raises(NotServedError, match=r"0\.005"):
        check_servable(replace(PLAIN, temperature=0.005))
