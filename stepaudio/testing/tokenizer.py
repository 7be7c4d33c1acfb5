"""The contract of a tokenizer."""

from __future__ import annotations

import math

import torch

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.interfaces import Tokenizer
from stepaudio.testing.rules import demand, seeded
from stepaudio.types import SpeechTokens, TokenizerSpec

__all__ = ["check_tokenizer"]

# The published preparation adds 0.27 s, and up to a unit is lost to whole units.
_SLACK_SECONDS = 0.4


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.Tokenizer`.

    Rules: the spec is a ``TokenizerSpec``; tokens carry the spec's codebooks; both streams last as
    long as the recording; any input rate is accepted; a batch gives exactly what its singles give,
    in order; the same input gives the same codes; inputs are left alone; a recording too short for
    one unit is refused with ``AudioError``, unless it is padded until it fills one.

    Args:
        tokenizer: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec = tokenizer.spec
    demand(isinstance(spec, TokenizerSpec), f"spec must be a TokenizerSpec, got {type(spec)}")
    audios = [
        _voice_like(1.5, spec.sample_rate, 0),
        _voice_like(0.7, spec.sample_rate, 1),
        _voice_like(1.1, 8000, 2),
        _voice_like(1.0, 48000, 3),
    ]
    before = [audio.samples.clone() for audio in audios]
    singles = [_encode_one(tokenizer, audio) for audio in audios]
    for audio, samples in zip(audios, before, strict=True):
        demand(torch.equal(audio.samples, samples), "encode must not change the samples it reads")
    for audio, tokens in zip(audios, singles, strict=True):
        demand(
            tokens.spec == spec.tokens,
            f"tokens must carry the codebooks of the spec: {tokens.spec} against {spec.tokens}",
        )
        for stream, codes in (
            (spec.tokens.linguistic, tokens.linguistic),
            (spec.tokens.semantic, tokens.semantic),
        ):
            seconds = float(len(codes) / stream.rate)
            demand(
                math.isclose(seconds, audio.seconds, abs_tol=_SLACK_SECONDS),
                f"the {stream.name} stream of a recording of {audio.seconds:.2f} s lasts "
                f"{seconds:.2f} s; its rate must be {stream.rate} tokens per second",
            )
    for audio, first in zip(audios, singles, strict=True):
        demand(
            _same(_encode_one(tokenizer, audio), first),
            "encoding the same recording twice must give the same codes",
        )
    batch = tokenizer.encode(audios)
    demand(
        len(batch) == len(audios),
        f"{len(audios)} recordings must give as many results, got {len(batch)}",
    )
    for index, (one, many) in enumerate(zip(singles, batch, strict=True)):
        demand(_same(one, many), f"recording {index} has other codes in a batch than alone")
    short = _voice_like(0.005, spec.sample_rate, 4)
    try:
        padded = _encode_one(tokenizer, short)
    except AudioError:
        return
    demand(
        padded.num_units > 0,
        "a recording of 5 ms must be refused with AudioError or padded to a unit, "
        "but it gave no unit",
    )


def _encode_one(tokenizer: Tokenizer, audio: Audio) -> SpeechTokens:
    result = tokenizer.encode([audio])
    demand(
        isinstance(result, list)
        and len(result) == 1
        and all(isinstance(tokens, SpeechTokens) for tokens in result),
        "encode must return a list with one SpeechTokens per recording",
    )
    return result[0]


def _same(a: SpeechTokens, b: SpeechTokens) -> bool:
    return torch.equal(a.linguistic, b.linguistic) and torch.equal(a.semantic, b.semantic)


def _voice_like(seconds: float, rate: int, seed: int) -> Audio:
    """Gliding harmonics and a little noise: loud throughout, so that nothing is trimmed."""
    time = torch.arange(max(1, round(seconds * rate)), dtype=torch.float64) / rate
    pitch = 120.0 + 15.0 * seed
    phase = 2 * math.pi * (pitch * time + 20.0 * torch.sin(2 * math.pi * 1.3 * time) / 8.0)
    tone = sum(torch.sin(k * phase) / k for k in range(1, 12))
    noise = torch.randn(len(time), generator=seeded(seed)[0], dtype=torch.float64)
    return Audio((0.15 * tone + 0.01 * noise).float(), rate)
