"""The dual-codebook tokenizer: one recording, two code streams (paper section 2.1).

Linguistic codes at 16.7 Hz carry what is said, semantic codes at 25 Hz also how; both read the
same prepared 16 kHz waveform, and their streams are cut to whole 2:3 units of 0.12 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor
from typing_extensions import Self

from stepaudio.errors import AudioError
from stepaudio.hub import Pretrained
from stepaudio.interfaces import Tokenizer
from stepaudio.tokenizers.interleave import truncate
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer
from stepaudio.tokenizers.preprocess import TOKEN_RATE, prepare_for_tokens
from stepaudio.tokenizers.semantic import SemanticConfig, SemanticTokenizer
from stepaudio.types import SpeechTokens, TokenizerSpec, TokenSpec

if TYPE_CHECKING:
    from stepaudio.audio import Audio

__all__ = ["DualCodebookConfig", "DualCodebookTokenizer"]


@dataclass(frozen=True)
class DualCodebookConfig:
    """Both halves; the sizes of the codebooks follow from them.

    Attributes:
        linguistic: sizes of the linguistic tokenizer.
        semantic: sizes of the semantic tokenizer.
        trim: drop silence at both ends first, as the published system does. Without it tokens
            stay aligned to the input: unit ``u`` covers 0.12 ``u`` to 0.12 ``(u + 1)`` seconds.
    """

    linguistic: LinguisticConfig = field(default_factory=LinguisticConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    trim: bool = True

    @property
    def tokens(self) -> TokenSpec:
        """The codebooks."""
        return TokenSpec(self.linguistic.codebook_size, self.semantic.codes)

    @classmethod
    def release(cls) -> Self:
        """The published sizes."""
        return cls()

    @classmethod
    def debug(cls) -> Self:
        """Small enough for a test, with codebooks of the published sizes."""
        return cls(LinguisticConfig.debug(), SemanticConfig.debug())


class DualCodebookTokenizer(Pretrained, Tokenizer):
    """Recordings to both code streams.

    Args:
        config: sizes of both halves.
    """

    config_class = DualCodebookConfig

    def __init__(self, config: DualCodebookConfig) -> None:
        super().__init__()
        self.config: DualCodebookConfig = config
        self.linguistic = LinguisticTokenizer(config.linguistic)
        self.semantic = SemanticTokenizer(config.semantic)

    @property
    def spec(self) -> TokenizerSpec:
        """16 kHz and the codebooks of both halves."""
        return TokenizerSpec(TOKEN_RATE, self.config.tokens)

    def codebooks(self) -> tuple[Tensor, Tensor]:
        """Centroids of the codes.

        Returns:
            Linguistic ``[K, D]`` and semantic ``[K', D']``.
        """
        return self.linguistic.codebook, self.semantic.codebook

    def encode(self, audios: Sequence[Audio]) -> list[SpeechTokens]:
        """Tokenize recordings together.

        Args:
            audios: recordings of any rate and length.

        Returns:
            Streams of ``2 U`` linguistic and ``3 U`` semantic codes each, on the CPU. The surplus
            of less than a unit at the end is dropped.

        Raises:
            AudioError: a recording is too short for one unit; only without trimming, which pads.
        """
        waveforms = [
            prepare_for_tokens(audio.samples, audio.sample_rate, trim=self.config.trim)
            for audio in audios
        ]
        results = []
        for index, (linguistic, semantic) in enumerate(
            zip(self.linguistic.encode(waveforms), self.semantic.encode(waveforms), strict=True)
        ):
            tokens = SpeechTokens(linguistic.cpu(), semantic.cpu(), self.config.tokens)
            if not tokens.num_units:
                name = "the recording" if len(audios) == 1 else f"recording {index}"
                raise AudioError(
                    f"{name} lasts {audios[index].seconds:.3f} s, too short for one "
                    f"unit of {float(tokens.spec.unit_seconds)} s; give a longer one"
                )
            results.append(truncate(tokens))
        return results
