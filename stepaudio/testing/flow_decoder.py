"""The contract of a flow decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor

from stepaudio.interfaces import FlowDecoder
from stepaudio.testing.rules import demand, demand_close, demand_refusal, seeded
from stepaudio.types import FlowSpec, SpeechTokens, TokenSpec, VoicePrompt

__all__ = ["check_flow_decoder"]

_UNITS = (6, 9)


def check_flow_decoder(decoder: FlowDecoder) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.FlowDecoder`.

    Rules: the spec is a ``FlowSpec``; every sample gives finite float32 ``[C, T]`` mel that lasts
    as long as its tokens, without the prompt; the same generator state gives the same mel; a batch
    with one generator per sample gives what its singles give. Of a stream the same is asked as of
    the whole, but not that both be equal: other tokens and another voice change the mel, steps and
    guidance can be set and change it if ``has_steps`` and ``has_guidance`` say so, and tokens and
    voices that do not fit are refused.

    Args:
        decoder: the object to check; weights may be random, but not zero.

    Raises:
        ConformanceError: a rule is broken.
    """
    spec = decoder.spec
    demand(isinstance(spec, FlowSpec), f"spec must be a FlowSpec, got {type(spec)}")
    tokens = [_tokens(spec.tokens, units, seed) for seed, units in enumerate(_UNITS)]
    voices = [_voice(spec, units, seed + 10) for seed, units in enumerate((4, 7))]
    with torch.no_grad():
        batch = decoder.decode(tokens, voices, steps=2, generators=seeded(1, 2))
        demand(
            isinstance(batch, list) and len(batch) == len(tokens),
            f"decode must return a list with one mel per sample ({len(tokens)})",
        )
        for stream, mel in zip(tokens, batch, strict=True):
            _check_mel(mel, spec, stream)
        again = decoder.decode(tokens, voices, steps=2, generators=seeded(1, 2))
        for first, second in zip(batch, again, strict=True):
            demand(
                first.shape == second.shape and torch.equal(first, second),
                "decode must give the same mel for the same generator state",
            )
        for index, mel in enumerate(batch):
            alone = decoder.decode(
                tokens[index : index + 1],
                voices[index : index + 1],
                steps=2,
                generators=seeded(index + 1),
            )
            demand_close(
                mel, alone[0], 1e-3, f"sample {index} has another mel alone than in a batch"
            )
        _check_stream(decoder, tokens[1], voices[1])
        _check_what_counts(decoder)
        demand_refusal(
            lambda: decoder.decode(tokens, voices[:1], steps=1, generators=seeded(1, 2)),
            "two streams with one voice must be refused",
        )
        _check_refusals(decoder, tokens[0], voices[0])


def _check_mel(mel: Tensor, spec: FlowSpec, tokens: SpeechTokens) -> None:
    expected: Fraction = tokens.num_units * spec.tokens.unit_seconds * spec.mel.frame_rate
    demand(
        mel.dim() == 2 and mel.shape[0] == spec.mel.n_mels,
        f"mel must have shape [{spec.mel.n_mels}, T], got {tuple(mel.shape)}",
    )
    slack = 0 if expected.denominator == 1 else 1
    demand(
        abs(mel.shape[1] - expected) <= slack,
        f"{tokens.num_units} units must give {float(expected):g} frames "
        f"at {float(spec.mel.frame_rate):g} Hz, got {mel.shape[1]}",
    )
    demand(mel.dtype == torch.float32, f"mel must be float32, got {mel.dtype}")
    demand(bool(mel.isfinite().all()), "mel must be finite")


def _check_stream(decoder: FlowDecoder, tokens: SpeechTokens, voice: VoicePrompt) -> None:
    for sizes in ([tokens.num_units], [2, 3, tokens.num_units - 5]):
        mel, again = (_stream(decoder, tokens, voice, sizes=sizes) for _ in range(2))
        _check_mel(mel, decoder.spec, tokens)
        demand(
            torch.equal(mel, again), "stream must give the same mel for the same generator state"
        )


def _check_what_counts(decoder: FlowDecoder) -> None:
    spec, units = decoder.spec, _UNITS[0]
    tokens, others = (_tokens(spec.tokens, units, seed) for seed in (0, 5))
    # Of one length, so that they also take the same noise.
    voice, stranger = (_voice(spec, 4, seed) for seed in (10, 15))
    for name, make in (("decode", _decode), ("stream", _stream)):
        plain = make(decoder, tokens, voice)
        for what, other in (
            ("other tokens", make(decoder, others, voice)),
            ("another voice", make(decoder, tokens, stranger)),
        ):
            demand(not torch.equal(plain, other), f"{what} must change the mel that {name} gives")
        for what, said, other in (
            ("steps", decoder.has_steps, make(decoder, tokens, voice, steps=3)),
            ("guidance", decoder.has_guidance, make(decoder, tokens, voice, guidance=2.0)),
        ):
            _check_mel(other, spec, tokens)
            effect = "does not change" if torch.equal(plain, other) else "changes"
            demand(
                said == (effect == "changes"),
                f"has_{what} is {said}, but a change of {what} {effect} the mel that {name} gives",
            )


def _check_refusals(decoder: FlowDecoder, tokens: SpeechTokens, voice: VoicePrompt) -> None:
    spec, mel = decoder.spec, decoder.spec.mel
    larger = replace(spec.tokens, semantic_size=spec.tokens.semantic_size + 1)
    cases = [
        (
            tokens,
            replace(voice, speaker=torch.zeros(spec.speaker_dim + 1)),
            f"a speaker embedding of size {spec.speaker_dim + 1} instead of {spec.speaker_dim}",
        ),
        (
            tokens,
            replace(voice, mel_spec=replace(mel, sample_rate=2 * mel.sample_rate)),
            "a voice whose mel has another mel_spec",
        ),
        (
            tokens,
            replace(voice, tokens=replace(voice.tokens, spec=larger)),
            "a voice with tokens of other codebooks",
        ),
        (replace(tokens, spec=larger), voice, "tokens of other codebooks"),
    ]
    for name, make in (("decode", _decode), ("stream", _stream)):
        for wrong, stranger, what in cases:
            demand_refusal(
                partial(make, decoder, wrong, stranger), f"{what} must be refused by {name}"
            )


def _decode(
    decoder: FlowDecoder,
    tokens: SpeechTokens,
    voice: VoicePrompt,
    *,
    steps: int = 1,
    guidance: float = 0.0,
) -> Tensor:
    return decoder.decode([tokens], [voice], steps=steps, guidance=guidance, generators=seeded(3))[
        0
    ]


def _stream(
    decoder: FlowDecoder,
    tokens: SpeechTokens,
    voice: VoicePrompt,
    *,
    steps: int = 1,
    guidance: float = 0.0,
    sizes: Sequence[int] = (2, 4),
) -> Tensor:
    pieces = list(
        decoder.stream(
            iter(_split(tokens, sizes)),
            voice,
            steps=steps,
            guidance=guidance,
            generator=seeded(3)[0],
        )
    )
    demand(len(pieces) > 0, "stream must yield at least one piece of mel")
    demand(all(piece.dim() == 2 for piece in pieces), "stream must yield pieces of shape [C, t]")
    return torch.cat(pieces, dim=1)


def _tokens(spec: TokenSpec, units: int, seed: int) -> SpeechTokens:
    generator = seeded(seed)[0]

    def draw(size: int, per_unit: int) -> Tensor:
        return torch.randint(size, (units * per_unit,), generator=generator)

    return SpeechTokens(
        draw(spec.linguistic_size, spec.linguistic.per_unit),
        draw(spec.semantic_size, spec.semantic.per_unit),
        spec,
    )


def _voice(spec: FlowSpec, units: int, seed: int) -> VoicePrompt:
    frames = round(units * spec.tokens.unit_seconds * spec.mel.frame_rate)
    generator = seeded(seed)[0]
    return VoicePrompt(
        _tokens(spec.tokens, units, seed),
        torch.randn(spec.mel.n_mels, frames, generator=generator) - 4.0,
        torch.randn(spec.speaker_dim, generator=generator),
        mel_spec=spec.mel,
    )


def _split(tokens: SpeechTokens, sizes: Sequence[int]) -> list[SpeechTokens]:
    linguistic = torch.split(
        tokens.linguistic, [n * tokens.spec.linguistic.per_unit for n in sizes]
    )
    semantic = torch.split(tokens.semantic, [n * tokens.spec.semantic.per_unit for n in sizes])
    return [SpeechTokens(a, b, tokens.spec) for a, b in zip(linguistic, semantic, strict=True)]
