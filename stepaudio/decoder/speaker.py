"""CAM++ speaker encoder: a recording to one vector that describes the voice.

Published system section 6.5 (the 3D-Speaker recipe): a small two-dimensional residual head shrinks
80 mel bands to 10, a strided TDNN halves the frame rate, three densely connected blocks refine the
frames, and their mean and standard deviation over time give the embedding. The mask that gives
CAM++ its name weighs every channel by the context of the whole recording and of its own second.

Every convolution that is followed by a batch norm has no bias of its own, so the network can be
trained from nothing. Published weights have those norms folded into the convolutions;
:func:`neutral_batchnorm` turns such a folded bias back into a batch norm that does nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Self

from stepaudio.errors import AudioError
from stepaudio.hub import Pretrained
from stepaudio.tokenizers.features import kaldi_fbank

if TYPE_CHECKING:
    from stepaudio.audio import Audio

__all__ = ["CAMPPlus", "CAMPPlusConfig", "neutral_batchnorm"]

SAMPLE_RATE = 16000

#: Fewest filter-bank frames with a standard deviation: two are left after the stride of two.
MIN_FRAMES = 3


@dataclass(frozen=True)
class CAMPPlusConfig:
    """Sizes of the network; the defaults are the published ones.

    Attributes:
        n_mels: filter-bank bands read, a multiple of 8.
        embedding_dim: size of the embedding.
        head_channels: channels of the two-dimensional head.
        init_channels: channels after the first TDNN.
        growth: channels every dense layer adds.
        bottleneck: hidden channels of a dense layer, in units of ``growth``.
        blocks: dense layers per block; each block ends by halving its channels.
        dilations: of the convolutions of each block, in frames.
        segment: frames (20 ms each) pooled together as local context of the mask.
    """

    n_mels: int = 80
    embedding_dim: int = 192
    head_channels: int = 32
    init_channels: int = 128
    growth: int = 32
    bottleneck: int = 4
    blocks: tuple[int, ...] = (12, 24, 16)
    dilations: tuple[int, ...] = (1, 2, 2)
    segment: int = 100

    def __post_init__(self) -> None:
        if self.n_mels % 8:
            raise ValueError(f"n_mels must be a multiple of 8, got {self.n_mels}")
        if len(self.blocks) != len(self.dilations):
            raise ValueError(
                f"{len(self.blocks)} blocks need as many dilations, not {self.dilations}"
            )

    @classmethod
    def release(cls) -> Self:
        """Published shapes (6.9 M parameters)."""
        return cls()

    @classmethod
    def nano(cls) -> Self:
        """Sizes of the embedded model."""
        return cls(embedding_dim=96, head_channels=8, init_channels=48, growth=16, blocks=(4, 6, 4))

    @classmethod
    def debug(cls) -> Self:
        """Smallest useful network, for tests."""
        return cls(
            embedding_dim=16,
            head_channels=4,
            init_channels=8,
            growth=4,
            bottleneck=2,
            blocks=(1, 1),
            dilations=(1, 2),
        )


def neutral_batchnorm(bias: Tensor, eps: float = 1e-5) -> dict[str, Tensor]:
    """State of a batch norm that only adds ``bias``.

    A variance of ``1 - eps`` makes the divisor ``sqrt(var + eps)`` one, so a convolution with a
    folded norm and its unfolded form compute the same, and the result can still be trained.

    Args:
        bias: ``[C]`` what to add.
        eps: of the batch norm.

    Returns:
        ``weight``, ``bias``, ``running_mean``, ``running_var`` ``[C]`` and ``num_batches_tracked``.
    """
    return {
        "weight": torch.ones_like(bias),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1.0 - eps),
        "num_batches_tracked": torch.zeros((), dtype=torch.int64),
    }


class CAMPPlus(Pretrained):
    """The speaker encoder; satisfies :class:`stepaudio.interfaces.SpeakerEncoder`."""

    config_class = CAMPPlusConfig

    def __init__(self, config: CAMPPlusConfig) -> None:
        super().__init__()
        self.config = config
        self.head = _Head(config.head_channels)
        self.xvector = _XVector(config, self.head.out_channels(config.n_mels))

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        return int(self.config.embedding_dim)

    def forward(self, fbank: Tensor) -> Tensor:
        """Embed a batch of equally long filter banks; differentiable.

        Args:
            fbank: ``[B, T, n_mels]`` Kaldi log filter bank at 100 Hz of 16 kHz samples in [-1, 1]
                (Povey window, no dither), at least 3 frames. Its mean over time is removed here.

        Returns:
            ``[B, D]`` embeddings, not normalised.

        Raises:
            AudioError: fewer than 3 frames.
        """
        if fbank.shape[1] < MIN_FRAMES:
            raise AudioError(
                f"a speaker embedding needs at least {MIN_FRAMES} frames of 10 ms, "
                f"got {fbank.shape[1]}; give a longer recording"
            )
        centred = fbank - fbank.mean(dim=1, keepdim=True)
        frames: Tensor = self.head(centred.transpose(1, 2))
        embedding: Tensor = self.xvector(frames)
        return embedding

    @torch.no_grad()
    def embed(self, audio: Audio) -> Tensor:
        """Embed one recording; call in evaluation mode.

        Args:
            audio: of any rate.

        Returns:
            ``[D]`` float32 embedding, not normalised.

        Raises:
            AudioError: shorter than 45 ms.
        """
        weight = self.head.conv1.weight
        samples = audio.resample(SAMPLE_RATE).samples.to(weight.device)
        fbank = kaldi_fbank(samples, n_mels=self.config.n_mels, window="povey")
        embedding: Tensor = self(fbank[None].to(weight.dtype))[0]
        return embedding.float()


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the stride acts on frequency only."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class _Head(nn.Module):
    """``[B, M, T]`` filter bank to ``[B, channels * M / 8, T]`` through residual convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_ResidualBlock(channels, 2), _ResidualBlock(channels, 1))
        self.layer2 = nn.Sequential(_ResidualBlock(channels, 2), _ResidualBlock(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def out_channels(self, n_mels: int) -> int:
        return self.channels * (n_mels // 8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x[:, None])))
        x = self.layer2(self.layer1(x))
        x = F.relu(self.bn2(self.conv2(x)))
        return rearrange(x, "b c m t -> b (c m) t")


class _Norm(nn.Module):
    """Batch norm and ReLU under the published name ``batchnorm``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batchnorm(x))


class _ContextMask(nn.Module):
    """Convolution whose channels are weighed by global plus segment context."""

    def __init__(self, channels: int, out: int, dilation: int, segment: int) -> None:
        super().__init__()
        self.segment = segment
        self.linear_local = nn.Conv1d(
            channels, out, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        # The context is constant within a segment, so the mask is computed once per segment.
        # The last segment is averaged over the frames it has.
        context = F.avg_pool1d(x, self.segment, self.segment, ceil_mode=True)
        context = context + x.mean(dim=-1, keepdim=True)
        mask = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        mask = mask.repeat_interleave(self.segment, dim=-1)[..., : x.shape[-1]]
        local: Tensor = self.linear_local(x)
        return local * mask


class _DenseLayer(nn.Module):
    """Bottleneck, then masked convolution: ``[B, C, T]`` to the ``growth`` channels it adds."""

    def __init__(self, channels: int, config: CAMPPlusConfig, dilation: int) -> None:
        super().__init__()
        hidden = config.growth * config.bottleneck
        self.nonlinear1 = _Norm(channels)
        self.linear1 = nn.Conv1d(channels, hidden, 1, bias=False)
        self.nonlinear2 = _Norm(hidden)
        self.cam_layer = _ContextMask(hidden, config.growth, dilation, config.segment)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return out


class _DenseBlock(nn.Module):
    """Layers that each read everything before them."""

    def __init__(self, channels: int, depth: int, config: CAMPPlusConfig, dilation: int) -> None:
        super().__init__()
        for i in range(depth):
            layer = _DenseLayer(channels + i * config.growth, config, dilation)
            self.add_module(f"tdnnd{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class _Tdnn(nn.Module):
    """Strided convolution over time, 100 Hz to 50 Hz."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _Norm(out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.nonlinear(self.linear(x))
        return out


class _Transition(nn.Module):
    """Halves the channels between blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _Norm(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.nonlinear(x))
        return out


class _Projection(nn.Module):
    """Pooled statistics to the embedding; its batch norm has no gain and no bias."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(out, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.nonlinear(self.linear(x[..., None])[..., 0])
        return out


class _XVector(nn.Module):
    """``[B, C, T]`` frames of the head to ``[B, D]`` embeddings."""

    def __init__(self, config: CAMPPlusConfig, channels: int) -> None:
        super().__init__()
        self.tdnn = _Tdnn(channels, config.init_channels)
        channels = config.init_channels
        for i, (depth, dilation) in enumerate(
            zip(config.blocks, config.dilations, strict=True), start=1
        ):
            self.add_module(f"block{i}", _DenseBlock(channels, depth, config, dilation))
            channels += depth * config.growth
            self.add_module(f"transit{i}", _Transition(channels))
            channels //= 2
        self.out_nonlinear = _Norm(channels)
        self.dense = _Projection(2 * channels, config.embedding_dim)

    def frames(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` to the ``[B, C', ceil(T / 2)]`` frames that are pooled."""
        x = self.tdnn(x)
        for name, module in self.named_children():
            if name.startswith(("block", "transit")):
                x = module(x)
        out: Tensor = self.out_nonlinear(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        frames = self.frames(x)
        statistics = torch.cat([frames.mean(dim=-1), frames.std(dim=-1, unbiased=True)], dim=-1)
        out: Tensor = self.dense(statistics)
        return out
