"""The real classes of a pipeline at debug size with random weights, all fitting each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from stepaudio.audio import Audio
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.interfaces import Vocoder
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.parts import Defaults, Parts
from stepaudio.prompts import prompt_phrases
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.linguistic import LinguisticConfig
from stepaudio.tokenizers.semantic import SemanticConfig
from stepaudio.tokenizers.text_training import train_text_tokenizer
from stepaudio.types import MelSpec, SamplingParams, TokenSpec

TOKENS = TokenSpec(12, 20)
MEL = MelSpec(n_mels=8)
LINES = ["see you tomorrow said the cat to the dog", "well why not", "hello there how are you"]

#: Random weights rarely end by themselves; few tokens keep the tests quick.
DEFAULTS = Defaults(
    sampling=SamplingParams(min_new_tokens=10, max_new_tokens=40), max_length_ratio=2.0
)


def vocoder(kind: str = "istft", mel: MelSpec = MEL) -> Vocoder:
    torch.manual_seed(3)
    if kind == "griffin_lim":
        return GriffinLim(mel, iterations=2)
    if kind == "hift":
        return awake(HiFTVocoder(HiFTConfig(mel=mel, base_channels=16, f0_channels=8)))
    return awake(ISTFTVocoder(ISTFTConfig(mel=mel, width=8, depth=2)))


def debug_parts(**chosen: Any) -> Parts:
    """Every part, except those given."""
    torch.manual_seed(7)
    text = train_text_tokenizer(LINES, 500, audio_tokens=TOKENS.size, phrases=prompt_phrases())
    parts = {
        "tokenizer": awake(
            DualCodebookTokenizer(
                DualCodebookConfig(
                    replace(LinguisticConfig.debug(), codebook_size=TOKENS.linguistic_size),
                    replace(SemanticConfig.debug(), codes=TOKENS.semantic_size),
                )
            )
        ),
        "text": text,
        "lm": awake(
            Step1LM(
                replace(
                    Step1Config.debug(),
                    vocab_size=text.vocab_size,
                    audio_offset=text.audio_offset,
                    linguistic_size=TOKENS.linguistic_size,
                    semantic_size=TOKENS.semantic_size,
                )
            )
        ),
        "flow": awake(
            TokenFlowDecoder(
                replace(FlowConfig.debug(), tokens=TOKENS, mel=MEL, speaker_dim=16, steps=2)
            )
        ),
        "vocoder": vocoder(),
        "speaker": awake(CAMPPlus(CAMPPlusConfig.debug())),
    }
    return Parts(**{**parts, **chosen})


def awake(module: Any) -> Any:
    """Give zero-initialised tensors values, so that nothing is trivially right."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and not tensor.any():
            nn.init.normal_(tensor, std=0.3)
    return module.eval()


def speech(seconds: float = 1.2, rate: int = 16000, seed: int = 0) -> Audio:
    """Noise with a moving loudness: not speech, but it has edges."""
    generator = torch.Generator().manual_seed(seed)
    count = round(seconds * rate)
    loudness = torch.sin(torch.linspace(0, 9 + seed, count)).abs() * 0.3
    return Audio(loudness * torch.randn(count, generator=generator).clamp(-2, 2), rate)
