from __future__ import annotations

import torch
from conftest import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.decoder.chunking import ChunkPolicy, IdBuffer
from stepaudio.decoder.conformer import ConformerConfig, ConformerEncoder, relative_positions
from stepaudio.decoder.dit import DiT, DiTConfig
from stepaudio.decoder.flow_matching import cosine_schedule, solve, transport_pair
from stepaudio.tokenizers.interleave import regroup_for_decoder
from stepaudio.types import TokenSpec

SMALL = settings(max_examples=25, deadline=None)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@SMALL
@given(steps=st.integers(1, 64))
def test_schedule_rises_from_zero_to_one(steps: int) -> None:
    times = cosine_schedule(steps)
    assert times[0] == 0
    assert abs(times[-1].item() - 1) < 1e-6
    assert (times.diff() > 0).all()


@SMALL
@given(steps=st.integers(1, 16), seed=st.integers(0, 999), midpoint=st.booleans())
def test_straight_paths_are_solved_exactly(steps: int, seed: int, midpoint: bool) -> None:
    generator = seeded(seed)
    data, noise = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    _, target = transport_pair(data, noise, torch.rand(2, generator=generator))
    method = "midpoint" if midpoint else "euler"
    assert_close(solve(lambda x, t: target, noise, cosine_schedule(steps), method), data, 1e-5)


@SMALL
@given(length=st.integers(1, 12), half=st.integers(1, 6))
def test_relative_positions_mirror(length: int, half: int) -> None:
    table = relative_positions(length, 2 * half, like=torch.zeros(1))
    assert table.shape == (2 * length - 1, 2 * half)
    mirrored = table.flip(0)
    assert_close(mirrored[:, 1::2], table[:, 1::2], 1e-6)
    assert_close(mirrored[:, ::2], -table[:, ::2], 1e-6)


@SMALL
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_padding_changes_nothing(lengths: list[int], seed: int) -> None:
    generator = seeded(seed)
    encoder = ConformerEncoder(ConformerConfig.debug()).eval()
    network = DiT(DiTConfig.debug()).eval()
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *network.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        x = torch.randn(len(lengths), max(lengths) + 2, 16, generator=generator)
        mask = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
        together = encoder(x, mask)
        noise, mu, known = (torch.randn(*x.shape[:2], 80, generator=generator) for _ in range(3))
        t, speaker = torch.rand(len(x), generator=generator), torch.ones(len(x), 80)
        velocity = network(noise, t, mu, speaker, known, mask)
        for i, n in enumerate(lengths):
            alone = encoder(x[i : i + 1, :n])[0]
            assert_close(together[i, : 2 * n], alone, 2e-5)
            one = slice(i, i + 1)
            alone = network(noise[one, :n], t[one], mu[one, :n], speaker[one], known[one, :n])[0]
            assert_close(velocity[i, :n], alone, 2e-5)


@SMALL
@given(count=st.integers(1, 400), piece=st.integers(1, 90))
def test_chunks_cover_every_step_once(count: int, piece: int) -> None:
    spec, policy = TokenSpec(), ChunkPolicy()
    ids = torch.randint(spec.size, (count,), generator=seeded(count))
    buffer, chunks = IdBuffer(policy, spec), []
    for part in ids.split(piece):
        buffer.push(part)
        while chunk := buffer.take():
            chunks.append(chunk)
    rest = buffer.rest()
    assert rest is not None
    assert rest.last
    assert buffer.rest() is None
    own = [chunk.pairs[: -policy.lookahead] for chunk in chunks] + [rest.pairs]
    everything = regroup_for_decoder(ids, spec)
    assert torch.equal(torch.cat(own), everything)
    # Every look-ahead is the beginning of what follows.
    start = 0
    for chunk, pairs in zip(chunks, own, strict=False):
        start += len(pairs)
        ahead = chunk.pairs[-policy.lookahead :]
        assert torch.equal(ahead, everything[start : start + policy.lookahead])
    sizes = (*policy.sizes, *[policy.sizes[-1]] * len(chunks))
    assert [len(pairs) for pairs in own[:-1]] == list(sizes[: len(chunks)])
