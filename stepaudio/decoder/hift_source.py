"""The excitation of HiFT: predicted pitch, and the harmonics and noise it implies.

A neural source filter (Wang et al. 2019): sines at the multiples of the pitch where speech is
voiced, noise elsewhere, mixed by one learnt linear layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["F0Predictor", "HarmonicSource", "draw_noise"]


def draw_noise(
    batch: int,
    frames: int,
    hop_length: int,
    channels: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Unit noise, drawn frame by frame so that a stream draws what the whole draws.

    Args:
        batch: ``B``.
        frames: ``T``.
        hop_length: samples per frame.
        channels: ``H``.
        generator: source of randomness; noise is drawn where it lives.
        device: where the result shall live.

    Returns:
        ``[B, T * hop_length, H]`` float32.
    """
    place = device if generator is None else generator.device
    shape = (batch, hop_length, channels)
    drawn = [torch.randn(shape, generator=generator, device=place) for _ in range(frames)]
    return torch.cat(drawn, dim=1).to(device)


class F0Predictor(nn.Module):
    """Mel frames to fundamental frequency.

    Args:
        n_mels: mel bands.
        channels: width of the convolutions.
    """

    #: Convolutions of three frames, so each widens the view by one frame on both sides.
    layers = 5

    def __init__(self, n_mels: int, channels: int) -> None:
        super().__init__()
        stack: list[nn.Module] = []
        for i in range(self.layers):
            stack += [nn.Conv1d(n_mels if i == 0 else channels, channels, 3, padding=1), nn.ELU()]
        self.condnet = nn.Sequential(*stack)
        self.classifier = nn.Linear(channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Predict pitch.

        Args:
            mel: ``[B, C, T]`` log-mel.

        Returns:
            ``[B, T]`` Hz, not negative.
        """
        value: Tensor = self.classifier(self.condnet(mel).mT)
        return value.squeeze(-1).abs()


class HarmonicSource(nn.Module):
    """Pitch to a source waveform.

    Args:
        sample_rate: Hz.
        hop_length: samples per pitch value.
        harmonics: overtones above the fundamental.
        amplitude: of each sine.
        noise: standard deviation of the noise under voiced speech; unvoiced speech has a third
            of ``amplitude``.
        voiced_threshold: pitch above which a frame is voiced, Hz.
    """

    multiples: Tensor

    def __init__(
        self,
        sample_rate: int,
        hop_length: int,
        *,
        harmonics: int,
        amplitude: float,
        noise: float,
        voiced_threshold: float,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.amplitude = amplitude
        self.noise = noise
        self.voiced_threshold = voiced_threshold
        self.l_linear = nn.Linear(harmonics + 1, 1)

    @property
    def channels(self) -> int:
        """The fundamental and its overtones."""
        return self.l_linear.in_features

    def turns(self, f0: Tensor) -> Tensor:
        """Turns each harmonic makes within each frame.

        Args:
            f0: ``[B, T]`` Hz.

        Returns:
            ``[B, T, H]`` turns per hop.
        """
        multiples = torch.arange(1, self.channels + 1, device=f0.device)
        # A sine sampled above the sample rate looks like one below: only the fraction counts.
        per_sample = (f0[..., None] * multiples / self.sample_rate) % 1
        return per_sample * self.hop_length

    def voiced(self, f0: Tensor) -> Tensor:
        """Which samples are voiced.

        Args:
            f0: ``[B, T]`` Hz.

        Returns:
            ``[B, 1, T * hop_length]`` bool.
        """
        return (f0 > self.voiced_threshold).repeat_interleave(self.hop_length, dim=-1)[:, None]

    def forward(self, f0: Tensor, noise: Tensor, start: Tensor | None = None) -> Tensor:
        """Make the source waveform.

        The published code integrates the phase per frame and interpolates it linearly between
        frame centres, so it stands still in the outer halves of the first and last frame; this
        is the same phase, kept small by dropping whole turns. The random initial phases the
        published code draws fall on a sample its own interpolation skips and have no effect;
        there are none here.

        Args:
            f0: ``[B, T]`` Hz.
            noise: ``[B, T * hop_length, H]`` unit noise, see :func:`draw_noise`.
            start: ``[B, H]`` turns already made before the first frame; None is none.

        Returns:
            ``[B, 1, T * hop_length]`` in [-1, 1].
        """
        f0, hop = f0.float(), self.hop_length
        turns = self.turns(f0)
        centre = torch.cumsum(turns % 1, dim=1)
        if start is not None:
            centre = centre + start[:, None]
        edge = torch.zeros_like(turns[:, :1])
        before = torch.cat([edge, turns[:, 1:]], dim=1)
        after = torch.cat([turns[:, 1:], edge], dim=1)
        # Distance of each sample of a frame from the frame's centre, in frames.
        offset = ((torch.arange(hop, device=f0.device) + 0.5) / hop - 0.5)[:, None]
        speed = torch.where(offset < 0, before[:, :, None], after[:, :, None])
        phase = (centre[:, :, None] % 1 + offset * speed).flatten(1, 2)
        voiced = self.voiced(f0).mT
        sines = self.amplitude * torch.sin(2 * torch.pi * phase)
        level = torch.where(voiced, self.noise, self.amplitude / 3)
        mixed: Tensor = self.l_linear(
            (sines * voiced + level * noise).to(self.l_linear.weight.dtype)
        )
        return torch.tanh(mixed).mT
