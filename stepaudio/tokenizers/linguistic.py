"""Linguistic tokenizer: what is said, as one of 1024 codes every 60 ms.

Filter banks at a low frame rate, a chunked SAN-M encoder taken from a speech recogniser, and the
nearest of its k-means centroids (paper section 2.1; published system, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from typing_extensions import Self

from stepaudio.hub import Pretrained
from stepaudio.tokenizers.features import apply_cmvn, fbank_frames, kaldi_fbank, low_frame_rate
from stepaudio.tokenizers.preprocess import require_channel
from stepaudio.tokenizers.sanm import SANMConfig, SANMEncoder, Windows

__all__ = ["LinguisticConfig", "LinguisticTokenizer", "code_count"]

SAMPLE_RATE = 16000
FRAME, SHIFT = 400, 160  # samples a filter-bank frame sees, and advances
STACK, SKIP = 7, 6  # filter-bank frames per code: seen, advanced
SIXTEEN_BIT = 32768.0  # the encoder was trained on integer samples
FBANK_BLOCK = 6000  # filter-bank frames computed at once
WINDOW_BLOCK = 1024  # encoder windows computed at once, about 4 minutes of sound


def code_count(num_samples: int, chunk: int = 4) -> int:
    """Number of codes of a recording, exactly.

    One per started group of 6 filter-bank frames; but the frames after the last whole chunk give
    codes only if they fill one stack of 7, so a remainder under 880 samples adds nothing.

    Args:
        num_samples: length at 16 kHz.
        chunk: codes per encoder chunk.

    Returns:
        Number of codes, e.g. 16000 samples give 16 and 48000 give 50.
    """
    whole = num_samples // (chunk * SKIP * SHIFT) * chunk
    padded = STACK // 2 + fbank_frames(num_samples, SAMPLE_RATE) - whole * SKIP
    if padded < STACK:
        return whole
    return whole + math.ceil((padded - STACK // 2) / SKIP)


@dataclass(frozen=True)
class LinguisticConfig:
    """Sizes of the linguistic tokenizer; the defaults are the published ones.

    Attributes:
        encoder: sizes of the encoder; its ``input_dim`` must be ``7 * n_mels``.
        n_mels: filter banks.
        codebook_size: number of k-means centroids.
    """

    encoder: SANMConfig = field(default_factory=SANMConfig)
    n_mels: int = 80
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        if self.encoder.input_dim != STACK * self.n_mels:
            raise ValueError(
                f"encoder.input_dim is {self.encoder.input_dim} but {STACK} frames of "
                f"{self.n_mels} filter banks are {STACK * self.n_mels}"
            )

    @classmethod
    def release(cls) -> Self:
        """The published shapes."""
        return cls()

    @classmethod
    def nano(cls) -> Self:
        """Sizes of the embedded model."""
        encoder = SANMConfig(width=160, depth=5, heads=4, ffn=640)
        return cls(encoder=encoder, codebook_size=1024)

    @classmethod
    def debug(cls) -> Self:
        """Small enough for a test."""
        return cls(encoder=SANMConfig.debug())


class LinguisticTokenizer(Pretrained):
    """Recordings at 16 kHz to linguistic codes at 16.7 Hz."""

    config_class = LinguisticConfig
    cmvn_shift: Tensor
    cmvn_scale: Tensor
    codebook: Tensor

    def __init__(self, config: LinguisticConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SANMEncoder(config.encoder)
        inputs, width = config.encoder.input_dim, config.encoder.width
        self.register_buffer("cmvn_shift", torch.zeros(inputs))
        self.register_buffer("cmvn_scale", torch.ones(inputs))
        self.register_buffer("codebook", torch.zeros(config.codebook_size, width))

    @property
    def sample_rate(self) -> int:
        """Rate of the waveforms it reads, Hz."""
        return SAMPLE_RATE

    def code_count(self, num_samples: int) -> int:
        """Number of codes of a recording of ``num_samples`` samples at 16 kHz."""
        return code_count(num_samples, self.config.encoder.chunk)

    def features(self, waveform: Tensor) -> Tensor:
        """Normalised low-frame-rate features of one recording.

        Args:
            waveform: ``[S]`` samples in [-1, 1] at 16 kHz.

        Returns:
            ``[T, 7 * n_mels]`` with ``T = code_count(S)``.

        Raises:
            AudioError: ``waveform`` is not one channel of floating-point samples.
        """
        require_channel(waveform, "the linguistic tokenizer")
        waveform = waveform.to(self.cmvn_shift.device, torch.float32)
        count = self.code_count(len(waveform))
        if count == 0:
            return self.cmvn_shift.new_zeros(0, len(self.cmvn_shift))
        # Frames are independent, so long recordings are done in blocks that bound memory.
        size = (FBANK_BLOCK - 1) * SHIFT + FRAME
        starts = range(0, fbank_frames(len(waveform), SAMPLE_RATE) * SHIFT, FBANK_BLOCK * SHIFT)
        blocks = [
            kaldi_fbank(waveform[i : i + size], n_mels=self.config.n_mels, scale=SIXTEEN_BIT)
            for i in starts
        ]
        stacked = low_frame_rate(torch.cat(blocks), STACK, SKIP)[:count]
        return apply_cmvn(stacked.to(self.cmvn_shift), self.cmvn_shift, self.cmvn_scale)

    def hidden(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encoder states of a padded batch; differentiable.

        Args:
            feats: ``[B, T, C]`` from :meth:`features`, padded with anything.
            lengths: ``[B]`` valid frames; None if all are.

        Returns:
            ``[B, T, D]``, zero past each length.
        """
        states: Tensor = self.encoder(feats, lengths)
        return states

    def quantize(self, hidden: Tensor) -> Tensor:
        """Nearest centroid by Euclidean distance.

        Args:
            hidden: ``[..., D]`` encoder states.

        Returns:
            ``[...]`` int64 codes.
        """
        # |h - c|^2 without |h|^2, which is the same for every centroid.
        offset = self.codebook.square().sum(-1) / 2
        return (hidden @ self.codebook.T - offset).argmax(-1)

    @torch.no_grad()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Tokenize recordings together, in memory bounded whatever their number and length.

        Args:
            waveforms: ``[S_i]`` samples in [-1, 1] at 16 kHz each.

        Returns:
            ``[code_count(S_i)]`` int64 codes each; empty for a recording under 55 ms.

        Raises:
            AudioError: a waveform is not one channel of floating-point samples.
        """
        c = self.config.encoder
        codes = [torch.zeros(0, dtype=torch.int64, device=self.codebook.device)]
        carry = None
        for windows in self._blocks(waveforms):
            states, carry = self.encoder.encode(windows, carry)
            valid = torch.arange(c.chunk, device=states.device) < windows.new[:, None]
            codes.append(self.quantize(states[:, c.overlap :][valid]))
        counts = [self.code_count(len(w)) for w in waveforms]
        return list(torch.split(torch.cat(codes), counts))

    def _blocks(self, waveforms: Sequence[Tensor]) -> Iterator[Windows]:
        """The windows of all recordings in order, in blocks of ``WINDOW_BLOCK``."""
        waiting: list[Windows] = []
        for waveform in waveforms:
            feats = self.features(waveform)
            if not len(feats):
                continue
            waiting.append(self.encoder.cut(feats[None]))
            if sum(map(len, waiting)) > WINDOW_BLOCK:
                joined = Windows.cat(waiting)
                while len(joined) > WINDOW_BLOCK:
                    yield joined[:WINDOW_BLOCK]
                    joined = joined[WINDOW_BLOCK:]
                waiting = [joined]
        if waiting:
            yield Windows.cat(waiting)
