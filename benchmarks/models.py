"""The two models whose stages are measured: the embedded one, and the published shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from stepaudio import EditPipeline, Parts
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.locate import EMBEDDED
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.text import SentencePieceText

__all__ = ["MODELS", "Model", "load_model", "release_part"]

MODELS = ("nano", "release")


@dataclass(frozen=True)
class Model:
    """One model and how it is run.

    Attributes:
        name: one of :data:`MODELS`.
        parts: of its pipeline.
        guidance: of the flow; None is the decoder's own.
        part: what share of the language model is there, in words; empty for all of it.
    """

    name: str
    parts: Parts
    guidance: float | None
    part: str


def release_part(layers: int) -> Step1Config:
    """Some layers of the published language model, and the same share of its vocabulary.

    Args:
        layers: of its 32.
    """
    whole = Step1Config.release()
    share = layers / whole.num_hidden_layers
    return replace(
        whole,
        num_hidden_layers=layers,
        vocab_size=max(8192, round(whole.vocab_size * share)),
        audio_offset=2048,
    )


def load_model(name: str, layers: int, seed: int) -> Model:
    """One of :data:`MODELS`; the published shapes with random weights, made in memory.

    Args:
        name: of the model.
        layers: of the published language model's 32, which in bfloat16 need 0.2 GB each.
        seed: of random weights.
    """
    if name == "nano":
        pipeline = EditPipeline.from_pretrained(device="cpu")
        return Model(name, pipeline.parts, pipeline.defaults.guidance, "")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lm = Step1LM(release_part(layers)).bfloat16()
        parts = Parts(
            tokenizer=DualCodebookTokenizer(DualCodebookConfig.release()),
            # Published files are needed for the published one; both write an id per piece.
            text=SentencePieceText.from_pretrained(EMBEDDED / "text"),
            lm=lm,
            flow=TokenFlowDecoder(FlowConfig.release()),
            vocoder=HiFTVocoder(HiFTConfig.release()),
            speaker=CAMPPlus(CAMPPlusConfig.release()),
        )
    for part in vars(parts).values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False).eval()
    of = Step1Config.release().num_hidden_layers
    return Model(name, parts, None, "" if layers == of else f"{layers} of {of} layers")
