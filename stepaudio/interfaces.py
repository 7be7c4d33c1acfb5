"""The interfaces of the house, free of ``torch.nn``.

Implement one of these to swap a part: wrap an ONNX session, a remote server or another model in
a few lines and pass the object to a pipeline. ``stepaudio.testing`` checks an implementation.
Each part says in a frozen spec what its neighbours must know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from stepaudio.types import (
    Contrast,
    FlowSpec,
    LMSpec,
    MelSpec,
    SamplingParams,
    SpeechTokens,
    TokenizerSpec,
    TokenStep,
    VoicePrompt,
)

if TYPE_CHECKING:
    from stepaudio.audio import Audio

__all__ = [
    "FlowDecoder",
    "Policy",
    "RewardModel",
    "SpeakerEncoder",
    "SpeechLM",
    "TextTokenizer",
    "Tokenizer",
    "Vocoder",
]


class Tokenizer(ABC):
    """Recordings to dual-codebook tokens."""

    @property
    @abstractmethod
    def spec(self) -> TokenizerSpec:
        """Input rate and codebooks."""

    @abstractmethod
    def encode(self, audios: Sequence[Audio]) -> list[SpeechTokens]:
        """Tokenize a batch. A batch gives exactly what its singles give.

        Args:
            audios: recordings of any rate and length.

        Returns:
            One entry per recording, in order.

        Raises:
            AudioError: a recording is too short to give one unit.
        """

    def codebooks(self) -> tuple[Tensor, Tensor] | None:
        """Centroids of the codes, by which like-sounding ones are known.

        Returns:
            Linguistic ``[K, D]`` and semantic ``[K', D']``; None, the default, where there are
            none. Then draws of an edit are told apart by their length alone.
        """
        return None


class SpeechLM(ABC):
    """A language model over text and audio ids.

    Attributes:
        can_be_guided: whether :meth:`generate` heeds contrasts. Pipelines give none to a model that
            does not.
    """

    can_be_guided: ClassVar[bool] = False

    @property
    @abstractmethod
    def spec(self) -> LMSpec:
        """Vocabulary, audio offset, end ids, context length."""

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """Next-token logits.

        Args:
            ids: ``[B, T]`` int64.

        Returns:
            ``[B, T, V]`` logits.
        """

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
        cancel: Callable[[], bool] | None = None,
        contrasts: Sequence[Sequence[Contrast]] | None = None,
    ) -> Iterator[TokenStep]:
        """Continue prompts token by token.

        Args:
            prompts: one ``[T_i]`` int64 tensor per sample; lengths may differ.
            sampling: how to draw.
            generators: one per sample, so that a batch draws what its singles draw.
            cancel: asked before every step; True stops every sample.
            contrasts: per sample, prompts to keep away from (see :mod:`stepaudio.lm.guidance`);
                only given to a model with :attr:`can_be_guided`, where
                :attr:`~stepaudio.parts.Defaults.guidance_words` or
                :attr:`~stepaudio.parts.Defaults.guidance_edit` ask for it.

        Yields:
            One :class:`TokenStep` per step until every sample has stopped.

        Raises:
            PromptError: a prompt is empty or leaves no room in the context.
        """


class FlowDecoder(ABC):
    """Tokens and a voice to mel frames.

    Attributes:
        has_steps: whether the number of steps changes the mel. False for a decoder that makes it
            at once; any number is accepted then.
        has_guidance: whether the guidance rate changes the mel; likewise.
    """

    has_steps: ClassVar[bool] = True
    has_guidance: ClassVar[bool] = True

    @property
    @abstractmethod
    def spec(self) -> FlowSpec:
        """Token pattern read, mel written, speaker embedding size."""

    @abstractmethod
    def decode(
        self,
        tokens: Sequence[SpeechTokens],
        voices: Sequence[VoicePrompt],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        """Decode a batch.

        Args:
            tokens: one stream per sample.
            voices: one voice per sample.
            steps: solver steps; None uses the decoder's own default.
            guidance: classifier-free guidance rate; None uses the decoder's own default.
            generators: one per sample.

        Returns:
            ``[C, T_i]`` float32 log-mel per sample, without the prompt.

        Raises:
            SpecMismatchError: codebooks, mel or speaker size of an input differ from the spec.
        """

    @abstractmethod
    def stream(
        self,
        tokens: Iterator[SpeechTokens],
        voice: VoicePrompt,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """Decode tokens as they come.

        Args:
            tokens: consecutive pieces of whole units.
            voice: the voice of the whole stream.
            steps: solver steps.
            guidance: classifier-free guidance rate.
            generator: source of noise; the same state gives the same mel.

        Yields:
            Consecutive ``[C, t]`` float32 pieces of log-mel.

        Raises:
            SpecMismatchError: codebooks, mel or speaker size of an input differ from the spec.
        """


class Vocoder(ABC):
    """Mel frames to a waveform."""

    @property
    @abstractmethod
    def spec(self) -> MelSpec:
        """The front end it was made for."""

    @property
    def context(self) -> int | None:
        """Frames on each side that a frame's samples may depend on; None if there is no such bound.

        What a stream carries along, such as a phase, may come from further back. A vocoder that
        tells it has a :meth:`stream` that equals :meth:`synthesize`, and is heard earlier; see
        :mod:`stepaudio.decoder.early`.
        """
        return None

    @abstractmethod
    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Turn mel into sound.

        Args:
            mel: ``[B, C, T]`` log-mel.
            generator: source of noise, for vocoders that have any.

        Returns:
            ``[B, T * hop_length]`` float32 samples in [-1, 1].

        Raises:
            SpecMismatchError: the mel has other bins or dimensions.
        """

    @abstractmethod
    def stream(
        self, mels: Iterator[Tensor], *, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Turn consecutive pieces of one recording into sound.

        Args:
            mels: ``[C, t]`` pieces, without overlap.
            generator: source of noise.

        Yields:
            ``[s]`` float32 pieces of samples in [-1, 1], which together have the length of the
            whole.
        """


class RewardModel(ABC):
    """Scores responses without ever making sound (paper section 3.2.2)."""

    @property
    @abstractmethod
    def spec(self) -> LMSpec:
        """Which ids it can score."""

    @abstractmethod
    def score(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> Tensor:
        """Score responses to prompts.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            responses: ``[R_i]`` int64 ids each.

        Returns:
            ``[B]`` float scores, higher is better.
        """


class Policy(ABC):
    """A language model being trained by reinforcement (paper section 3.2.3)."""

    @property
    @abstractmethod
    def lm(self) -> SpeechLM:
        """The model that moves."""

    @property
    @abstractmethod
    def reference(self) -> SpeechLM:
        """The frozen model the policy is held near."""

    @abstractmethod
    def sample(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        """Draw one response per prompt.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            sampling: how to draw.
            generators: one per sample.

        Returns:
            ``[R_i]`` int64 ids each.
        """

    @abstractmethod
    def log_probs(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[Tensor]:
        """Log-probability of every response token under the current model.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            responses: ``[R_i]`` int64 ids each.

        Returns:
            ``[R_i]`` float each, with gradient.
        """

    @abstractmethod
    def values(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[Tensor]:
        """Value of every response position and of the end.

        Args:
            prompts: ``[T_i]`` int64 ids each.
            responses: ``[R_i]`` int64 ids each.

        Returns:
            ``[R_i + 1]`` float each, with gradient.
        """


@runtime_checkable
class TextTokenizer(Protocol):
    """Text, with special and ``<audio_k>`` tokens written out, to ids and back.

    Written in a text, ``<s>``, ``<|BOT|>`` and ``<|EOT|>``, which prompts are made with, are one id
    each, and so is every audio token; ``<audio_k>`` has the id of ``<audio_0>`` plus ``k``.
    """

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text; no beginning-of-sequence id is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special and audio tokens written out."""
        ...

    def token_id(self, token: str) -> int:
        """Id of one special token; raises KeyError if it is not in the vocabulary."""
        ...


@runtime_checkable
class SpeakerEncoder(Protocol):
    """A recording to a fixed-size description of the voice."""

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        ...

    def embed(self, audio: Audio) -> Tensor:
        """``[D]`` float32 embedding of one recording of any rate, not normalised."""
        ...
