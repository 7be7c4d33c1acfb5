"""Listeners that learn to tell the vocoder's sound from recordings, and what it learns from them.

Spectral losses alone leave an average of all sounds that fit, heard as a haze between the
harmonics. One small network per resolution looks at the magnitudes of a short-time spectrum, as in
UnivNet (arXiv 2106.07889) but with a tenth of the channels; least squares tell real from made
(LSGAN, arXiv 1611.04076), and the vocoder also matches what the networks see inside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["SpectrogramDiscriminators", "adversarial_losses"]

#: FFT sizes; hops are about a quarter, so that every network sees as many values.
RESOLUTIONS = (1024, 512, 256)
#: Of the inner layers: channels and strides over frequency and time.
LAYERS = ((16, (2, 1)), (32, (2, 1)), (32, (2, 2)))
SLOPE = 0.1


class SpectrogramDiscriminators(nn.Module):
    """One network per resolution, over log-magnitudes ``[B, 1, F, T]``."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_network() for _ in RESOLUTIONS)

    def forward(self, samples: Tensor) -> list[list[Tensor]]:
        """What each network sees, layer by layer, last its verdict.

        Args:
            samples: ``[B, S]``.

        Returns:
            Per resolution the outputs of all layers, ``[B, C, F, T]``; the last has one channel,
            near 1 for what it takes for a recording.
        """
        seen = []
        for size, network in zip(RESOLUTIONS, self.networks, strict=True):
            window = torch.hann_window(size, device=samples.device)
            spectrum = torch.stft(samples, size, size // 4, window=window, return_complex=True)
            x, layers = spectrum.abs().clamp_min(1e-4).log()[:, None], []
            assert isinstance(network, nn.ModuleList)
            for layer in network:
                x = layer(x)
                layers.append(x)
                x = F.leaky_relu(x, SLOPE)
            seen.append(layers)
        return seen


def _network() -> nn.ModuleList:
    layers, channels = [], 1
    for wider, stride in LAYERS:
        layers.append(nn.Conv2d(channels, wider, (5, 3), stride, padding=(2, 1)))
        channels = wider
    return nn.ModuleList([*layers, nn.Conv2d(channels, 1, 3, padding=1)])


def adversarial_losses(
    listeners: SpectrogramDiscriminators, fake: Tensor, real: Tensor
) -> dict[str, Tensor]:
    """All three losses of one batch; each reaches only who it is for.

    Args:
        listeners: are taught by ``listen`` alone.
        fake: ``[B, S]`` what the vocoder made; taught by ``fool`` and ``match``.
        real: ``[B, S]`` what it should sound like.

    Returns:
        ``listen``: squared error of the verdicts, 0 on what was made and 1 on recordings.
        ``fool``: squared error of 1 on what was made. ``match``: L1 between what the inner layers
        see of both, relative to its size. Means over the networks.
    """
    heard_real = listeners(real)
    heard_made = listeners(fake.detach())
    frozen = {name: parameter.detach() for name, parameter in listeners.named_parameters()}
    judged: list[list[Tensor]] = functional_call(listeners, frozen, (fake,))
    listen, fool, match = (fake.new_zeros(()) for _ in range(3))
    for on_real, on_made, on_fake in zip(heard_real, heard_made, judged, strict=True):
        listen = listen + (on_real[-1] - 1).square().mean() + on_made[-1].square().mean()
        fool = fool + (on_fake[-1] - 1).square().mean()
        for a, b in zip(on_fake[:-1], on_real[:-1], strict=True):
            known = b.detach()
            match = match + F.l1_loss(a, known) / (known.abs().mean() + 1e-6) / len(LAYERS)
    count = len(RESOLUTIONS)
    return {"listen": listen / count, "fool": fool / count, "match": match / count}
