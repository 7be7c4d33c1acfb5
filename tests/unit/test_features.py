"""Filter banks, frame stacking and mean/variance files."""

from __future__ import annotations

import math

import pytest
import torch

from stepaudio.errors import CheckpointError
from stepaudio.tokenizers.features import (
    apply_cmvn,
    fbank_frames,
    kaldi_fbank,
    low_frame_rate,
    read_cmvn,
)


def test_a_tone_peaks_in_its_own_band():
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000)
    bands = kaldi_fbank(tone)
    assert bands.shape == (98, 80)
    step = (1127 * math.log1p(8000 / 700) - 1127 * math.log1p(20 / 700)) / 81
    band = (1127 * math.log1p(1000 / 700) - 1127 * math.log1p(20 / 700)) / step - 1
    assert (bands.argmax(-1) - band).abs().max() <= 1


def test_batch_equals_singles_and_scale_shifts_the_logarithm():
    noise = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    batch = kaldi_fbank(noise)
    for item, bands in zip(noise, batch, strict=True):
        assert torch.equal(kaldi_fbank(item), bands)
    louder = kaldi_fbank(noise, scale=32768.0) - batch
    torch.testing.assert_close(
        louder, torch.full_like(louder, 2 * math.log(32768)), atol=1e-3, rtol=0
    )


def test_silence_and_a_constant_sit_on_the_floor():
    floor = math.log(1.1920929e-07)
    assert torch.allclose(kaldi_fbank(torch.zeros(800)), torch.tensor(floor))
    # The removed mean leaves nothing of a constant.
    assert torch.allclose(kaldi_fbank(torch.full((800,), 0.5), window="povey"), torch.tensor(floor))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_only_whole_frames(samples, frames):
    assert fbank_frames(samples) == frames
    assert kaldi_fbank(torch.zeros(samples)).shape == (frames, 80)


def test_constants_made_without_gradients_can_be_trained_through():
    with torch.inference_mode():
        kaldi_fbank(torch.randn(640).double(), n_mels=23)
    waveform = torch.randn(640).double().requires_grad_()
    kaldi_fbank(waveform, n_mels=23).sum().backward()
    assert waveform.grad is not None


def test_stacking_by_hand():
    frames = torch.arange(8.0)[:, None]
    stacked = low_frame_rate(frames, stack=7, skip=6)
    assert stacked.tolist() == [[0, 0, 0, 0, 1, 2, 3], [3, 4, 5, 6, 7, 7, 7]]
    assert low_frame_rate(frames[:0]).shape == (0, 7)


def test_normalisation():
    out = apply_cmvn(
        torch.tensor([[1.0, 2.0]]), torch.tensor([1.0, -2.0]), torch.tensor([2.0, 3.0])
    )
    assert out.tolist() == [[4.0, 0.0]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a network",
        "<AddShift> 2 2\n<LearnRateCoef> 0 [ 1 x ]\n<Rescale> 2 2\n<LearnRateCoef> 0 [ 1 1 ]",
        "<AddShift> 2 2\n<LearnRateCoef> 0 [ 1 1 ]\n<Rescale> 1 1\n<LearnRateCoef> 0 [ 1 ]",
    ],
)
def test_damaged_mean_variance_files(tmp_path, text):
    path = tmp_path / "am.mvn"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"am\.mvn"):
        read_cmvn(path)


def test_missing_mean_variance_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_cmvn(tmp_path / "am.mvn")
