from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from conftest import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.interfaces import Vocoder

MAKERS = {
    "istft": lambda: ISTFTVocoder(ISTFTConfig.debug()).eval(),
    "hift": lambda: HiFTVocoder(HiFTConfig.debug()).eval(),
    "bigvgan": lambda: BigVGANVocoder(BigVGANConfig.debug()).eval(),
    "griffin_lim": lambda: GriffinLim(ISTFTConfig.debug().mel, iterations=2),
}


@lru_cache
def vocoder_of(name: str) -> Vocoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MAKERS[name]()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", sorted(MAKERS))
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_cut_gives_the_whole(name, sizes):
    vocoder = vocoder_of(name)
    frames, hop = sum(sizes), vocoder.spec.hop_length
    mel = torch.randn(vocoder.spec.n_mels, frames, generator=seeded())
    whole = vocoder.synthesize(mel[None], generator=seeded())[0]
    joined = torch.cat(list(vocoder.stream(iter(mel.split(sizes, dim=-1)), generator=seeded())))
    assert whole.shape == joined.shape == (frames * hop,)
    if name != "griffin_lim":  # whose phases depend on what has been heard so far
        assert_close(joined, whole, 1e-4)
