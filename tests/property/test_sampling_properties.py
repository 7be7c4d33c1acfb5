from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.lm.generate import collect, generate
from stepaudio.lm.sampling import draw, keep_top_k, keep_top_p, sample_next
from stepaudio.types import LMSpec, SamplingParams, TokenSpec

SPEC = LMSpec(24, 10, TokenSpec(4, 6), (2, 3), 200)
seeds = st.integers(0, 2**31 - 1)
rules = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.01, 0.7, 1.0, 5.0]),
    top_k=st.integers(0, 30),
    top_p=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    repetition=st.sampled_from(["none", "ras", "published_v1"]),
    ras_window=st.integers(1, 12),
    ras_threshold=st.sampled_from([0.0, 0.1, 2.0]),
    ras_count_self=st.booleans(),
    max_new_tokens=st.integers(5, 37),
    min_new_tokens=st.integers(0, 20),
)


class Noise:
    """A model whose logits are arbitrary, including impossible ids."""

    spec = SPEC

    def __init__(self, seed: int, scale: float) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.scale = scale

    def new_cache(self, capacity: int) -> Noise:
        return self

    def select(self, rows: torch.Tensor) -> None:
        pass

    def next_logits(self, ids, cache, padding=None) -> torch.Tensor:
        return self.scale * torch.randn(len(ids), SPEC.vocab_size, generator=self.generator)


def generators(seed: int, rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(rows)]


@settings(deadline=None, max_examples=80)
@given(seed=seeds, params=rules, scale=st.sampled_from([0.0, 1.0, 50.0, 1e30]))
def test_any_stream_is_valid_whatever_the_logits(
    seed: int, params: SamplingParams, scale: float
) -> None:
    prompts = [torch.arange(1, n) for n in (2, 5, 20)]
    streams, reasons = collect(
        generate(Noise(seed, scale), prompts, params, generators=generators(seed, 3))
    )
    for stream, reason in zip(streams, reasons, strict=True):
        assert reason in ("end", "length")
        assert len(stream) % 5 == 0
        assert len(stream) <= params.max_new_tokens
        assert reason == "length" or len(stream) >= params.min_new_tokens
        units = stream.view(-1, 5)
        assert ((units[:, :2] >= 10) & (units[:, :2] < 14)).all()
        assert ((units[:, 2:] >= 14) & (units[:, 2:] < 20)).all()


@settings(deadline=None, max_examples=80)
@given(seed=seeds, window=st.integers(1, 10), top_p=st.sampled_from([0.0, 0.5, 1.0]))
def test_ras_out_of_reach_is_plain_sampling(seed: int, window: int, top_p: float) -> None:
    logits = torch.randn(4, 24, generator=torch.Generator().manual_seed(seed))
    history = torch.randint(10, 20, (4, 10), generator=torch.Generator().manual_seed(seed))
    plain, ras = generators(seed, 4), generators(seed, 4)
    ids = [
        sample_next(
            logits,
            SamplingParams(
                top_p=top_p,
                repetition=rule,
                ras_window=window,
                ras_threshold=(1 + window) / window,
                ras_count_self=True,
            ),
            SPEC,
            history=history,
            generated=torch.arange(4),
            generators=drawers,
        )
        for rule, drawers in (("none", plain), ("ras", ras))
    ]
    assert torch.equal(*ids)
    assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(plain, ras, strict=True))


@settings(deadline=None, max_examples=80)
@given(seed=seeds, k=st.integers(1, 24), p=st.floats(0, 1))
def test_filters_only_forbid_and_keep_the_best(seed: int, k: int, p: float) -> None:
    logits = torch.randn(3, 24, generator=torch.Generator().manual_seed(seed))
    for kept in (keep_top_k(logits, k), keep_top_p(logits, p)):
        allowed = kept.isfinite()
        assert torch.equal(kept[allowed], logits[allowed])
        assert allowed.gather(1, logits.argmax(-1, keepdim=True)).all()
        rejected = logits.masked_fill(allowed, float("-inf")).amax(-1)
        assert (rejected <= kept.masked_fill(~allowed, float("inf")).amin(-1)).all()
    assert (keep_top_k(logits, k).isfinite().sum(-1) == k).all()
    mass = logits.softmax(-1).masked_fill(~keep_top_p(logits, p).isfinite(), 0).sum(-1)
    assert (mass >= p - 1e-5).all()


@settings(deadline=None, max_examples=80)
@given(
    seed=seeds, p=st.floats(0, 1, exclude_max=True), sharpness=st.sampled_from([0.01, 1.0, 8.0]),
    equal=st.booleans(), forbidden=st.sampled_from([0.0, 0.5, 0.9]),
)  # fmt: skip
def test_a_nucleus_among_the_most_likely_is_the_one_of_all(
    seed: int, p: float, sharpness: float, equal: bool, forbidden: float
) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(3, 600, generator=source)
    if equal:
        logits = logits.round()
    logits[:, 1:][torch.rand(3, 599, generator=source) < forbidden] = float("-inf")
    kept = keep_top_p(logits, p).isfinite()
    for row, found in zip(logits, kept, strict=True):
        order = row.argsort(descending=True, stable=True)
        mass = row.softmax(-1)[order]
        wanted = mass.cumsum(-1) - mass < p
        wanted[0] = True
        # Not those without mass, which the last rounding may leave below p.
        assert torch.equal(found[order], wanted & row[order].isfinite())


@settings(deadline=None, max_examples=80)
@given(seed=seeds, rows=st.integers(1, 4))
def test_draws_are_possible_and_rows_independent(seed: int, rows: int) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 24, generator=source) * 20
    logits = logits.masked_fill(torch.rand(rows, 24, generator=source) < 0.8, float("-inf"))
    logits[:, 7] = 0.0
    ids = draw(logits, generators(seed, rows))
    assert logits.gather(1, ids[:, None]).isfinite().all()
    for row in range(rows):
        alone = draw(logits[row : row + 1], generators(seed, rows)[row : row + 1])
        assert alone[0] == ids[row]
