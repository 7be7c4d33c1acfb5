"""Tokens to sound while the tokens are still being made, as published: chunks and cross-fades.

Published system, section "streaming". Every chunk of mel is vocoded together with the last frames
of the one before; the samples of the overlap are faded from the old to the new rendering. The
vocoders' own ``stream`` methods carry exact context instead and need no fade; this is the road
whose numbers equal the published system's.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.hift import HiFTVocoder
from stepaudio.decoder.streaming import MelStream
from stepaudio.errors import SpecMismatchError

__all__ = ["BigVGANRenderer", "ChunkRenderer", "CrossFade", "HiFTRenderer", "SpeechStream"]


class ChunkRenderer(Protocol):
    """A vocoder that renders chunks which share some frames.

    Attributes:
        shared_frames: mel frames that consecutive chunks have in common.
        overlap: samples that their renderings have in common.
    """

    shared_frames: int
    overlap: int

    def render(self, mel: Tensor, *, first: bool, last: bool) -> Tensor:
        """One chunk to sound.

        Args:
            mel: ``[C, T]``; unless ``first``, it begins with the last frames of the chunk before.
            first: nothing precedes.
            last: nothing follows.

        Returns:
            ``[s]`` samples.
        """
        ...


class HiFTRenderer:
    """HiFT by chunks: the harmonic source of the shared frames is carried over."""

    def __init__(
        self,
        vocoder: HiFTVocoder,
        *,
        shared_frames: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        """Wrap a vocoder.

        Args:
            vocoder: does the work.
            shared_frames: mel frames that consecutive chunks share.
            generator: source of the excitation's noise.
        """
        self.shared_frames = shared_frames
        self._vocoder = vocoder
        self._generator = generator
        self._source: Tensor | None = None
        self.overlap = shared_frames * vocoder.spec.hop_length

    def render(self, mel: Tensor, *, first: bool, last: bool) -> Tensor:
        """One chunk to sound, ``[C, T]`` to ``[T * hop_length]``."""
        wave, source = self._vocoder.vocode(
            mel[None], cached_source=None if first else self._source, generator=self._generator
        )
        self._source = source[..., -self.overlap :]
        return wave[0]


class BigVGANRenderer:
    """The published BigVGAN by chunks: only the true ends are reflected."""

    def __init__(self, vocoder: BigVGANVocoder, *, shared_frames: int = 8) -> None:
        """Wrap a vocoder.

        Args:
            vocoder: does the work.
            shared_frames: mel frames that consecutive chunks share.

        Raises:
            SpecMismatchError: the generator pads its own input, so chunks would not join.
        """
        if not vocoder.config.reflect_input:
            raise SpecMismatchError(
                "this BigVGAN pads its input with zeros and cannot be cross-faded; "
                "use its own stream method"
            )
        self.shared_frames = shared_frames
        self._vocoder = vocoder
        self._edge = vocoder.conv_pre.kernel_size[0] // 2
        self.overlap = (shared_frames - 2 * self._edge) * vocoder.spec.hop_length

    @torch.no_grad()
    def render(self, mel: Tensor, *, first: bool, last: bool) -> Tensor:
        """One chunk to sound, ``[C, T]`` to 3 frames less at every end that is not a true one."""
        pads = (self._edge if first else 0, self._edge if last else 0)
        mode = "reflect" if mel.shape[1] > self._edge else "replicate"
        wave: Tensor = self._vocoder(F.pad(mel[None], pads, mode=mode))
        return wave[0]


class CrossFade:
    """Joins chunk renderings; what the next chunk will fade over is held back."""

    def __init__(self, renderer: ChunkRenderer) -> None:
        """Start with nothing.

        Args:
            renderer: the vocoder.
        """
        self._renderer = renderer
        # The two halves of this window do not add to 1 but to 1.08: part of the published numbers.
        window = torch.hamming_window(2 * renderer.overlap, periodic=False, dtype=torch.float64)
        self._rise, self._fall = window.float().chunk(2)
        self._mel: Tensor | None = None
        self._tail: Tensor | None = None

    def push(self, mel: Tensor, *, last: bool) -> Tensor:
        """Render the next chunk.

        Args:
            mel: ``[C, t]``, not overlapping the chunk before; at least ``shared_frames`` frames
                unless ``last``.
            last: nothing follows.

        Returns:
            ``[s]`` samples that are final.
        """
        first = self._mel is None
        mel = mel if self._mel is None else torch.cat([self._mel, mel], dim=1)
        wave = self._renderer.render(mel, first=first, last=last)
        overlap = self._renderer.overlap
        if self._tail is not None:
            rise, fall = self._rise.to(wave), self._fall.to(wave)
            faded = wave[:overlap] * rise + self._tail * fall
            wave = torch.cat([faded, wave[overlap:]])
        if last:
            return wave
        self._mel, self._tail = mel[:, -self._renderer.shared_frames :], wave[-overlap:]
        return wave[:-overlap]


class SpeechStream:
    """One running stream: push audio ids, get samples."""

    def __init__(self, mels: MelStream, fade: CrossFade) -> None:
        """Join the two halves.

        Args:
            mels: fresh stream of mel.
            fade: fresh cross-fade.
        """
        self._mels = mels
        self._fade = fade

    def push(self, ids: Tensor) -> Tensor | None:
        """Add ids.

        Args:
            ids: ``[N]`` audio ids, any number.

        Returns:
            ``[s]`` new samples, or None while there are too few ids for the next chunk.
        """
        waves = [self._fade.push(mel, last=False) for mel in self._mels.push(ids)]
        return torch.cat(waves) if waves else None

    def finish(self) -> Tensor | None:
        """Render what is left.

        Returns:
            ``[s]`` the last samples, None if there were no ids at all.
        """
        waves = [self._fade.push(mel, last=True) for mel in self._mels.finish()]
        return torch.cat(waves) if waves else None
