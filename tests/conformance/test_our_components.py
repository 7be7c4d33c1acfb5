"""Our own components go through the suite that third parties use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from stepaudio import testing
from stepaudio.decoder.bigvgan import BigVGANConfig, BigVGANVocoder
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.interfaces import SpeechLM, Tokenizer, Vocoder
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.text import SentencePieceText
from stepaudio.tokenizers.text_training import train_text_tokenizer
from stepaudio.types import TokenSpec


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def awake(module: nn.Module) -> nn.Module:
    """Give zero-initialised parameters and tables values, so that nothing is trivially right."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and not tensor.any():
            nn.init.normal_(tensor, std=0.1)
    return module.eval()


def tokenizer(trim: bool) -> Tokenizer:
    config = dataclasses.replace(DualCodebookConfig.debug(), trim=trim)
    model = DualCodebookTokenizer(config)
    awake(model)
    return model


@pytest.mark.parametrize("trim", [True, False])
def test_dual_codebook_tokenizer(trim: bool) -> None:
    testing.check_tokenizer(tokenizer(trim))


def step1() -> SpeechLM:
    return Step1LM(Step1Config.debug()).eval()


@pytest.mark.parametrize("build", [step1])
def test_language_models(build: Callable[[], SpeechLM]) -> None:
    testing.check_speech_lm(build())


def bigvgan() -> Vocoder:
    model = BigVGANVocoder(BigVGANConfig.debug())
    awake(model)
    return model


def griffin_lim() -> Vocoder:
    return GriffinLim(iterations=2)


def istft() -> Vocoder:
    model = ISTFTVocoder(ISTFTConfig.debug())
    awake(model)
    return model


def hift() -> Vocoder:
    model = HiFTVocoder(HiFTConfig.debug())
    awake(model)
    return model


@pytest.mark.parametrize("build", [bigvgan, griffin_lim, hift, istft])
def test_vocoders(build: Callable[[], Vocoder]) -> None:
    testing.check_vocoder(build())


def test_flow_decoder() -> None:
    model = TokenFlowDecoder(FlowConfig.debug())
    awake(model)
    testing.check_flow_decoder(model)


def test_speaker_encoder() -> None:
    model = CAMPPlus(CAMPPlusConfig.debug())
    awake(model)
    testing.check_speaker_encoder(model)


def test_text_tokenizer() -> None:
    tokens = TokenSpec(12, 20)
    tokenizer = train_text_tokenizer(["see you tomorrow"], 320, audio_tokens=tokens.size)
    testing.check_text_tokenizer(tokenizer, tokens)


def test_published_text_tokenizer(published_dir: Path) -> None:
    tokenizer = SentencePieceText.from_sentencepiece(published_dir / "tokenizer.model")
    testing.check_text_tokenizer(tokenizer, TokenSpec())
