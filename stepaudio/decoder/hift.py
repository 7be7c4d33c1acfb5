"""HiFT, the published vocoder: harmonic source, upsampling generator, inverse STFT.

Published system, section on vocoders. Mel frames are upsampled 120 times by transposed
convolutions; at each scale a downsampled spectrum of the source waveform is added; the last layer
predicts a 16-point spectrum whose inverse transform upsamples by the remaining 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.decoder.hift_source import F0Predictor, HarmonicSource, draw_noise
from stepaudio.decoder.mel import mel_pieces, require_mel
from stepaudio.decoder.snake import Snake
from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.errors import SpecMismatchError
from stepaudio.hub import Pretrained, load_strict
from stepaudio.interfaces import Vocoder
from stepaudio.types import MelSpec

__all__ = ["HiFTConfig", "HiFTVocoder"]

# Largest magnitude of a bin of the last spectrum; part of the published formula.
_MAX_MAGNITUDE = 100.0


@dataclass(frozen=True)
class HiFTConfig:
    """Sizes of a :class:`HiFTVocoder`; the defaults are the published ones.

    Attributes:
        mel: front end it reads; its hop is the product of ``upsample_rates`` and ``istft_hop``.
        base_channels: channels before the first upsampling, halved by each.
        harmonics: overtones of the source.
        sine_amplitude: of each harmonic.
        noise_std: noise under voiced speech.
        voiced_threshold: pitch above which a frame is voiced, Hz.
        upsample_rates: of the transposed convolutions.
        upsample_kernels: of the transposed convolutions, samples of their output.
        istft_n_fft: length of the last transform, samples.
        istft_hop: its hop, samples.
        resblock_kernels: one residual block per kernel and scale, averaged.
        resblock_dilations: dilations within every residual block.
        source_kernels: kernel of the source's residual block, per scale.
        slope: of the leaky rectifiers before upsampling.
        audio_limit: the output is clipped to this.
        f0_channels: width of the pitch predictor.
    """

    mel: MelSpec = field(default_factory=MelSpec)
    base_channels: int = 512
    harmonics: int = 8
    sine_amplitude: float = 0.1
    noise_std: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernels: tuple[int, ...] = (16, 11, 7)
    istft_n_fft: int = 16
    istft_hop: int = 4
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[int, ...] = (1, 3, 5)
    source_kernels: tuple[int, ...] = (7, 7, 11)
    slope: float = 0.1
    audio_limit: float = 0.99
    f0_channels: int = 512

    def __post_init__(self) -> None:
        if math.prod(self.upsample_rates) * self.istft_hop != self.mel.hop_length:
            raise SpecMismatchError(
                f"upsample_rates {self.upsample_rates} times istft_hop {self.istft_hop} must give "
                f"the mel hop of {self.mel.hop_length} samples"
            )

    @classmethod
    def release(cls) -> HiFTConfig:
        """The published vocoder."""
        return cls()

    @classmethod
    def debug(cls) -> HiFTConfig:
        """A millisecond to build."""
        return cls(base_channels=16, f0_channels=8)


class ResBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair a residual.

    Args:
        channels: ``C``.
        kernel: samples, odd.
        dilations: one per pair.
    """

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()

        def conv(dilation: int) -> nn.Conv1d:
            pad = dilation * (kernel - 1) // 2
            return nn.Conv1d(channels, channels, kernel, padding=pad, dilation=dilation)

        self.convs1 = nn.ModuleList(conv(d) for d in dilations)
        self.convs2 = nn.ModuleList(conv(1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``[B, C, T]``."""
        for act1, conv1, act2, conv2 in zip(
            self.activations1, self.convs1, self.activations2, self.convs2, strict=True
        ):
            x = x + conv2(act2(conv1(act1(x))))
        return x


class HiFTVocoder(Pretrained, Vocoder):
    """Mel frames to samples through pitch, source and spectrum.

    Args:
        config: sizes.
    """

    config_class = HiFTConfig
    config: HiFTConfig
    window: Tensor

    def __init__(self, config: HiFTConfig) -> None:
        super().__init__()
        self.config = config
        self.f0_predictor = F0Predictor(config.mel.n_mels, config.f0_channels)
        self.m_source = HarmonicSource(
            config.mel.sample_rate,
            config.mel.hop_length,
            harmonics=config.harmonics,
            amplitude=config.sine_amplitude,
            noise=config.noise_std,
            voiced_threshold=config.voiced_threshold,
        )
        rates = config.upsample_rates
        widths = [config.base_channels >> i for i in range(len(rates) + 1)]
        bins = config.istft_n_fft + 2
        self.conv_pre = nn.Conv1d(config.mel.n_mels, widths[0], 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(a, b, kernel, rate, padding=(kernel - rate) // 2)
            for a, b, kernel, rate in zip(
                widths, widths[1:], config.upsample_kernels, rates, strict=False
            )
        )
        # The source spectrum is brought down to the rate of each scale.
        downs = [math.prod(rates[i + 1 :]) for i in range(len(rates))]
        self.source_downs = nn.ModuleList(
            nn.Conv1d(bins, width, 1 if d == 1 else 2 * d, d, padding=d // 2)
            for width, d in zip(widths[1:], downs, strict=True)
        )
        self.source_resblocks = nn.ModuleList(
            ResBlock(width, kernel, config.resblock_dilations)
            for width, kernel in zip(widths[1:], config.source_kernels, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, config.resblock_dilations)
            for width in widths[1:]
            for kernel in config.resblock_kernels
        )
        self.conv_post = nn.Conv1d(widths[-1], bins, 7, padding=3)
        self.register_buffer("window", torch.hann_window(config.istft_n_fft), persistent=False)

    @property
    def spec(self) -> MelSpec:
        """The front end it reads."""
        return self.config.mel

    @property
    def context(self) -> int:
        """Frames on each side that a frame's samples depend on, pitch prediction included."""
        dilations = self.config.resblock_dilations
        taps = sum(dilations) + len(dilations)
        reach, rate = 3.0, 1
        for i, kernel in enumerate(self.config.source_kernels):
            rate *= self.config.upsample_rates[i]
            source = 1 + (kernel - 1) / 2 * taps / rate
            widest = max(self.config.resblock_kernels)
            reach = max(reach + self.config.upsample_kernels[i] / rate, source)
            reach += (widest - 1) / 2 * taps / rate
        # The last convolution and transform see less than a frame, the phase sees the next one.
        return math.ceil(reach) + 2 + self.f0_predictor.layers

    def load_published(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Load a published state dict, folding its weight normalisation.

        Args:
            tensors: by published name, 328 of them at the published size.
            source: named in errors.

        Raises:
            CheckpointError: missing, surplus or wrongly shaped tensors.
        """
        load_strict(self, fold_weight_norm(tensors), source)

    def predict_f0(self, mel: Tensor) -> Tensor:
        """Pitch of mel frames.

        Args:
            mel: ``[B, C, T]`` log-mel.

        Returns:
            ``[B, T]`` float32 Hz.
        """
        f0: Tensor = self.f0_predictor(mel.to(self.conv_pre.weight.dtype))
        return f0.float()

    def source_spectrum(self, source: Tensor) -> Tensor:
        """Short spectrum of a source waveform, real rows above imaginary rows.

        Args:
            source: ``[B, 1, S]``.

        Returns:
            ``[B, istft_n_fft + 2, S / istft_hop + 1]``.
        """
        n_fft, hop = self.config.istft_n_fft, self.config.istft_hop
        value = torch.stft(
            source[:, 0].float(), n_fft, hop, window=self.window.float(), return_complex=True
        )
        return torch.cat([value.real, value.imag], dim=1)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Mel and source waveform to sound; differentiable.

        Args:
            mel: ``[B, C, T]`` log-mel.
            source: ``[B, 1, T * hop_length]``.

        Returns:
            ``[B, T * hop_length]`` samples within ``audio_limit``.
        """
        dtype = self.conv_pre.weight.dtype
        spectrum = self.source_spectrum(source).to(dtype)
        x: Tensor = self.conv_pre(mel.to(dtype))
        branches = len(self.config.resblock_kernels)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.config.slope))
            if i == len(self.ups) - 1:
                # A centred transform has one frame more than samples / hop.
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[i](self.source_downs[i](spectrum))
            blocks = self.resblocks[i * branches : (i + 1) * branches]
            x = sum((block(x) for block in blocks), torch.zeros_like(x)) / branches
        raw = self.conv_post(F.leaky_relu(x, 0.01)).float()
        log_magnitude, phase = raw.chunk(2, dim=1)
        magnitude = log_magnitude.exp().clamp(max=_MAX_MAGNITUDE)
        wave = torch.istft(
            torch.polar(magnitude, torch.sin(phase)),
            self.config.istft_n_fft,
            self.config.istft_hop,
            window=self.window.float(),
        )
        return wave.clamp(-self.config.audio_limit, self.config.audio_limit)

    @torch.no_grad()
    def vocode(
        self,
        mel: Tensor,
        *,
        cached_source: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Turn mel into sound and hand out the source, for callers that overlap chunks.

        Args:
            mel: ``[B, C, T]`` log-mel.
            cached_source: ``[B, 1, s]`` source of an earlier chunk that takes the place of the
                first ``s`` samples, so that the harmonics go on where they were.
            generator: source of noise.
            noise: ``[B, T * hop_length, harmonics + 1]`` unit noise instead of a drawn one.

        Returns:
            ``[B, T * hop_length]`` samples and the ``[B, 1, T * hop_length]`` source.
        """
        if noise is None:
            noise = self._noise(mel.shape[0], mel.shape[-1], generator)
        source: Tensor = self.m_source(self.predict_f0(mel), noise)
        if cached_source is not None:
            source = torch.cat([cached_source, source[..., cached_source.shape[-1] :]], dim=-1)
        return self.decode(mel, source), source

    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Turn mel into sound.

        Args:
            mel: ``[B, C, T]`` log-mel.
            generator: source of noise.

        Returns:
            ``[B, T * hop_length]`` samples in [-1, 1].

        Raises:
            SpecMismatchError: the mel has other bins or dimensions, or no frames.
        """
        require_mel(mel, self.spec)
        return self.vocode(mel, generator=generator)[0]

    @torch.no_grad()
    def stream(
        self, mels: Iterator[Tensor], *, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Turn consecutive pieces into sound, equal to :meth:`synthesize` of the whole.

        Args:
            mels: ``[C, t]`` pieces, without overlap.
            generator: source of noise.

        Yields:
            ``[s]`` pieces, late by :attr:`context` frames.

        Raises:
            SpecMismatchError: a piece has other bins or dimensions.
        """
        context, hop = self.context, self.spec.hop_length
        mel = torch.empty(0)  # held frames: left context, frames not emitted yet
        f0 = torch.empty(0)  # pitch of the held frames as far as no later frame can change it
        noise = torch.empty(0)
        start: Tensor | None = None  # turns made before the held frames
        done = 0

        def extend(piece: Tensor) -> None:
            nonlocal mel, noise
            fresh = self._noise(1, piece.shape[-1], generator)
            mel = torch.cat([mel, piece[None]], dim=-1) if mel.numel() else piece[None]
            noise = torch.cat([noise, fresh], dim=1) if noise.numel() else fresh

        def pitch() -> Tensor:
            fresh = self.predict_f0(mel)
            return torch.cat([f0, fresh[:, f0.shape[-1] :]], dim=-1) if f0.numel() else fresh

        def emit(values: Tensor, stop: int) -> Tensor:
            wave = self.decode(mel, self.m_source(values, noise, start))
            return wave[0, done * hop : stop * hop]

        for piece in mel_pieces(mels, self.spec):
            extend(piece)
            stop = mel.shape[-1] - context
            if stop <= done:
                continue
            values = pitch()
            yield emit(values, stop)
            drop = max(0, stop - context)
            made = self.m_source.turns(values[:, :drop]).remainder(1).sum(1)
            start = (made if start is None else start + made).remainder(1)
            mel, noise = mel[..., drop:], noise[:, drop * hop :]
            f0 = values[:, drop : values.shape[-1] - self.f0_predictor.layers]
            done = stop - drop
        if mel.shape[-1] > done:
            yield emit(pitch(), mel.shape[-1])

    def _noise(self, batch: int, frames: int, generator: torch.Generator | None) -> Tensor:
        channels = self.m_source.channels
        device = self.conv_pre.weight.device
        return draw_noise(
            batch, frames, self.spec.hop_length, channels, generator=generator, device=device
        )
