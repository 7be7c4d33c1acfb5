"""What each stage of an edit does, ready to be measured: its inputs are made before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from machine import seconds
from models import Model
from torch import Tensor, nn

from stepaudio import Audio, Edit, EditPipeline
from stepaudio.offload import resident_bytes
from stepaudio.prompts import encode_edit_prompt
from stepaudio.tokenizers.dual import DualCodebookTokenizer
from stepaudio.tokenizers.interleave import to_text
from stepaudio.tokenizers.preprocess import prepare_for_tokens
from stepaudio.types import SamplingParams, SpeechTokens, TokenSpec, VoicePrompt
from stepaudio.voice import make_voice

__all__ = ["STAGES", "Work", "flow_work", "vocoder_work", "voice_like", "work_of", "writing"]

STAGES = (
    "preprocessing",
    "linguistic",
    "semantic",
    "voice",
    "prompt",
    "prefill",
    "decode",
    "flow",
    "vocoder",
)
#: Ids of the words of a prompt, about as many as those of an edit.
_WORDS = 100


@dataclass(frozen=True)
class Work:
    """One stage with its inputs.

    Attributes:
        run: does it and returns the seconds that count.
        speech: seconds of speech that these seconds are spent for.
        reads: bytes that must be read, for a stage whose limit is the bandwidth; otherwise None,
            and its limit are its matrix products.
        whole: all of the model took part.
        dtype: of its matrix products.
    """

    run: Callable[[], float]
    speech: float
    reads: int | None = None
    whole: bool = True
    dtype: torch.dtype = torch.float32


def voice_like(length: float) -> Audio:
    """A buzz with a moving pitch and syllables, so that no stage is handed silence."""
    times = torch.arange(int(length * 24000)) / 24000
    phase = 2 * torch.pi * torch.cumsum(120 + 20 * torch.sin(2 * torch.pi * 0.7 * times), 0) / 24000
    buzz = sum(torch.sin(k * phase) / k for k in range(1, 20))
    return Audio(0.2 * buzz * (0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * times)), 24000)


def writing(pipeline: EditPipeline) -> EditPipeline:
    """The same, but emotions and styles are written by the language model, as others' edits are."""
    return EditPipeline(pipeline.parts, defaults=replace(pipeline.defaults, manners={}))


def work_of(stage: str, model: Model, length: float, batch: int, tokens: int) -> Work:
    """One stage for a batch of equal clips.

    Args:
        stage: one of :data:`STAGES`.
        model: that does it.
        length: of each clip, seconds.
        batch: clips.
        tokens: decoded by the language model, whole units.

    Returns:
        The stage, to be measured.
    """
    speech = length * batch
    if stage in ("prefill", "decode"):
        return _language_model(stage, model, length, batch, tokens)
    make = {
        "preprocessing": _preprocessing,
        "linguistic": _linguistic,
        "semantic": _semantic,
        "voice": _voice,
        "prompt": _prompt,
        "flow": flow_work,
        "vocoder": vocoder_work,
    }[stage]
    do = make(model, length, batch)
    return Work(lambda: seconds(do), speech)


def _preprocessing(model: Model, length: float, batch: int) -> Callable[[], Any]:
    audio = voice_like(length)
    return lambda: [prepare_for_tokens(audio.samples, 24000) for _ in range(batch)]


def _tokenizer(model: Model) -> DualCodebookTokenizer:
    tokenizer = model.parts.tokenizer
    assert isinstance(tokenizer, DualCodebookTokenizer)
    return tokenizer


def _prepared(length: float, batch: int) -> list[Tensor]:
    return [prepare_for_tokens(voice_like(length).samples, 24000, trim=False)] * batch


def _linguistic(model: Model, length: float, batch: int) -> Callable[[], Any]:
    sounds = _prepared(length, batch)
    return lambda: _tokenizer(model).linguistic.encode(sounds)


def _semantic(model: Model, length: float, batch: int) -> Callable[[], Any]:
    sounds = _prepared(length, batch)
    return lambda: _tokenizer(model).semantic.encode(sounds)


def _codes(spec: TokenSpec, length: float) -> SpeechTokens:
    units = max(1, round(length / float(spec.unit_seconds)))
    generator = torch.Generator().manual_seed(0)

    def draw(stream: Any) -> Tensor:
        return torch.randint(stream.codebook_size, (units * stream.per_unit,), generator=generator)

    return SpeechTokens(draw(spec.linguistic), draw(spec.semantic), spec)


def _voice(model: Model, length: float, batch: int) -> Callable[[], Any]:
    audio, flow = voice_like(length), model.parts.flow.spec
    codes = _codes(flow.tokens, length)
    speaker = model.parts.speaker
    return lambda: [make_voice(audio, codes, speaker, flow.mel) for _ in range(batch)]


def _prompt(model: Model, length: float, batch: int) -> Callable[[], Any]:
    codes, text = _codes(model.parts.lm.spec.tokens, length), model.parts.text
    return lambda: [
        encode_edit_prompt(text, Edit.emotion("happy"), to_text(codes), "one two three")
        for _ in range(batch)
    ]


def _language_model(stage: str, model: Model, length: float, batch: int, tokens: int) -> Work:
    lm: Any = model.parts.lm
    unit = lm.spec.tokens
    units = max(1, round(length / float(unit.unit_seconds)))
    ids = torch.arange(_WORDS + units * unit.unit_length) % lm.spec.audio_offset
    if stage == "prefill":
        rows = ids.expand(batch, -1)
        return Work(
            lambda: seconds(lambda: lm.next_logits(rows, lm.new_cache(len(ids) + 1))),
            length * batch,
            whole=not model.part,
            dtype=lm.lm_head.weight.dtype,
        )
    length_limits = SamplingParams(max_new_tokens=tokens, min_new_tokens=tokens)
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]

    def decode() -> float:
        """Seconds per step after the one that reads the prompt."""
        times = []
        for _ in lm.generate([ids] * batch, length_limits, generators=generators):
            times.append(time.perf_counter())
        return (times[-1] - times[0]) / (len(times) - 1)

    config, weight = lm.config, lm.lm_head.weight
    cached = 2 * config.num_hidden_layers * config.num_attention_groups * config.head_dim
    reads = resident_bytes(lm) - resident_bytes(lm.model.embed_tokens)
    reads += batch * (len(ids) + tokens // 2) * cached * weight.element_size()
    step = batch * float(unit.unit_seconds) / unit.unit_length
    return Work(decode, step, reads, whole=not model.part)


def flow_work(model: Model, length: float, batch: int) -> Callable[[], list[Tensor]]:
    """Codes to ``[C, T]`` mel for each clip of a batch, the same codes and noise each time."""
    flow = model.parts.flow
    codes, mel = _codes(flow.spec.tokens, length), flow.spec.mel
    frames = round(codes.seconds * mel.sample_rate / mel.hop_length)
    generator = torch.Generator().manual_seed(0)
    # An edit is spoken in the voice of its recording, which is about as long.
    voice = VoicePrompt(
        codes,
        torch.randn(mel.n_mels, frames, generator=generator),
        torch.randn(flow.spec.speaker_dim, generator=generator),
        "",
        mel,
    )
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]
    return lambda: flow.decode(
        [codes] * batch, [voice] * batch, guidance=model.guidance, generators=generators
    )


def vocoder_work(model: Model, length: float, batch: int) -> Callable[[], list[Tensor]]:
    """Mel to ``[1, S]`` samples for each clip of a batch, the same mel and noise each time."""
    vocoder = model.parts.vocoder
    assert isinstance(vocoder, nn.Module)
    mel = vocoder.spec
    frames = round(length * mel.sample_rate / mel.hop_length)
    values = torch.randn(1, mel.n_mels, frames, generator=torch.Generator().manual_seed(0)) - 4
    # As pipelines do: one recording at a time.
    return lambda: [
        vocoder.synthesize(values, generator=torch.Generator().manual_seed(0)) for _ in range(batch)
    ]
