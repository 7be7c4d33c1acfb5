from __future__ import annotations

import pytest
import torch

from stepaudio.decoder.griffin_lim import GriffinLim, unmix_mel
from stepaudio.decoder.mel import log_mel, mel_filters
from stepaudio.types import MelSpec

SPEC = MelSpec(sample_rate=8000, n_mels=24, n_fft=256, hop_length=64, win_length=256, fmax=4000.0)


def chirp_mel(seconds: float = 0.5) -> torch.Tensor:
    t = torch.arange(int(seconds * 8000)) / 8000
    wave = 0.3 * torch.sin(2 * torch.pi * (200 * t + 400 * t**2))
    # Some noise under the tone: at the floor of the logarithm nothing can be compared.
    noise = 0.02 * torch.randn(len(t), generator=torch.Generator().manual_seed(9))
    return log_mel((wave + noise)[None], SPEC)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_unmixing_gives_the_mel_back():
    mel = chirp_mel()
    magnitude = unmix_mel(mel, SPEC)
    assert (magnitude >= 0).all()
    again = mel_filters(SPEC, mel.device, mel.dtype) @ magnitude
    assert (again.clamp(min=1e-5).log() - mel).abs().mean() < 0.05


def test_mel_of_the_sound_is_near():
    mel = chirp_mel()
    wave = GriffinLim(SPEC).synthesize(mel, generator=seeded())
    assert wave.shape == (1, mel.shape[-1] * 64)
    assert (log_mel(wave, SPEC) - mel).abs().mean() < 0.5


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_input(frames):
    wave = GriffinLim(SPEC, iterations=2).synthesize(chirp_mel()[..., :frames])
    assert wave.shape == (1, frames * 64)
    assert torch.isfinite(wave).all()


def test_seed_decides():
    vocoder, mel = GriffinLim(SPEC, iterations=4), chirp_mel()
    first = vocoder.synthesize(mel, generator=seeded(3))
    assert torch.equal(first, vocoder.synthesize(mel, generator=seeded(3)))
    assert not torch.equal(first, vocoder.synthesize(mel, generator=seeded(4)))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_stream_has_the_length_and_the_mel_of_the_whole(size):
    mel = chirp_mel()
    pieces = list(GriffinLim(SPEC).stream(iter(mel[0].split(size, dim=-1)), generator=seeded()))
    wave = torch.cat(pieces)
    assert len(wave) == mel.shape[-1] * 64
    assert (log_mel(wave, SPEC) - mel[0]).abs().mean() < 0.6


def test_empty_stream():
    assert list(GriffinLim(SPEC).stream(iter([]))) == []
