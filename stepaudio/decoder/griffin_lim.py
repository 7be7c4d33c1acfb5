"""Sound from mel without any weights: the baseline every vocoder has to beat.

The mel is unmixed into a magnitude spectrum by non-negative least squares, and phases that fit
it are found by the accelerated algorithm of Griffin and Lim (Griffin & Lim 1984; Perraudin,
Balazs & Sondergaard 2013).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Self

from stepaudio.decoder.mel import mel_filters, mel_pieces, require_mel
from stepaudio.decoder.stft import istft, stft
from stepaudio.hub import CONFIG_FILE, config_from_dict, read_json, write_atomic
from stepaudio.interfaces import Vocoder
from stepaudio.types import MelSpec

__all__ = ["GriffinLim", "GriffinLimConfig", "unmix_mel"]

# Frames whose phases are kept for the next piece of a stream, and frames held back because
# their phases may still change when their right neighbours arrive.
_LEFT_FRAMES = 12
_RIGHT_FRAMES = 4


def unmix_mel(mel: Tensor, spec: MelSpec, *, iterations: int = 30) -> Tensor:
    """Find a non-negative magnitude spectrum with the given mel.

    Args:
        mel: ``[B, C, T]`` log-mel.
        spec: its front end.
        iterations: multiplicative updates after the pseudo-inverse (Lee & Seung 2001); each one
            lowers the squared error and keeps the sign.

    Returns:
        ``[B, n_fft // 2 + 1, T]`` magnitudes.
    """
    filters = mel_filters(spec, mel.device, mel.dtype)
    wanted = mel.exp()
    start = torch.linalg.pinv(filters) @ wanted
    # A bin that starts at zero stays there, so negative ones start small instead.
    result = torch.where(start > 0, start, 0.01 * wanted.mean(dim=1, keepdim=True))
    numerator = filters.T @ wanted
    for _ in range(iterations):
        result = result * numerator / (filters.T @ (filters @ result)).clamp(min=1e-12)
    return result


@dataclass(frozen=True)
class GriffinLimConfig:
    """What is stored of a :class:`GriffinLim`, which has no weights.

    Attributes:
        mel: front end it reads.
        iterations: rounds of transform and inverse.
        momentum: acceleration.
    """

    mel: MelSpec = field(default_factory=MelSpec)
    iterations: int = 32
    momentum: float = 0.99


class GriffinLim(Vocoder):
    """Iterative phase retrieval.

    Args:
        spec: front end it reads.
        iterations: rounds of transform and inverse.
        momentum: acceleration, 0 is the algorithm of 1984.
    """

    def __init__(
        self, spec: MelSpec | None = None, *, iterations: int = 32, momentum: float = 0.99
    ) -> None:
        self._spec = MelSpec() if spec is None else spec
        self.iterations = iterations
        self.momentum = momentum

    def save_pretrained(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write ``config.json``.

        Args:
            folder: made if needed.
            force: allow replacing an existing file.

        Returns:
            The folder.

        Raises:
            OutputExistsError: the file exists and ``force`` is False.
        """
        config = GriffinLimConfig(self.spec, self.iterations, self.momentum)
        text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
        write_atomic(
            Path(folder) / CONFIG_FILE,
            lambda path: path.write_text(text, encoding="utf-8"),
            force=force,
        )
        return Path(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a folder written by :meth:`save_pretrained`.

        Args:
            folder: a local folder.

        Returns:
            The vocoder.

        Raises:
            CheckpointError: the file is missing, damaged or has unknown settings.
        """
        path = Path(folder) / CONFIG_FILE
        config = config_from_dict(GriffinLimConfig, read_json(path), path)
        return cls(config.mel, iterations=config.iterations, momentum=config.momentum)

    @property
    def spec(self) -> MelSpec:
        """The front end it reads."""
        return self._spec

    @torch.no_grad()
    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Turn mel into sound.

        Args:
            mel: ``[B, C, T]`` log-mel.
            generator: source of the initial phases.

        Returns:
            ``[B, T * hop_length]`` samples in [-1, 1].

        Raises:
            SpecMismatchError: the mel has other bins or dimensions, or no frames.
        """
        require_mel(mel, self.spec)
        spectrum = self._retrieve(unmix_mel(mel.float(), self.spec), None, generator)
        return istft(spectrum, self.spec).clamp(-1, 1)

    @torch.no_grad()
    def stream(
        self, mels: Iterator[Tensor], *, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Turn consecutive pieces into sound.

        Phases already found are kept, so pieces join without a seam; the result is another
        solution than that of the whole recording.

        Args:
            mels: ``[C, t]`` pieces, without overlap.
            generator: source of the initial phases.

        Yields:
            ``[s]`` pieces, late by a few frames.

        Raises:
            SpecMismatchError: a piece has other bins or dimensions.
        """
        magnitude: Tensor | None = None
        known: Tensor | None = None  # spectrum of the settled frames at the start of magnitude
        settled = 0
        for piece in mel_pieces(mels, self.spec):
            fresh = unmix_mel(piece[None].float(), self.spec)
            magnitude = fresh if magnitude is None else torch.cat([magnitude, fresh], dim=-1)
            stop = magnitude.shape[-1] - _RIGHT_FRAMES
            if stop <= settled:
                continue
            spectrum = self._retrieve(magnitude, known, generator)
            yield self._samples(spectrum, settled, stop)
            drop = max(0, stop - _LEFT_FRAMES)
            magnitude, known = magnitude[..., drop:], spectrum[..., drop:stop]
            settled = stop - drop
        if magnitude is not None and magnitude.shape[-1] > settled:
            spectrum = self._retrieve(magnitude, known, generator)
            yield self._samples(spectrum, settled, magnitude.shape[-1])

    def _samples(self, spectrum: Tensor, start: int, stop: int) -> Tensor:
        hop = self.spec.hop_length
        return istft(spectrum, self.spec)[0, start * hop : stop * hop].clamp(-1, 1)

    def _retrieve(
        self, magnitude: Tensor, known: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Find a complex spectrum ``[B, F, T]`` with this magnitude.

        Args:
            magnitude: ``[B, F, T]``.
            known: ``[B, F, K]`` complex spectrum of the first frames, left as it is.
            generator: source of the initial phases.

        Returns:
            ``[B, F, T]`` complex.
        """
        frames = magnitude.shape[-1]
        # A waveform shorter than a frame's margin could not be reflected.
        shortest = (self.spec.n_fft - self.spec.hop_length) // (2 * self.spec.hop_length) + 1
        missing = max(0, shortest - frames)
        magnitude = torch.cat([magnitude, magnitude[..., -1:].expand(-1, -1, missing)], dim=-1)
        # Drawn where the generator lives, so a seed gives the same sound on every device.
        place = magnitude.device if generator is None else generator.device
        phase = torch.rand(magnitude.shape, generator=generator, device=place).to(magnitude.device)
        spectrum = torch.polar(magnitude, 2 * torch.pi * phase)
        previous = torch.zeros_like(spectrum)
        for _ in range(self.iterations):
            if known is not None:
                spectrum[..., : known.shape[-1]] = known
            rebuilt = stft(istft(spectrum, self.spec), self.spec)
            pushed = rebuilt - previous * (self.momentum / (1 + self.momentum))
            previous = rebuilt
            spectrum = magnitude * pushed / pushed.abs().clamp(min=1e-12)
        if known is not None:
            spectrum[..., : known.shape[-1]] = known
        return spectrum[..., :frames]
