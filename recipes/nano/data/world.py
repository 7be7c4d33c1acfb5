"""A recording taken apart into pitch, envelope and noise (WORLD), and put together again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from recipes.nano.data.voice_change import (
    VoiceChange,
    change_pitch,
    frequency_gain_db,
    warp_frequencies,
)

__all__ = ["RATE", "Analysed", "pitch_range", "speak", "spectral_envelope"]

RATE = 16000
FRAME_MS = 10.0
FRAME_RATE = 1000.0 / FRAME_MS
LOWEST_HZ, HIGHEST_HZ = 65.0, 500.0

Array = npt.NDArray[np.float32]


def spectral_envelope(samples: Array, f0: Array) -> Array:
    """Log power of the vocal tract every 10 ms (CheapTrick).

    Args:
        samples: ``[S]`` at 16 kHz.
        f0: ``[T]`` Hz every 10 ms, 0 where unvoiced.

    Returns:
        ``[T, F]``.
    """
    import pyworld

    times = np.arange(len(f0)) / FRAME_RATE
    power = pyworld.cheaptrick(samples.astype(np.float64), f0.astype(np.float64), times, RATE)
    envelope: Array = np.log(power + 1e-12).astype(np.float32)
    return envelope


def pitch_range(samples: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Lowest and highest pitch worth looking for in a recording, Hz; ``[S]`` at 16 kHz.

    Harvest tries every pitch between them; within the range of one voice it takes half the time and
    has fewer octaves to mistake.
    """
    import pyworld

    f0 = pyworld.dio(samples, RATE, LOWEST_HZ, HIGHEST_HZ, frame_period=FRAME_MS)[0]
    voiced = f0[f0 > 0]
    if not len(voiced):
        return LOWEST_HZ, HIGHEST_HZ
    low, high = np.percentile(voiced, (10, 90))
    return max(LOWEST_HZ, low / 1.6), min(HIGHEST_HZ, high * 1.5)


class Analysed:
    """A recording as pitch, envelope and aperiodicity every 10 ms."""

    def __init__(self, samples: Array) -> None:
        import pyworld

        x = samples.astype(np.float64)
        # Slower than DIO, with fewer frames wrongly unvoiced. WER through WORLD without a change
        # was 0.21 instead of 0.50 on 10 recordings, with changes 0.13 instead of 0.16 on 48 others.
        lowest, highest = pitch_range(x)
        f0, times = pyworld.harvest(x, RATE, lowest, highest, FRAME_MS)
        self.f0 = f0.astype(np.float32)
        self.envelope = spectral_envelope(samples, self.f0)
        self.noise = pyworld.d4c(x, self.f0.astype(np.float64), times, RATE)
        self.loudness = np.sqrt(np.mean(x**2))
        self.seed = len(x)

    def render(self, change: VoiceChange) -> Array:
        """Waveform ``[S]`` at 16 kHz with a rule applied."""
        frames = len(self.f0)
        index = np.clip(
            np.round(np.arange(round(frames / change.rate)) * change.rate), 0, frames - 1
        )
        index = index.astype(int)
        noise = self.noise[index].astype(np.float32)
        envelope = warp_frequencies(self.envelope[index], change.warp)
        frequencies = np.linspace(0, RATE / 2, envelope.shape[1], dtype=np.float32)
        envelope = envelope + frequency_gain_db(frequencies, change) / 4.343
        f0 = change_pitch(self.f0[index], change, FRAME_RATE)
        if change.breath_db:
            noise = np.clip(noise * 10 ** (change.breath_db / 20), 0, 1)
        if change.whisper:
            noise = np.ones_like(noise)
            envelope -= (np.clip(600 - frequencies, 0, 600) / 600 * 3.6)[None] + 2.0
        wave = speak(f0, np.exp(envelope / 2), np.clip(noise, 0, 1), self.seed)
        # The rule's level counts from the level of the recording.
        loudness = np.sqrt(np.mean(wave**2) + 1e-12)
        gain: Array = (self.loudness / loudness * 10 ** (change.gain_db / 20)).astype(np.float32)
        return wave * gain


def speak(f0: Array, envelope: Array, noise: Array, seed: int) -> Array:
    """Pulses and white noise through a moving filter: ``[T]``, ``[T, F]``, ``[T, F]`` to ``[S]``.

    WORLD's own synthesis makes every pulse by itself; filtering whole short-time spectra is ten
    times faster and close enough for training data.
    """
    hop = int(RATE * FRAME_MS / 1000)
    count = len(f0) * hop
    pitch = np.repeat(f0, hop)
    phase = np.cumsum(pitch / RATE)
    starts = np.flatnonzero((np.diff(np.floor(phase), prepend=0.0) > 0) & (pitch > 0))
    pulses = np.zeros(count, np.float32)
    pulses[starts] = np.sqrt(RATE / pitch[starts])
    hiss = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    window = torch.hann_window(4 * hop)
    shape = {"n_fft": 2 * (envelope.shape[1] - 1), "hop_length": hop, "win_length": 4 * hop}
    both = torch.stft(
        torch.from_numpy(np.stack([pulses, hiss])), **shape, window=window, return_complex=True
    )[..., : len(f0)]
    voiced = torch.from_numpy((f0 > 0).astype(np.float32))[None]
    breath = torch.from_numpy(noise.T.copy()) * voiced + (1 - voiced)
    mixed = both[0] * (1 - breath**2).clamp_min(0).sqrt() + both[1] * breath
    mixed = mixed * torch.from_numpy(envelope.T.astype(np.float32))
    return torch.istft(mixed, **shape, window=window, length=count).numpy()
