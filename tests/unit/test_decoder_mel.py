from __future__ import annotations

import pytest
import torch

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.mel import log_mel
from stepaudio.errors import AudioError, SpecMismatchError
from stepaudio.mel_filters import slaney_filters
from stepaudio.types import MelSpec

SPEC = MelSpec(sample_rate=8000, n_mels=12, n_fft=64, hop_length=16, win_length=64, fmax=4000.0)


def test_frame_count_is_whole_hops():
    for samples in (64, 79, 80, 800):
        assert log_mel(torch.zeros(2, samples), SPEC).shape == (2, 12, samples // 16)


def test_leading_dimensions_are_kept():
    wave = torch.randn(2, 3, 160, generator=torch.Generator().manual_seed(0))
    assert torch.equal(log_mel(wave, SPEC)[1, 2], log_mel(wave[1, 2], SPEC))


def test_silence_is_the_floor():
    # The power floor 1e-9 leaves a magnitude of 3e-5 per bin; a filter of small area is below.
    mel = log_mel(torch.zeros(160), SPEC)
    assert torch.isfinite(mel).all()
    assert (mel >= torch.log(torch.tensor(SPEC.log_floor))).all()


def test_gradient_reaches_samples():
    wave = torch.zeros(160, requires_grad=True)
    log_mel(wave, SPEC).sum().backward()
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()


def test_too_short_is_refused():
    with pytest.raises(AudioError, match="too short"):
        log_mel(torch.zeros(10), SPEC)


def test_filters_have_unit_area():
    filters = slaney_filters(16000, 4096, 20, 0.0, None)
    area = filters.sum(-1) * 16000 / 4096
    assert torch.allclose(area, torch.ones(20), atol=0.02)


@pytest.fixture(params=["istft", "hift", "bigvgan", "griffin_lim"])
def vocoder(request):
    makers = {
        "istft": lambda: ISTFTVocoder(ISTFTConfig.debug()).eval(),
        "hift": lambda: HiFTVocoder(HiFTConfig.debug()).eval(),
        "bigvgan": lambda: BigVGANVocoder(BigVGANConfig.debug()).eval(),
        "griffin_lim": lambda: GriffinLim(ISTFTConfig.debug().mel, iterations=2),
    }
    return makers[request.param]()


def test_every_vocoder_refuses_what_it_cannot_read(vocoder):
    bins = vocoder.spec.n_mels
    for shape, message in (
        ((1, bins + 1, 5), "shape"),
        ((bins, 5), "shape"),
        ((1, bins, 0), "no frames"),
    ):
        with pytest.raises(SpecMismatchError, match=message):
            vocoder.synthesize(torch.zeros(shape))
    good = torch.zeros(bins, 5)
    for shape in ((bins + 1, 5), (bins + 1, 0), (1, bins, 5), (bins,)):
        for pieces in ([torch.zeros(shape)], [good, torch.zeros(shape)]):
            with pytest.raises(SpecMismatchError, match=rf"\[{bins}, t\]"):
                list(vocoder.stream(iter(pieces)))


def test_every_vocoder_passes_over_pieces_of_no_frames(vocoder):
    mel = torch.randn(vocoder.spec.n_mels, 9, generator=torch.Generator().manual_seed(0)) - 4
    empty = mel[:, :0]
    waves = [
        torch.cat(list(vocoder.stream(iter(pieces), generator=torch.Generator().manual_seed(1))))
        for pieces in ([mel[:, :4], mel[:, 4:]], [empty, mel[:, :4], empty, mel[:, 4:], empty])
    ]
    assert torch.equal(*waves)
    assert list(vocoder.stream(iter([empty]))) == []
