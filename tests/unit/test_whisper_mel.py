from __future__ import annotations

import pytest
import torch

from stepaudio.errors import AudioError
from stepaudio.mel_filters import slaney_filters
from stepaudio.tokenizers.whisper_mel import log_mel


def test_a_tone_peaks_in_its_band() -> None:
    tone = torch.sin(2 * torch.pi * 2000.0 * torch.arange(8000) / 16000)
    band = slaney_filters(16000, 400, 128)[:, 50].argmax()
    assert abs(int(log_mel(tone)[:, 10:-10].mean(1).argmax()) - int(band)) <= 1


def test_dynamic_range_is_eight_decades_of_the_clip() -> None:
    quiet = torch.zeros(16000)
    quiet[8000:] = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    mel = log_mel(quiet)
    assert mel.shape == (128, 100)
    assert mel.max() - mel.min() == pytest.approx(2.0, abs=1e-5)


def test_silence_is_finite() -> None:
    assert torch.isfinite(log_mel(torch.zeros(4000))).all()


@pytest.mark.parametrize("shape", [(0,), (200,), (2, 4000)])
def test_unusable_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="200 samples"):
        log_mel(torch.zeros(shape))


def test_gradient_reaches_the_samples() -> None:
    waveform = torch.randn(1600, generator=torch.Generator().manual_seed(0)).requires_grad_()
    log_mel(waveform).sum().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()
