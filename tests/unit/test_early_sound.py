from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import assert_close

from stepaudio import Audio
from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.early import stream_early
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.mel import log_mel
from stepaudio.interfaces import Vocoder
from stepaudio.locate import EMBEDDED

DEMO = Path(__file__).parents[2] / "docs" / "audio" / "demo.flac"
MAKERS = {
    "istft": lambda: ISTFTVocoder(ISTFTConfig.debug()).eval(),
    "hift": lambda: HiFTVocoder(HiFTConfig.debug()).eval(),
    "bigvgan": lambda: BigVGANVocoder(BigVGANConfig.debug()).eval(),
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pieces(vocoder: Vocoder, mel: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    return list(stream_early(vocoder, iter(mel.split(sizes, dim=1)), generator=seeded()))


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_only_the_end_of_the_first_chunk_differs(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vocoder = MAKERS[name]()
    context, hop = vocoder.context, vocoder.spec.hop_length
    assert context is not None
    sizes = [context + 1, 2, 3 * context]
    mel = torch.randn(vocoder.spec.n_mels, sum(sizes), generator=seeded())
    found = pieces(vocoder, mel, sizes)
    whole = vocoder.synthesize(mel[None], generator=seeded())[0]
    ready = sizes[0] - (context + 1) // 2
    # All that the exact stream would have given is one frame.
    assert len(found[0]) == ready * hop > hop
    joined = torch.cat(found)
    assert joined.shape == whole.shape
    assert_close(joined[:hop], whole[:hop], 1e-4)
    assert_close(joined[(ready + 1) * hop :], whole[(ready + 1) * hop :], 1e-4)


def test_a_first_chunk_that_is_everything_is_exact() -> None:
    vocoder = MAKERS["istft"]()
    mel = torch.randn(vocoder.spec.n_mels, vocoder.context, generator=seeded())
    assert_close(
        torch.cat(pieces(vocoder, mel, [mel.shape[1]])), vocoder.synthesize(mel[None])[0], 1e-6
    )


def test_what_is_not_helped_streams_as_ever() -> None:
    istft = MAKERS["istft"]()
    # No bound; a first chunk of which most is exact at once; one too short for a draft.
    for vocoder, first in (
        (GriffinLim(ISTFTConfig.debug().mel, iterations=2), 20),
        (istft, 2 * istft.context),
        (istft, 3),
    ):
        mel = torch.randn(vocoder.spec.n_mels, first + 30, generator=seeded())
        parts = mel.split([first, 30], dim=1)
        expected = list(vocoder.stream(iter(parts), generator=seeded()))
        found = pieces(vocoder, mel, [first, 30])
        assert [len(piece) for piece in found] == [len(piece) for piece in expected]
        assert torch.equal(torch.cat(found), torch.cat(expected))
    assert pieces(istft, mel[:, :0], []) == []


def test_embedded_vocoder_gives_half_of_the_first_chunk_within_40_db() -> None:
    vocoder = ISTFTVocoder.from_pretrained(EMBEDDED / "vocoder")
    mel = log_mel(Audio.load(DEMO).resample(24000).samples, vocoder.spec)
    whole = vocoder.synthesize(mel[None])[0]
    worst = 0.0
    for start in range(0, mel.shape[1] - 108, 10):
        cut = mel[:, start : start + 108]
        exact = vocoder.synthesize(cut[None])[0]
        first = pieces(vocoder, cut, [30, 48, 30])[0]
        assert len(first) == 15 * 480
        worst = max(worst, float((first - exact[: len(first)]).square().mean()))
    assert worst < 1e-4 * float(whole.square().mean())
