"""The values that travel between the stages, and the specs that say whether two stages fit.

Specs are frozen and comparable: a pipeline is checked once, when it is built.
Dimension letters used across the library: ``B`` batch, ``T`` positions or frames, ``C`` channels
or mel bins, ``D`` embedding width, ``V`` vocabulary, ``S`` waveform samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stepaudio.errors import TokenError

__all__ = [
    "Contrast",
    "FlowSpec",
    "LMSpec",
    "MelSpec",
    "SamplingParams",
    "SpeechTokens",
    "StopReason",
    "StreamSpec",
    "TokenSpec",
    "TokenStep",
    "TokenizerSpec",
    "VoicePrompt",
]

#: Why a generated stream ended. ``running`` while it has not.
StopReason = Literal["running", "end", "length", "cancelled"]


@dataclass(frozen=True)
class StreamSpec:
    """One token stream.

    Attributes:
        name: ``"linguistic"`` or ``"semantic"``.
        rate: tokens per second, exact.
        codebook_size: number of codes.
        per_unit: tokens of this stream in one interleaving unit.
    """

    name: str
    rate: Fraction
    codebook_size: int
    per_unit: int


@dataclass(frozen=True)
class TokenSpec:
    """The dual codebook: which streams exist and how they interleave (paper section 2.1).

    The published system interleaves 2 linguistic (16.7 Hz, 1024 codes) and 3 semantic (25 Hz,
    4096 codes) tokens into units of 5 tokens that last 0.12 s.

    Audio ids: linguistic code ``c`` is ``k = c``, semantic code ``c`` is
    ``k = linguistic_size + c``; a language model adds its own offset to ``k``.
    """

    linguistic_size: int = 1024
    semantic_size: int = 4096

    @property
    def linguistic(self) -> StreamSpec:
        """16.7 Hz stream of content codes, two per unit."""
        return StreamSpec("linguistic", Fraction(50, 3), self.linguistic_size, 2)

    @property
    def semantic(self) -> StreamSpec:
        """25 Hz stream of codes that also carry prosody, three per unit."""
        return StreamSpec("semantic", Fraction(25), self.semantic_size, 3)

    @property
    def unit_length(self) -> int:
        """Tokens in one interleaving unit (5)."""
        return self.linguistic.per_unit + self.semantic.per_unit

    @property
    def unit_seconds(self) -> Fraction:
        """Duration of one interleaving unit (3/25 s)."""
        return Fraction(3, 25)

    @property
    def size(self) -> int:
        """Number of audio ids: both codebooks together."""
        return self.linguistic_size + self.semantic_size


@dataclass(frozen=True)
class TokenizerSpec:
    """What a tokenizer reads and writes.

    Attributes:
        sample_rate: of the waveform it reads, Hz.
        tokens: what it writes.
    """

    sample_rate: int
    tokens: TokenSpec


@dataclass(frozen=True)
class MelSpec:
    """A log-mel front end, complete enough to refuse the wrong vocoder.

    Defaults are the published 24 kHz front end. Frames are centred by reflect-padding
    ``(n_fft - hop_length) / 2`` samples on both sides (``center`` False in STFT terms), the scale
    is slaney, the logarithm natural with a floor of ``log_floor``.
    """

    sample_rate: int = 24000
    n_mels: int = 80
    n_fft: int = 1920
    hop_length: int = 480
    win_length: int = 1920
    fmin: float = 0.0
    fmax: float | None = 8000.0
    log_floor: float = 1e-5
    center: bool = False

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.sample_rate, self.hop_length)


@dataclass(frozen=True)
class LMSpec:
    """What the neighbours of a speech language model must know.

    Attributes:
        vocab_size: number of ids, text and audio.
        audio_offset: id of ``<audio_0>``; audio id ``k`` is token id ``audio_offset + k``.
        tokens: the codebooks it speaks.
        end_ids: ids that end a turn.
        context_length: longest sequence, prompt included, in tokens.
    """

    vocab_size: int
    audio_offset: int
    tokens: TokenSpec
    end_ids: tuple[int, ...]
    context_length: int


@dataclass(frozen=True)
class FlowSpec:
    """What a flow decoder reads and writes.

    Attributes:
        tokens: token pattern it reads.
        mel: front end whose frames it writes.
        speaker_dim: size of the speaker embedding it is conditioned on.
    """

    tokens: TokenSpec
    mel: MelSpec
    speaker_dim: int


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is drawn.

    Attributes:
        temperature: 0 means greedy.
        top_k: keep the k most likely ids; 0 keeps all.
        top_p: keep the smallest set of ids whose mass reaches this; 1 keeps all.
        repetition: ``"none"`` (published v2 behaviour), ``"ras"`` (VALL-E 2, section 3.3) or
            ``"published_v1"`` (the mask of the first published code).
        ras_window: tokens of history the repetition ratio looks at (K).
        ras_threshold: ratio above which a draw is repeated (t_r).
        ras_count_self: read the printed formula literally, counting the candidate itself.
        constrain: only allow streams of whole 2:3 units (codebook grammar).
        max_new_tokens: hard limit on new tokens.
        min_new_tokens: the end is forbidden before this many new tokens.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    repetition: Literal["none", "ras", "published_v1"] = "none"
    ras_window: int = 10
    ras_threshold: float = 0.1
    ras_count_self: bool = False
    constrain: bool = True
    max_new_tokens: int = 2048
    min_new_tokens: int = 0


class Contrast(NamedTuple):
    """A prompt that a generation shall keep away from.

    Attributes:
        prompt: ``[T]`` int64 ids.
        weight: how far, above 0.
    """

    prompt: Tensor
    weight: float


# Equality of all fields, as a dataclass has it, cannot be told of tensors.
@dataclass(frozen=True, eq=False)
class TokenStep:
    """One step of a batched generation. Equal to itself alone.

    Attributes:
        ids: ``[B]`` the new id of each sample; meaningless where ``active`` is False.
        active: ``[B]`` bool, which samples received a token in this step.
        stop_reasons: one per sample, ``"running"`` while it goes on. An end id is never emitted:
            the step in which a sample ends marks it inactive.
    """

    ids: Tensor
    active: Tensor
    stop_reasons: tuple[StopReason, ...]


@dataclass(frozen=True, eq=False)
class SpeechTokens:
    """The two code streams of one recording. Equal if all codes and codebooks are; has no hash.

    Attributes:
        linguistic: ``[L]`` int64 codes at 50/3 Hz.
        semantic: ``[M]`` int64 codes at 25 Hz.
        spec: the codebooks they index.

    Raises:
        TokenError: not one-dimensional integers, or a code outside its codebook.
    """

    linguistic: Tensor
    semantic: Tensor
    spec: TokenSpec = field(default_factory=TokenSpec)

    def __post_init__(self) -> None:
        for stream, codes in (
            (self.spec.linguistic, self.linguistic),
            (self.spec.semantic, self.semantic),
        ):
            if codes.dim() != 1 or codes.dtype != torch.int64:
                raise TokenError(
                    f"{stream.name} codes must be a one-dimensional int64 tensor, "
                    f"got {codes.dtype} with shape {tuple(codes.shape)}"
                )
            if codes.numel() and not (
                int(codes.min()) >= 0 and int(codes.max()) < stream.codebook_size
            ):
                raise TokenError(
                    f"{stream.name} codes must lie in 0..{stream.codebook_size - 1}, "
                    f"got {int(codes.min())}..{int(codes.max())}"
                )

    def __eq__(self, other: object) -> bool:
        """Whether the codes and their codebooks are the same, wherever the tensors lie."""
        if not isinstance(other, SpeechTokens):
            return NotImplemented
        return (
            self.spec == other.spec
            and torch.equal(self.linguistic.cpu(), other.linguistic.cpu())
            and torch.equal(self.semantic.cpu(), other.semantic.cpu())
        )

    @property
    def num_units(self) -> int:
        """Whole 2:3 units both streams can fill."""
        return min(
            len(self.linguistic) // self.spec.linguistic.per_unit,
            len(self.semantic) // self.spec.semantic.per_unit,
        )

    @property
    def seconds(self) -> float:
        """Duration of the whole units, seconds."""
        return float(self.num_units * self.spec.unit_seconds)


@dataclass(frozen=True, eq=False)
class VoicePrompt:
    """A voice, ready to condition the decoder: computed once, reusable, can be saved.

    Equal to itself alone.

    Attributes:
        tokens: codes of the prompt recording.
        mel: ``[C, T]`` log-mel of the prompt recording.
        speaker: ``[D]`` speaker embedding.
        transcript: words spoken in the prompt, empty if unknown.
        mel_spec: front end of ``mel``.
    """

    tokens: SpeechTokens
    mel: Tensor
    speaker: Tensor
    transcript: str = ""
    mel_spec: MelSpec = field(default_factory=MelSpec)
