"""The settings of the flow decoder; the defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from stepaudio.decoder.conformer import ConformerConfig
from stepaudio.decoder.dit import DiTConfig
from stepaudio.decoder.flow_matching import Solver
from stepaudio.types import MelSpec, TokenSpec

__all__ = ["FlowConfig"]


@dataclass(frozen=True)
class FlowConfig:
    """Everything a :class:`TokenFlowDecoder` is built from; the defaults are the published ones.

    Attributes:
        tokens: the codebooks it reads.
        mel: the front end whose frames it writes.
        speaker_dim: size of the speaker embedding.
        encoder: shape of the token encoder.
        velocity: shape of the velocity network.
        steps: solver steps unless the caller says otherwise.
        guidance: classifier-free guidance rate unless the caller says otherwise.
        solver: how the flow is integrated.
        temperature: scale of the noise the flow starts from; 1 as published. A small model whose
            velocity is not exact yet is clearer, and flatter, below 1.
        start: time the flow begins at, from noise and token features mixed as at that time; 0,
            from noise alone, as published. A later start keeps what the token features of a small
            model already say and leaves the detail to the flow (the shallow diffusion of Liu et
            al. 2022, "DiffSinger", section 3.2).
        mel_scale: None lets the flow work on log-mel, as published. A number lets it work on the
            difference to the average spectrum of the voice prompt, over this number: level,
            room and microphone come from the prompt, and a small network need not learn them.
        stretch_prompt: give the prompt's mel as many frames as its tokens stand for by repeating or
            dropping some, as published. False cuts it instead: right for a tokenizer whose codes
            begin where the recording does, and a mel that is in step with its tokens is easier to
            learn from.
        published_rounding: round the prompt mel and the speaker embedding to bfloat16 first, as
            the published caller does.
    """

    tokens: TokenSpec = field(default_factory=TokenSpec)
    mel: MelSpec = field(default_factory=MelSpec)
    speaker_dim: int = 192
    encoder: ConformerConfig = field(default_factory=ConformerConfig)
    velocity: DiTConfig = field(default_factory=DiTConfig)
    steps: int = 10
    guidance: float = 0.7
    solver: Solver = "euler"
    temperature: float = 1.0
    start: float = 0.0
    mel_scale: float | None = None
    stretch_prompt: bool = True
    published_rounding: bool = False

    def __post_init__(self) -> None:
        if self.velocity.mel_channels != self.mel.n_mels:
            raise ValueError(
                f"velocity.mel_channels {self.velocity.mel_channels} must equal "
                f"mel.n_mels {self.mel.n_mels}"
            )
        if not 0.0 <= self.start < 1.0:
            raise ValueError(f"start must be at least 0 and below 1, got {self.start}")
        if self.mel_scale is not None and not self.mel_scale > 0:
            raise ValueError(f"mel_scale must be above 0 or None, got {self.mel_scale}")
        rate = self.tokens.semantic.rate * self.encoder.up_factor
        if rate != self.mel.frame_rate:
            raise ValueError(
                f"tokens give {rate} frames per second but the mel has {self.mel.frame_rate}"
            )

    @classmethod
    def release(cls) -> FlowConfig:
        """The published shape: 605 tensors, 153.75 M values."""
        return cls()

    @classmethod
    def nano(cls) -> FlowConfig:
        """Sizes of the embedded model."""
        return cls(
            tokens=TokenSpec(linguistic_size=1024, semantic_size=2048),
            speaker_dim=96,
            mel_scale=2.0,
            stretch_prompt=False,
            encoder=ConformerConfig(width=192, heads=4, ffn=768, blocks=3, up_blocks=2),
            velocity=DiTConfig(width=192, depth=5, heads=3, head_dim=64, mlp_ratio=3.0),
        )

    @classmethod
    def debug(cls) -> FlowConfig:
        """A shape that builds in a millisecond."""
        return cls(
            tokens=TokenSpec(16, 32),
            mel=MelSpec(n_mels=8),
            speaker_dim=12,
            encoder=ConformerConfig.debug(),
            velocity=replace(DiTConfig.debug(), mel_channels=8),
            steps=2,
        )
