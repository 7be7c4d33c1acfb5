"""Whisper-style log-mel, the input of the semantic tokenizer.

16 kHz, window and FFT of 400 samples, hop of 160 samples (100 frames per second), power spectrum,
slaney mel bands, decimal logarithm. The dynamic range is cut to 8 decades below the loudest value
*of the clip at hand*, so a clip that is split gives other values near the floor than a whole one.

Source: the published system (semantic tokenizer front end) and Whisper, Radford et al. 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stepaudio.errors import AudioError
from stepaudio.mel_filters import slaney_filters

__all__ = ["HOP_LENGTH", "SAMPLE_RATE", "log_mel"]

#: Rate of the waveform read, Hz.
SAMPLE_RATE = 16000
#: Samples from one frame to the next.
HOP_LENGTH = 160

_N_FFT = 400


def log_mel(waveform: Tensor, n_mels: int = 128) -> Tensor:
    """Log-mel of one clip, differentiable.

    Args:
        waveform: ``[S]`` float at 16 kHz.
        n_mels: number of bands.

    Returns:
        ``[n_mels, S // 160]``, roughly within -1..1.5.

    Raises:
        AudioError: not one-dimensional, or not longer than half a window (200 samples).
    """
    if waveform.dim() != 1 or waveform.numel() <= _N_FFT // 2:
        raise AudioError(
            f"the log-mel needs one channel of more than {_N_FFT // 2} samples, "
            f"got shape {tuple(waveform.shape)}"
        )
    window = torch.hann_window(_N_FFT, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(
        waveform,
        _N_FFT,
        HOP_LENGTH,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    # The frame centred on the very end of the clip is dropped: exactly one frame per whole hop.
    power = spectrum[:, : waveform.numel() // HOP_LENGTH].abs().square()
    filters = slaney_filters(SAMPLE_RATE, _N_FFT, n_mels).to(power)
    decades = (filters @ power).clamp(min=1e-10).log10()
    return (torch.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0
