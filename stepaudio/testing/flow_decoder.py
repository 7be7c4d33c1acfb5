"""The contract of a flow decoder."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from stepaudio.interfaces import FlowDecoder
from stepaudio.testing.rules import demand, demand_close, demand_refusal, seeded
from stepaudio.types import FlowSpec, SpeechTokens, TokenSpec, VoicePrompt

__all__ = ["check_flow_decoder"]

_UNITS = (6, 9)


def check_flow_decoder(decoder: FlowDecoder) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.FlowDecoder`.

    Rules: the spec is a ``FlowSpec``; every sample gives finite ``[C, T]`` mel that lasts as long
    as its tokens, without the prompt; the same generator state gives the same mel; a batch with one
    generator per sample gives what its singles give; a stream has the length of the whole; steps
    and guidance can be set; voices that do not fit are refused.

    Args:
        decoder: the object to check.

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
        guided = decoder.decode(tokens[:1], voices[:1], steps=1, guidance=0.0, generators=seeded(1))
        _check_mel(guided[0], spec, tokens[0])
        _check_stream(decoder, tokens[1], voices[1])
        _check_refusals(decoder, tokens, voices)


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
    demand(mel.is_floating_point(), f"mel must be floating, got {mel.dtype}")
    demand(bool(mel.isfinite().all()), "mel must be finite")


def _check_stream(decoder: FlowDecoder, tokens: SpeechTokens, voice: VoicePrompt) -> None:
    for sizes in ([tokens.num_units], [2, 3, tokens.num_units - 5]):
        pieces = list(
            decoder.stream(iter(_split(tokens, sizes)), voice, steps=2, generator=seeded(3)[0])
        )
        demand(len(pieces) > 0, "stream must yield at least one piece of mel")
        demand(
            all(piece.dim() == 2 for piece in pieces), "stream must yield pieces of shape [C, t]"
        )
        _check_mel(torch.cat(pieces, dim=1), decoder.spec, tokens)


def _check_refusals(
    decoder: FlowDecoder, tokens: list[SpeechTokens], voices: list[VoicePrompt]
) -> None:
    spec = decoder.spec
    demand_refusal(
        lambda: decoder.decode(tokens, voices[:1], steps=1, generators=seeded(1, 2)),
        "two streams with one voice must be refused",
    )
    stranger = VoicePrompt(
        voices[0].tokens, voices[0].mel, torch.zeros(spec.speaker_dim + 1), mel_spec=spec.mel
    )
    demand_refusal(
        lambda: decoder.decode(tokens[:1], [stranger], steps=1, generators=seeded(1)),
        f"a speaker embedding of size {spec.speaker_dim + 1} instead of {spec.speaker_dim} "
        "must be refused",
    )


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


def _split(tokens: SpeechTokens, sizes: list[int]) -> list[SpeechTokens]:
    linguistic = torch.split(
        tokens.linguistic, [n * tokens.spec.linguistic.per_unit for n in sizes]
    )
    semantic = torch.split(tokens.semantic, [n * tokens.spec.semantic.per_unit for n in sizes])
    return [SpeechTokens(a, b, tokens.spec) for a, b in zip(linguistic, semantic, strict=True)]
