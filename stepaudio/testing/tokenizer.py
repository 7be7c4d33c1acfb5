"""The contract of a tokenizer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.interfaces import Tokenizer
from stepaudio.testing.recordings import hiss, voice_like
from stepaudio.testing.rules import demand
from stepaudio.types import SpeechTokens, TokenizerSpec

__all__ = ["check_tokenizer"]

# The published preparation adds 0.27 s, and up to a unit is lost to whole units.
_SLACK_SECONDS = 0.4


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.Tokenizer`.

    Rules: the spec is a ``TokenizerSpec``; tokens carry the spec's codebooks, and so do centroids,
    where there are any; both streams last as long as the recording and tell a voice from a hiss;
    any input rate is accepted; a batch gives exactly what its singles give, in order; the same
    input gives the same codes; inputs are left alone; a recording too short for one unit is
    refused with ``AudioError``, unless it is padded until it fills one.

    Args:
        tokenizer: the object to check.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec = tokenizer.spec
    demand(isinstance(spec, TokenizerSpec), f"spec must be a TokenizerSpec, got {type(spec)}")
    audios = [
        voice_like(1.5, spec.sample_rate, 0),
        voice_like(0.7, spec.sample_rate, 1),
        voice_like(1.1, 8000, 2),
        voice_like(1.0, 48000, 3),
    ]
    _check_centroids(tokenizer.codebooks(), spec)
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
            _encode_one(tokenizer, audio) == first,
            "encoding the same recording twice must give the same codes",
        )
    batch = tokenizer.encode(audios)
    demand(
        len(batch) == len(audios),
        f"{len(audios)} recordings must give as many results, got {len(batch)}",
    )
    for index, (one, many) in enumerate(zip(singles, batch, strict=True)):
        demand(one == many, f"recording {index} has other codes in a batch than alone")
    noise = _encode_one(tokenizer, hiss(audios[0].seconds, spec.sample_rate, 5))
    for stream, voiced, noisy in (
        (spec.tokens.linguistic, singles[0].linguistic, noise.linguistic),
        (spec.tokens.semantic, singles[0].semantic, noise.semantic),
    ):
        demand(
            not torch.equal(voiced, noisy),
            f"the {stream.name} codes of a voice and of a hiss must differ",
        )
    short = voice_like(0.005, spec.sample_rate, 4)
    try:
        padded = _encode_one(tokenizer, short)
    except AudioError:
        return
    demand(
        padded.num_units > 0,
        "a recording of 5 ms must be refused with AudioError or padded to a unit, "
        "but it gave no unit",
    )


def _check_centroids(books: tuple[Tensor, Tensor] | None, spec: TokenizerSpec) -> None:
    if books is None:
        return
    demand(len(books) == 2, f"codebooks must return two tensors or None, got {len(books)}")
    for stream, book in zip((spec.tokens.linguistic, spec.tokens.semantic), books, strict=True):
        demand(
            book.dim() == 2 and len(book) == stream.codebook_size and book.shape[1] > 0,
            f"codebooks must return a centroid for each of the {stream.codebook_size} "
            f"{stream.name} codes as [{stream.codebook_size}, D], got shape {tuple(book.shape)}",
        )
        demand(
            book.is_floating_point() and bool(book.isfinite().all()),
            f"the {stream.name} centroids must be finite floats",
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
