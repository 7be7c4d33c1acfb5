"""Laws of the linguistic tokenizer: lengths, and independence from what shares a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.tokenizers import linguistic
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer, code_count
from stepaudio.tokenizers.sanm import SANMConfig, SANMEncoder


def streamed_count(samples):
    """Codes counted by a front end that is fed 3840 samples at a time, the last piece rest."""
    waiting, stacks, codes = 0, 3, 0  # samples and frames not yet used up
    pieces = [3840] * (samples // 3840) + [samples % 3840]
    for number, piece in enumerate(pieces):
        waiting += piece
        frames = max(0, (waiting - 400) // 160 + 1)
        waiting -= 160 * frames
        stacks += frames
        if number < len(pieces) - 1:
            made = (stacks - 7) // 6 + 1
        else:
            made = -(-(stacks - 3) // 6) if stacks >= 7 else 0
        codes += made
        stacks -= 6 * made
    return codes


@given(samples=st.integers(0, 200_000))
def test_length_law(samples):
    assert code_count(samples) == streamed_count(samples)


@pytest.mark.parametrize(
    ("samples", "codes"),
    [(0, 0), (879, 0), (880, 1), (3840, 4), (4719, 4), (4720, 5), (16000, 16), (160000, 167)],
)
def test_lengths_by_hand(samples, codes):
    assert code_count(samples) == codes


@given(a=st.integers(0, 100_000), b=st.integers(0, 100_000))
def test_longer_never_gives_fewer_codes(a, b):
    assert code_count(min(a, b)) <= code_count(max(a, b))


@pytest.fixture(scope="module")
def tokenizer():
    generator = torch.Generator().manual_seed(0)
    model = LinguisticTokenizer(LinguisticConfig.debug()).eval()
    for value in model.state_dict().values():
        value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    model.cmvn_shift.fill_(-10.0)
    model.cmvn_scale.fill_(0.2)
    return model


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(0, 23), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_padded_batch_equals_singles(tokenizer, lengths, seed):
    frames = max(lengths)
    generator = torch.Generator().manual_seed(seed)
    feats = torch.randn(len(lengths), frames, 560, generator=generator)
    for item, length in zip(feats, lengths, strict=True):
        item[length:] = float("nan")
    with torch.no_grad():
        batch = tokenizer.hidden(feats, torch.tensor(lengths))
        assert batch.shape == (len(lengths), frames, tokenizer.config.encoder.width)
        for i, length in enumerate(lengths):
            single = tokenizer.hidden(feats[i : i + 1, :length])[0]
            torch.testing.assert_close(batch[i, :length], single, atol=1e-5, rtol=0)
            assert not batch[i, length:].any()


@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(0, 30_000), max_size=4),
    block=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_encode_equals_singles_in_blocks_of_any_size(tokenizer, lengths, block, seed):
    rng = np.random.default_rng(seed)
    waveforms = [torch.from_numpy(0.1 * rng.standard_normal(n).astype(np.float32)) for n in lengths]
    singles = [tokenizer.encode([w])[0] for w in waveforms]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linguistic, "WINDOW_BLOCK", block)
        patch.setattr(linguistic, "FBANK_BLOCK", 13)
        together = tokenizer.encode(waveforms)
    assert [len(c) for c in together] == [code_count(n) for n in lengths]
    for codes, single, waveform in zip(together, singles, waveforms, strict=True):
        if not len(codes):
            continue
        states = tokenizer.hidden(tokenizer.features(waveform)[None])[0]
        near = torch.cdist(states, tokenizer.codebook).topk(2, largest=False).values
        sure = near[:, 1] - near[:, 0] > 1e-4
        assert torch.equal(codes[sure], single[sure])


@settings(deadline=None, max_examples=10)
@given(
    chunk=st.integers(1, 5),
    overlap=st.integers(0, 6),
    look_back=st.integers(1, 3),
    frames=st.integers(1, 17),
)
def test_no_right_context_beyond_the_chunk(chunk, overlap, look_back, frames):
    torch.manual_seed(0)
    config = SANMConfig(
        input_dim=6, width=4, depth=2, heads=2, ffn=8, kernel=5,
        chunk=chunk, overlap=overlap, look_back=look_back,
    )  # fmt: skip
    encoder = SANMEncoder(config).eval()
    feats = torch.randn(1, frames, 6)
    whole = encoder(feats)
    seen = frames // chunk * chunk
    if seen:
        torch.testing.assert_close(encoder(feats[:, :seen]), whole[:, :seen], atol=1e-5, rtol=0)
