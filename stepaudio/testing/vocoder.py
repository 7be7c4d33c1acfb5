"""The contract of a vocoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepaudio.interfaces import Vocoder
from stepaudio.testing.rules import (
    demand,
    demand_close,
    demand_refusal,
    demand_success,
    seeded,
)
from stepaudio.types import MelSpec

__all__ = ["check_vocoder"]


def check_vocoder(vocoder: Vocoder) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.Vocoder`.

    Rules: the spec is a ``MelSpec``; ``T`` frames, also a single one, give ``T * hop_length``
    finite float32 samples in [-1, 1], whole and in pieces; the same generator state gives the same
    samples; a vocoder without noise gives a batch what it gives its singles; one with a ``context``
    streams what it synthesizes, and frames further ahead than that change nothing; mel of another
    shape is refused.

    Args:
        vocoder: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec, context = vocoder.spec, vocoder.context
    demand(isinstance(spec, MelSpec), f"spec must be a MelSpec, got {type(spec)}")
    demand(
        context is None or (isinstance(context, int) and context >= 0),
        f"context must be a number of frames or None, got {context!r}",
    )
    # With a context, long enough that some frames have all of theirs and neighbours beyond it.
    frames = 40 if context is None else max(40, 2 * context + 20)
    mels = _mel(spec, 2, frames)
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
        if context is not None:
            _check_context(vocoder, mels, context)
        for sizes in ([frames], [15, 9, frames - 24], [1, frames - 10, 9]):
            streamed = _stream(vocoder, mels[1], sizes)
            if context is not None:
                demand_close(
                    streamed,
                    single[0],
                    1e-4,
                    f"a vocoder with a context must stream what it synthesizes, but pieces of "
                    f"{sizes} frames sound different",
                )
        demand_success(
            lambda: (_synthesize(vocoder, mels[:1, :, :1], 7), _stream(vocoder, mels[0], [1])),
            "a single frame must be turned into sound",
        )
        _check_refusals(vocoder, spec)


def _check_context(vocoder: Vocoder, mels: Tensor, context: int) -> None:
    # Only ahead: what came before may reach on without end, as a phase does, and a stream carry it.
    later = mels.shape[2] - 10
    other = torch.cat([mels[:1, :, :later], mels[1:, :, later:]], dim=2)
    same = (later - context) * vocoder.spec.hop_length
    demand_close(
        _synthesize(vocoder, other, 7)[:, :same],
        _synthesize(vocoder, mels[:1], 7)[:, :same],
        1e-5,
        f"context is {context}, but frames further ahead than that change the samples",
    )


def _stream(vocoder: Vocoder, mel: Tensor, sizes: Sequence[int]) -> Tensor:
    """Samples of the first ``sum(sizes)`` frames, given in pieces."""
    mel = mel[:, : sum(sizes)]
    pieces = list(
        vocoder.stream(iter(torch.split(mel, list(sizes), dim=1)), generator=seeded(7)[0])
    )
    demand(
        all(piece.dim() == 1 for piece in pieces),
        "stream must yield one-dimensional pieces of samples",
    )
    expected, total = mel.shape[1] * vocoder.spec.hop_length, sum(len(piece) for piece in pieces)
    demand(
        total == expected,
        f"{mel.shape[1]} frames streamed in pieces of {sizes} must give {expected} samples, "
        f"got {total}",
    )
    for piece in pieces:
        _check_samples(piece, "streamed samples")
    return torch.cat(pieces)


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
    _check_samples(wave, "samples")
    return wave


def _check_samples(wave: Tensor, name: str) -> None:
    demand(wave.dtype == torch.float32, f"{name} must be float32, got {wave.dtype}")
    demand(bool(wave.isfinite().all()), f"{name} must be finite")
    peak = float(wave.abs().max()) if wave.numel() else 0.0
    demand(peak <= 1.0 + 1e-6, f"{name} must lie in [-1, 1], got {peak:.3g}")
