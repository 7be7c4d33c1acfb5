"""The linguistic tokenizer as a part: configuration, saving, errors, gradients, real centroids."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepaudio.errors import AudioError
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer
from stepaudio.tokenizers.sanm import SANMConfig, SANMEncoder


@pytest.fixture
def model():
    return LinguisticTokenizer(LinguisticConfig.debug()).eval()


def test_release_names_and_size():
    with torch.device("meta"):
        model = LinguisticTokenizer(LinguisticConfig.release())
    assert len(model.encoder.state_dict()) == 652
    assert sum(p.numel() for p in model.parameters()) == 157_975_648
    assert tuple(model.codebook.shape) == (1024, 512)


def test_save_and_load(model, tmp_path):
    model.codebook.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    loaded = LinguisticTokenizer.from_pretrained(model.save_pretrained(tmp_path))
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize("waveform", [torch.zeros(2, 8000), torch.zeros(8000, dtype=torch.int16)])
def test_refuses_what_is_not_one_channel_of_floats(model, waveform):
    with pytest.raises(AudioError, match="one channel"):
        model.encode([waveform])


def test_nothing_and_almost_nothing(model):
    assert model.encode([]) == []
    (codes,) = model.encode([torch.zeros(500)])
    assert codes.dtype == torch.int64
    assert codes.shape == (0,)
    assert model.hidden(torch.zeros(2, 0, 560)).shape == (2, 0, 16)
    assert not model.hidden(torch.ones(2, 3, 560), torch.tensor([0, 0])).any()


@pytest.mark.parametrize("bad", [{"heads": 3}, {"kernel": 4}, {"input_dim": 7}, {"depth": 0}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        SANMConfig(**{"width": 16, **bad})
    with pytest.raises(ValueError, match="filter banks"):
        LinguisticConfig(n_mels=40)


def test_codes_can_be_trained_on(model):
    codes = model.encode([0.1 * torch.sin(torch.arange(16000) / 10)])[0]
    table = torch.nn.Embedding(1024, 4)
    table(codes).sum().backward()
    assert table.weight.grad is not None


def test_gradients_are_right_and_ignore_padding():
    config = SANMConfig(input_dim=6, width=4, depth=2, heads=2, ffn=8, kernel=3, norm_eps=1e-5)
    encoder = SANMEncoder(config).double()
    feats = torch.randn(2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    feats.requires_grad_()
    lengths = torch.tensor([6, 3])
    assert torch.autograd.gradcheck(lambda x: encoder(x, lengths), (feats,))
    encoder(feats, lengths).square().sum().backward()
    assert feats.grad[0].any()
    assert not feats.grad[1, 3:].any()
    assert all(p.grad is not None for p in encoder.parameters())


def test_real_centroids(published_dir):
    centroids = torch.from_numpy(np.load(published_dir / "linguistic_tokenizer.npy"))
    codes, width = centroids.shape
    config = LinguisticConfig(encoder=SANMConfig(width=width, depth=1), codebook_size=codes)
    model = LinguisticTokenizer(config).eval()
    model.codebook.copy_(centroids)
    generator = torch.Generator().manual_seed(0)
    states = centroids[torch.randint(codes, (500,), generator=generator)]
    states = states + 0.5 * states.std() * torch.randn(states.shape, generator=generator)
    expected = torch.cdist(states.double(), centroids.double())
    near = expected.topk(2, largest=False).values
    found = model.quantize(states)
    sure = near[:, 1] - near[:, 0] > 1e-5
    assert sure.float().mean() > 0.99
    assert torch.equal(found[sure], expected.argmin(-1)[sure])
    assert torch.equal(model.quantize(centroids), torch.arange(codes))
