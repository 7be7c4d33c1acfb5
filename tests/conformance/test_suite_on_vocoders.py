"""The conformance suite refuses each way in which a vocoder can break its contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fakes import (
    MEL,
    FakeVocoder,
)
from torch import Tensor

from stepaudio import testing
from stepaudio.testing import ConformanceError


class ChangesWave(FakeVocoder):
    def change(self, wave: Tensor) -> Tensor:
        raise AssertionError

    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return self.change(super().synthesize(mel, **kwargs))


class OneHopShort(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave[:, : -MEL.hop_length]


class TooLoud(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave * 100


class Doubles(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave.double()


class SilentlyBroken(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave * float("nan")


class NormalisesTheBatch(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return wave / len(wave)


class GlobalNoise(ChangesWave):
    def change(self, wave: Tensor) -> Tensor:
        return (wave + 0.01 * torch.randn(wave.shape)).clamp(-1, 1)


class DropsThePieceEnds(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield wave[:-1]


class StreamsBatches(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield wave[None]


class AcceptsAnyBins(FakeVocoder):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel[:, : MEL.n_mels] if mel.dim() == 3 else mel, **kwargs)


class AcceptsNoBatch(FakeVocoder):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel if mel.dim() == 3 else mel[None], **kwargs)


class LoudStream(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield torch.full_like(wave, 50.0)


class StreamsDoubleSamples(FakeVocoder):
    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        for wave in super().stream(mels, **kwargs):
            yield wave.double()


class NeedsTwoFrames(FakeVocoder):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        if mel.shape[-1] < 2:
            raise RuntimeError("too short")
        return super().synthesize(mel, **kwargs)

    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        yield self.synthesize(torch.cat(list(mels), dim=1)[None])[0]


class Framewise(FakeVocoder):
    @property
    def context(self) -> int | None:
        return 0


class HasSeams(Framewise):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel.cumsum(-1) if mel.dim() == 3 else mel, **kwargs)


class LooksFurtherAhead(HasSeams):
    def synthesize(self, mel: Tensor, **kwargs: Any) -> Tensor:
        return super().synthesize(mel.flip(-1), **kwargs)

    def stream(self, mels: Any, **kwargs: Any) -> Iterator[Tensor]:
        yield self.synthesize(torch.cat(list(mels), dim=1)[None])[0]


class EndlessContext(FakeVocoder):
    @property
    def context(self) -> Any:
        return float("inf")


def test_a_vocoder_may_have_a_context() -> None:
    testing.check_vocoder(Framewise())


class NoisyButSeeded(FakeVocoder):
    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        wave = super().synthesize(mel)
        return (wave + 0.01 * torch.randn(wave.shape, generator=generator)).clamp(-1, 1)


def test_a_vocoder_may_have_seeded_noise() -> None:
    testing.check_vocoder(NoisyButSeeded())


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (OneHopShort, "hop_length is 480"),
        (TooLoud, r"must lie in \[-1, 1\]"),
        (Doubles, "must be float32"),
        (SilentlyBroken, "must be finite"),
        (NormalisesTheBatch, "same in a batch"),
        (GlobalNoise, "same samples for the same generator state"),
        (DropsThePieceEnds, "19200 samples, got 19199"),
        (StreamsBatches, "one-dimensional pieces"),
        (AcceptsAnyBins, "5 instead of 4 bins"),
        (AcceptsNoBatch, "without a batch dimension"),
        (LoudStream, r"streamed samples must lie in \[-1, 1\], got 50"),
        (StreamsDoubleSamples, "streamed samples must be float32, got torch.float64"),
        (NeedsTwoFrames, "a single frame .* it raised RuntimeError: too short"),
        (HasSeams, "must stream what it synthesizes"),
        (LooksFurtherAhead, "context is 0, but frames further ahead"),
        (EndlessContext, "number of frames or None, got inf"),
    ],
)
def test_broken_vocoders_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_vocoder(broken())
