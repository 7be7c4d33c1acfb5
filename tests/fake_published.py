"""A reduced copy of the two published folders, with weights made from names.

File names, formats, tensor names and id layout are the published ones; widths and depths are
those of the small golden models, except for the vocabulary, which is complete.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.torch
import torch

GOLDEN = Path(__file__).parent / "golden"
RECOGNISER = "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
DECODER = "CosyVoice-300M-25Hz"
VOCABULARY = 74752
FIRST_AUDIO = 65536
FIRST_BYTE = 68
#: Attention heads of the small semantic tokenizer, which its file does not tell.
SEMANTIC_HEADS = 4
#: Sizes of the small language model of the golden arrays and those used here.
LM_SIZES = {600: VOCABULARY, 192: 48, 384: 96, 32: 8}
DECOYS = ("decoder.embed.0.weight", "predictor.cif_conv1d.bias")


def spec(fill: ModuleType, name: str) -> dict[str, Any]:
    return fill.load_spec(str(GOLDEN / "specs" / f"{name}.json"))


def weights(fill: ModuleType, name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    loaded = spec(fill, name)
    filled = fill.fill_spec(loaded, prefix + loaded["fill_prefix"])
    return {key: torch.from_numpy(value) for key, value in filled.items()}


def lm_spec(fill: ModuleType) -> dict[str, Any]:
    """The small language model with the complete vocabulary."""
    loaded = spec(fill, "lm.tiny")
    entries = [
        dict(entry, shape=[LM_SIZES.get(size, size) for size in entry["shape"]])
        for entry in loaded["entries"]
    ]
    config = dict(
        loaded["config"],
        hidden_size=LM_SIZES[192],
        intermediate_size=LM_SIZES[384],
        vocab_size=VOCABULARY,
    )
    return {**loaded, "entries": entries, "config": config}


def lm_weights(fill: ModuleType, prefix: str = "") -> dict[str, torch.Tensor]:
    loaded = lm_spec(fill)
    filled = fill.fill_spec(loaded, prefix + loaded["fill_prefix"])
    return {key: torch.from_numpy(value).bfloat16() for key, value in filled.items()}


def build(
    out: Path, fill: ModuleType, *, vocoder: str = "hift", prefix: str = "", golden: Path = GOLDEN
) -> tuple[Path, Path]:
    """Write both folders; returns ``Step-Audio-EditX`` and ``Step-Audio-Tokenizer``."""
    edit, tokenizer = out / "Step-Audio-EditX", out / "Step-Audio-Tokenizer"
    (edit / DECODER).mkdir(parents=True)
    (tokenizer / RECOGNISER).mkdir(parents=True)
    _write_language_model(edit, fill, prefix)
    write_text_tokenizer(edit / "tokenizer.model")
    _write_decoder(edit / DECODER, fill, vocoder, prefix)
    _write_linguistic(tokenizer, fill, prefix)
    for name, target in (
        ("campplus.tiny.weights.onnx", edit / DECODER / "campplus.onnx"),
        ("s3v1.tiny.weights.onnx", tokenizer / "speech_tokenizer_v1.onnx"),
    ):
        here = golden / name
        shutil.copyfile(here if here.is_file() else GOLDEN / name, target)
    return edit, tokenizer


def _write_language_model(folder: Path, fill: ModuleType, prefix: str) -> None:
    config = dict(
        lm_spec(fill)["config"],
        architectures=["Step1ForCausalLM"],
        model_type="step1",
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
        torch_dtype="bfloat16",
    )
    config.pop("tie_word_embeddings")  # the published file is silent about it
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tensors = lm_weights(fill, prefix)
    file = "model-00001.safetensors"
    safetensors.torch.save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_decoder(folder: Path, fill: ModuleType, vocoder: str, prefix: str) -> None:
    source = "hift.tiny" if vocoder == "hift" else "bigvgan_vendored.tiny"
    torch.save(weights(fill, "flow.tiny", prefix), folder / "flow.pt")
    torch.save(weights(fill, source, prefix), folder / "hift.pt")
    (folder / "cosyvoice.yaml").write_text(
        decoder_yaml(spec(fill, "flow.tiny")["config"], spec(fill, source)["config"], vocoder)
    )


def decoder_yaml(flow: dict[str, Any], vocoder: dict[str, Any], kind: str) -> str:
    """Settings with tags that would construct objects, nested as objects are."""
    base = "!new:stepvocoder.cosyvoice2"
    lines = [f"flow: {base}.flow.flow.CausalMaskedDiffWithXvec", *yaml_lines(flow["flow"], 4)]
    lines += [f"    encoder: {base}.transformer.upsample_encoder_v2.UpsampleConformerEncoderV2"]
    lines += yaml_lines(flow["enc"], 8)
    lines += [f"    decoder: {base}.flow.flow_matching.CausalConditionalCFM"]
    lines += [f"        inference_cfg_rate: {flow['cfg']}"]
    lines += [f"        estimator: {base}.flow.decoder_dit.DiT", *yaml_lines(flow["dit"], 12)]
    settings = dict(vocoder)
    if kind == "hift":
        predictor = {"num_class": 1, "cond_channels": settings.pop("f0_cond_channels")}
        lines += [f"hift: {base}.hifigan.generator.HiFTGenerator", *yaml_lines(settings, 4)]
        lines += [f"    f0_predictor: {base}.hifigan.f0_predictor.ConvRNNF0Predictor"]
        lines += yaml_lines(predictor, 8)
    else:
        lines += [f"hift: {base}.bigvgan.bigvgan.BigVGAN", *yaml_lines(settings, 4)]
    mel = {"n_fft": 1920, "num_mels": 80, "sampling_rate": 24000, "hop_size": 480}
    mel |= {"win_size": 1920, "fmin": 0, "fmax": 8000, "center": False}
    return "\n".join([*lines, "mel_conf:", *yaml_lines(mel, 4)]) + "\n"


def yaml_lines(values: dict[str, Any], indent: int) -> list[str]:
    return [f"{' ' * indent}{key}: {json.dumps(value)}" for key, value in values.items()]


def _write_linguistic(folder: Path, fill: ModuleType, prefix: str) -> None:
    loaded = spec(fill, "sanm.tiny")
    config, prefix = loaded["config"], prefix + loaded["fill_prefix"]
    encoder = {
        key: torch.from_numpy(value) for key, value in fill.fill_spec(loaded, prefix).items()
    }
    decoys = {name: torch.ones(7, 5) for name in DECOYS}
    torch.save(encoder | decoys, folder / RECOGNISER / "model.pt")
    (folder / RECOGNISER / "am.mvn").write_text(fill.mvn_text(*cmvn(fill, prefix)))
    settings = {key: value for key, value in config["encoder_conf"].items() if key != "input_size"}
    frontend = {key: value for key, value in config["frontend_conf"].items() if key != "dither"}
    lines = ["model: ParaformerStreaming", "encoder: SANMEncoderChunkOpt", "encoder_conf:"]
    lines += [*yaml_lines(settings, 4), "frontend: WavFrontendOnline", "frontend_conf:"]
    lines += yaml_lines(frontend, 4)
    (folder / RECOGNISER / "config.yaml").write_text("\n".join(lines) + "\n")
    np.save(folder / "linguistic_tokenizer.npy", centroids(fill, prefix))


def cmvn(fill: ModuleType, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Feature statistics of the linguistic tokenizer: shift and scale."""
    return (
        fill.fill(f"{prefix}cmvn.shift", (560,), "normal:mean=-12,std=1.0"),
        fill.fill(f"{prefix}cmvn.scale", (560,), "uniform:lo=0.15,hi=0.35"),
    )


def centroids(fill: ModuleType, prefix: str) -> np.ndarray:
    """Centroids of the linguistic tokenizer."""
    config = spec(fill, "sanm.tiny")["config"]
    shape = (config["codes"], config["encoder_conf"]["output_size"])
    return fill.fill(f"{prefix}kmeans", shape, "normal:std=1")


def write_text_tokenizer(path: Path, size: int = VOCABULARY) -> None:
    """A sentencepiece file with the published ids of special, byte and audio tokens."""
    control, user, normal, byte, unknown = 3, 4, 1, 6, 2
    pieces = [("<unk>", unknown, 0.0), ("<s>", control, 0.0), ("</s>", control, 0.0)]
    pieces += [("<|EOT|>", control, 0.0), ("<|BOT|>", control, 0.0)]
    pieces += [(f"<special_{i}>", user, 0.0) for i in range(len(pieces), FIRST_BYTE)]
    pieces += [(f"<0x{i:02X}>", byte, 0.0) for i in range(256)]
    letters = ["▁", *map(chr, range(33, 127)), "▁human", "▁assistant", "▁system"]
    pieces += [(piece, normal, -10.0) for piece in letters]
    pieces += [(f"#{i}", normal, -20.0) for i in range(FIRST_AUDIO - len(pieces))]
    pieces += [(f"<audio_{i}>", user, 0.0) for i in range(size - FIRST_AUDIO)]
    data = b"".join(
        _bytes(1, _bytes(1, text.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind))
        for text, kind, score in pieces
    )
    trainer = _number(3, 1) + _number(35, 1)
    normalizer = _bytes(1, b"identity") + _number(3, 1) + _number(4, 0)
    path.write_bytes(data + _bytes(2, trainer) + _bytes(3, normalizer))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
