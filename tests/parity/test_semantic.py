"""Whisper log-mel and semantic tokenizer against the golden arrays."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from conftest import assert_close
from torch import Tensor

from stepaudio.hub import load_strict
from stepaudio.tokenizers.semantic import SemanticConfig, SemanticTokenizer, code_count
from stepaudio.tokenizers.whisper_mel import log_mel


def numbers(note: str, pattern: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Sample positions as the golden file's own note states them."""
    found = re.search(pattern, note)
    return tuple(int(group) for group in found.groups()) if found else default


def build(gold: Any) -> SemanticTokenizer:
    sizes = gold.spec["config"]
    config = SemanticConfig(
        n_mels=sizes["n_mels"],
        width=sizes["n_audio_state"],
        heads=sizes["n_audio_head"],
        depth=sizes["n_audio_layer"],
        codes=sizes["n_codebook_size"],
        positions=sizes["n_audio_ctx"],
    )
    with torch.device("meta"):
        model = SemanticTokenizer(config)
    model = model.to_empty(device="cpu").eval()
    load_strict(model, gold.weights(), "golden weights")
    return model


def check(
    model: SemanticTokenizer,
    waveform: Tensor,
    hidden: Tensor,
    codes: Tensor,
    margin: Tensor,
    atol: float,
) -> None:
    mel = model.features(waveform)
    with torch.no_grad():
        found, lengths = model.hidden(mel[None], torch.tensor([mel.shape[-1]]))
    assert lengths.tolist() == [code_count(len(waveform))] == [len(codes)]
    assert_close(found, hidden, atol)
    clear = margin > 1e-4
    encoded = model.encode([waveform])[0]
    assert encoded.dtype == torch.int64
    assert torch.equal(encoded[clear], codes.long()[clear])
    # The golden hidden states name the codes independently of our encoder.
    assert torch.equal(model.quantize(hidden[0])[clear], codes.long()[clear])


def test_log_mel(golden: Any) -> None:
    gold = golden("whisper_mel")
    audio = golden("preprocess")["w16"][0]
    (short,) = numbers(gold.meta["note"], r"first (\d+) samples", (7777,))
    for waveform, name in ((audio, "logmel"), (audio[:short], "logmel_short")):
        assert_close(log_mel(waveform, gold[name].shape[0]), gold[name], 1e-4)


@pytest.fixture(scope="module")
def clips(golden: Any) -> dict[str, Tensor]:
    note = golden("s3v1.tiny").meta["note"]
    audio = golden("preprocess")["w16"][0]
    (short,) = numbers(note, r"b: first (\d+) samples", (7777,))
    start, last = numbers(note, r"c: samples (\d+)\.\.(\d+)", (3000, 18999))
    return {"a": audio, "b": audio[:short], "c": audio[start : last + 1]}


@pytest.mark.parametrize("clip", ["a", "b", "c"])
def test_tiny(golden: Any, clips: dict[str, Tensor], clip: str) -> None:
    gold = golden("s3v1.tiny")
    check(
        build(gold),
        clips[clip],
        gold[f"{clip}_hidden"],
        gold[f"{clip}_codes"],
        gold[f"{clip}_margin"],
        1e-4,
    )


def test_tiny_taps(golden: Any, clips: dict[str, Tensor]) -> None:
    gold = golden("s3v1.tiny")
    model = build(gold)
    assert_close(model.features(clips["a"])[None], gold["a_logmel"], 1e-4)
    taps: dict[str, Tensor] = {}

    def tap(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        taps.update(into=inputs[0], out=output)

    model.encoder.blocks[0].register_forward_hook(tap)
    with torch.no_grad():
        model.hidden(gold["a_logmel"], torch.tensor([gold["a_logmel"].shape[-1]]))
    assert_close(taps["into"], gold["a_block0_in"], 1e-4)
    assert_close(taps["out"], gold["a_block0_out"], 1e-4)


def test_tiny_batch(golden: Any, clips: dict[str, Tensor]) -> None:
    gold = golden("s3v1.tiny")
    for clip, codes in zip(clips, build(gold).encode(list(clips.values())), strict=True):
        clear = gold[f"{clip}_margin"] > 1e-4
        assert torch.equal(codes[clear], gold[f"{clip}_codes"].long()[clear])


def test_real(golden: Any) -> None:
    gold = golden("s3v1.real")
    (length,) = numbers(gold.meta["note"], r"first (\d+) samples", (16000,))
    audio = golden("preprocess")["w16"][0, :length]
    check(build(gold), audio, gold["hidden"], gold["codes"], gold["margin"], 1e-3)
