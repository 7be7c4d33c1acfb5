"""The contract of a vocoder."""

from __future__ import annotations

import torch
from torch import Tensor

from stepaudio.interfaces import Vocoder
from stepaudio.testing.rules import demand, demand_close, demand_refusal, seeded
from stepaudio.types import MelSpec

__all__ = ["check_vocoder"]


def check_vocoder(vocoder: Vocoder) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.Vocoder`.

    Rules: the spec is a ``MelSpec``; ``T`` frames give ``T * hop_length`` finite float32 samples in
    [-1, 1], whole and in pieces; the same generator state gives the same samples; a vocoder
    without noise gives a batch what it gives its singles; mel of another shape is refused.

    Args:
        vocoder: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec = vocoder.spec
    demand(isinstance(spec, MelSpec), f"spec must be a MelSpec, got {type(spec)}")
    mels = _mel(spec, 2, 40)
    with torch.no_grad():
        waves = _synthesize(vocoder, mels, 7)
        demand(
            torch.equal(waves, _synthesize(vocoder, mels, 7)),
            "synthesize must give the same samples for the same generator state",
        )
        noiseless = torch.equal(waves, _synthesize(vocoder, mels, 8))
        single = _synthesize(vocoder, mels[1:], 7)
        if noiseless:
            demand_close(
                waves[1:], single, 1e-4, "a mel must sound the same in a batch as it does alone"
            )
        _synthesize(vocoder, _mel(spec, 1, 17), 7)
        _check_stream(vocoder, mels[0])
        _check_refusals(vocoder, spec)


def _check_stream(vocoder: Vocoder, mel: Tensor) -> None:
    hop = vocoder.spec.hop_length
    for sizes in ([40], [15, 9, 16], [1, 39]):
        pieces = list(vocoder.stream(iter(torch.split(mel, sizes, dim=1)), generator=seeded(7)[0]))
        demand(
            all(piece.dim() == 1 for piece in pieces),
            "stream must yield one-dimensional pieces of samples",
        )
        total = sum(len(piece) for piece in pieces)
        demand(
            total == mel.shape[1] * hop,
            f"{mel.shape[1]} frames streamed in pieces of {sizes} must give "
            f"{mel.shape[1] * hop} samples, got {total}",
        )
        demand(
            all(bool(piece.isfinite().all()) for piece in pieces), "streamed samples must be finite"
        )


def _check_refusals(vocoder: Vocoder, spec: MelSpec) -> None:
    wrong_bins = torch.zeros(1, spec.n_mels + 1, 20)
    demand_refusal(
        lambda: vocoder.synthesize(wrong_bins),
        f"mel with {spec.n_mels + 1} instead of {spec.n_mels} bins must be refused",
    )
    no_batch = torch.zeros(spec.n_mels, 20)
    demand_refusal(
        lambda: vocoder.synthesize(no_batch), "mel without a batch dimension must be refused"
    )


def _mel(spec: MelSpec, batch: int, frames: int) -> Tensor:
    noise = torch.randn(batch, spec.n_mels, frames, generator=seeded(batch + frames)[0])
    return noise - 4.0


def _synthesize(vocoder: Vocoder, mel: Tensor, seed: int) -> Tensor:
    wave = vocoder.synthesize(mel, generator=seeded(seed)[0])
    expected = (mel.shape[0], mel.shape[2] * vocoder.spec.hop_length)
    demand(
        tuple(wave.shape) == expected,
        f"mel of shape {tuple(mel.shape)} must give samples of shape {expected} "
        f"(hop_length is {vocoder.spec.hop_length}), got {tuple(wave.shape)}",
    )
    demand(wave.dtype == torch.float32, f"samples must be float32, got {wave.dtype}")
    demand(bool(wave.isfinite().all()), "samples must be finite")
    peak = float(wave.abs().max())
    demand(peak <= 1.0 + 1e-6, f"samples must lie in [-1, 1], got {peak:.3g}")
    return wave
