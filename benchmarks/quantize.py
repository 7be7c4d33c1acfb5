"""Time per token, memory and likelihood of the language model with weights of 8 and 4 bits.

    python benchmarks/quantize.py [-o FILE.json] [--layers N] [--tokens N]

Decodes with random weights of the published layer shapes (a part of the layers, and as much of
the vocabulary) and with the embedded model, in float32, bfloat16, int8 and int4, in turns, so that
what else the machine does hits all alike; beside them the read bandwidth, measured in between. The
loss of likelihood is that of the embedded model, on answers that it wrote in float32. What the
published model needs in memory is computed from its shapes. With the machine, the versions, the
threads and the seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from machine import bandwidth, describe, load, seconds
from models import release_part
from torch import Tensor, nn

from stepaudio import Audio, Edit, EditPipeline
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.evaluation.systems import model_name
from stepaudio.lm.generate import collect
from stepaudio.lm.int4 import Int4Linear
from stepaudio.lm.int8 import Int8Linear, dequantize_int8, quantize_int8
from stepaudio.lm.linear import Linear
from stepaudio.lm.quantize import quantize
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.locate import EMBEDDED
from stepaudio.offload import resident_bytes
from stepaudio.prompts import encode_edit_prompt
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.interleave import to_text

SEED = 0
KINDS = ("float32", "bfloat16", "int8", "int4")
PROMPT = 256
DEMO = Path(__file__).parents[1] / "docs" / "audio" / "demo.flac"
EDITS = (
    Edit.style("whisper"),
    Edit.emotion("happy"),
    Edit.emotion("sad"),
    Edit.emotion("angry"),
    Edit.style("child"),
    Edit.style("exaggerated"),
)


def as_kind(lm: Step1LM, kind: str) -> Step1LM:
    """A float32 model as one of :data:`KINDS`."""
    if kind == "int8":
        return quantize(lm, 8)
    if kind == "int4":
        return quantize(lm, 4)
    return copy.deepcopy(lm).to(getattr(torch, kind))


def bytes_per_token(lm: Step1LM) -> int:
    """What one token has to read: all weights but those of the embedding."""
    return resident_bytes(lm) - resident_bytes(lm.model.embed_tokens)


@torch.no_grad()
def speed(lm: Step1LM, tokens: int) -> dict[str, Any]:
    """Decode in turns with all kinds."""
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(0, lm.config.vocab_size, (1, PROMPT), generator=generator)
    models = {kind: as_kind(lm, kind) for kind in KINDS}
    sizes = {kind: bytes_per_token(model) for kind, model in models.items()}
    caches = {kind: model.new_cache(PROMPT + tokens + 1) for kind, model in models.items()}
    short = ids[:, :8]
    for model in models.values():
        model.next_logits(short, model.new_cache())
    prefill = {
        kind: seconds(lambda m=model, c=caches[kind]: m.next_logits(ids, c))
        for kind, model in models.items()
    }
    steps: dict[str, list[float]] = {kind: [] for kind in KINDS}
    reads: list[float] = []
    large = torch.ones(2**26)
    for position in range(tokens):
        one = ids[:, position : position + 1]
        for kind, model in models.items():
            steps[kind].append(seconds(lambda m=model, c=caches[kind], i=one: m.next_logits(i, c)))
        reads.append(bandwidth(large))
    read = statistics.median(reads)
    median = {kind: statistics.median(times) for kind, times in steps.items()}
    return {
        "layers": lm.config.num_hidden_layers,
        "vocabulary": lm.config.vocab_size,
        "context": PROMPT,
        "read_gb_per_second": round(read / 1e9, 2),
        "bfloat16_is_of_use": median["bfloat16"] < median["float32"],
        "kinds": {
            kind: {
                "ms_per_token": round(1000 * median[kind], 3),
                "fastest_ms_per_token": round(1000 * min(steps[kind]), 3),
                "share_of_bandwidth": round(sizes[kind] / median[kind] / read, 3),
                "times_bfloat16": round(median["bfloat16"] / median[kind], 2),
                "ms_of_prefill": round(1000 * prefill[kind], 1),
                "mb_read_per_token": round(sizes[kind] / 1e6, 1),
            }
            for kind in KINDS
        },
    }


@torch.no_grad()
def kernels(repeats: int) -> dict[str, Any]:
    """Fewest milliseconds of a layer for one input, by our kernels and others; None: not there."""
    generator = torch.Generator().manual_seed(SEED)
    config = Step1Config.release()
    inputs, outputs = config.hidden_size, config.intermediate_size
    weight = torch.randn(outputs, inputs, generator=generator) / 50
    x = torch.randn(1, inputs, generator=generator)
    half, x_half = weight.bfloat16(), x.bfloat16()
    codes, scale = quantize_int8(weight)
    ours = {"int8": Int8Linear(inputs, outputs), "int4": Int4Linear(inputs, outputs)}
    for layer in ours.values():
        layer.fill(weight)
    row_of_bfloat16 = Linear(inputs, outputs, bias=False, dtype=torch.bfloat16)
    row_of_bfloat16.weight.data = half
    nibbles = torch.randint(0, 16, (outputs, inputs), dtype=torch.int32, generator=generator)
    group = torch.ones(inputs // 64, outputs, 2)

    def int4pack(row: Tensor) -> Callable[[], Tensor]:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles, 2)
        ends = group.to(row.dtype)
        return lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(row, packed, 64, ends)

    def int8pack(row: Tensor) -> Callable[[], Tensor]:
        return lambda: torch.ops.aten._weight_int8pack_mm(row, codes, scale.to(row.dtype))

    tried: dict[str, Callable[[], Callable[[], Tensor]]] = {
        "float32": lambda: lambda: F.linear(x, weight),
        "bfloat16": lambda: lambda: F.linear(x_half, half),
        "bfloat16, this library": lambda: lambda: row_of_bfloat16(x_half),
        "8 bits, this library": lambda: lambda: ours["int8"](x),
        "8 bits, _weight_int8pack_mm, bfloat16 input": lambda: int8pack(x_half),
        "8 bits, _weight_int8pack_mm, float32 input": lambda: int8pack(x),
        "8 bits, expanded first": lambda: lambda: F.linear(x, dequantize_int8(codes, scale)),
        "4 bits, this library": lambda: lambda: ours["int4"](x),
        "4 bits, _weight_int4pack_mm_for_cpu, bfloat16 input": lambda: int4pack(x_half),
        "4 bits, _weight_int4pack_mm_for_cpu, float32 input": lambda: int4pack(x),
    }
    large, times = torch.ones(2**25), {}
    for name, make in tried.items():
        try:
            work, found = make(), []
            for _ in range(repeats):
                large.sum()  # so that no weight is still in a cache
                found.append(seconds(work))
            times[name] = round(1000 * min(found), 3)
        except (AttributeError, NotImplementedError, RuntimeError):
            times[name] = None
    return {"inputs": inputs, "outputs": outputs, "ms": times}


def answers(pipeline: EditPipeline, lm: Step1LM) -> list[tuple[Tensor, int]]:
    """Prompts with the answers the model draws to them, and how long the prompts are."""
    recording = Audio.load(DEMO)
    words = DEMO.with_suffix(".txt").read_text(encoding="utf-8").strip()
    codes = to_text(pipeline.tokenize(recording))
    layout, sampling = pipeline.defaults.layout, pipeline.defaults.sampling
    prompts = [
        torch.tensor(encode_edit_prompt(pipeline.parts.text, edit, codes, words, layout=layout))
        for edit in EDITS
    ]
    generators = [torch.Generator().manual_seed(SEED + i) for i in range(len(prompts))]
    limited = replace(sampling, max_new_tokens=200)
    written, _ = collect(lm.generate(prompts, limited, generators=generators))
    return [(torch.cat([p, a]), len(p)) for p, a in zip(prompts, written, strict=True)]


@torch.no_grad()
def quality(lm: Step1LM) -> dict[str, Any]:
    """What rounding costs the embedded model, teacher-forced on answers of its own."""
    rows = answers(EditPipeline.from_pretrained(device="cpu", lm=lm), lm)

    def likelihoods(model: Step1LM) -> tuple[Tensor, Tensor]:
        found, best = [], []
        for ids, start in rows:
            logits = model(ids[None])[0, start - 1 : -1].float()
            found.append(logits.log_softmax(-1).gather(1, ids[start:, None])[:, 0])
            best.append(logits.argmax(-1))
        return torch.cat(found), torch.cat(best)

    exact, best = likelihoods(lm)
    result: dict[str, Any] = {
        "tokens": len(exact),
        "nats_per_token": round(-exact.mean().item(), 4),
        "kinds": {},
    }
    for kind in KINDS[1:]:
        rounded, chosen = likelihoods(as_kind(lm, kind))
        result["kinds"][kind] = {
            "more_nats_per_token": round((exact - rounded).mean().item(), 4),
            "same_best_token": round((chosen == best).double().mean().item(), 4),
        }
    return result


def size(module: nn.Module, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of a module made without storage, in the type its parameters would have."""
    rounded = module.to(dtype)
    return resident_bytes(rounded)


def memory() -> dict[str, Any]:
    """Gigabytes that the published model needs, from its shapes; nothing is run."""
    config = Step1Config.release()
    with torch.device("meta"):
        others = {
            "tokenizer": size(DualCodebookTokenizer(DualCodebookConfig.release())),
            "flow": size(TokenFlowDecoder(FlowConfig.release())),
            "vocoder": size(HiFTVocoder(HiFTConfig.release())),
            "speaker": size(CAMPPlus(CAMPPlusConfig.release())),
        }
        lms = {
            kind: size(Step1LM(replace(config, bits=bits)), dtype)
            for kind, bits, dtype in (
                ("float32", None, torch.float32),
                ("bfloat16", None, torch.bfloat16),
                ("int8", 8, torch.bfloat16),
                ("int4", 4, torch.bfloat16),
            )
        }
    narrow = config.num_attention_groups * config.head_dim
    cache = 2 * config.num_hidden_layers * narrow * config.context_length
    rest, largest = sum(others.values()), max(others.values())
    table = {}
    for kind, lm in lms.items():
        context = cache * (4 if kind == "float32" else 2)
        table[kind] = {
            "language_model": lm,
            "everything": lm + context + rest,
            "stage_by_stage": max(lm + context, largest),
        }
    return {
        "computed_from": "shapes of the published model; keys and values of 8192 ids included, "
        "other intermediate results, the program and the system not",
        "parts_gb": {name: round(value / 1e9, 2) for name, value in others.items()},
        "kinds_gb": {
            kind: {name: round(value / 1e9, 2) for name, value in row.items()}
            for kind, row in table.items()
        },
    }


def main() -> None:
    """Measure both models and compute the memory of the published one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out")
    parser.add_argument("--layers", type=int, default=4, help="of the 32 of the published model")
    parser.add_argument("--tokens", type=int, default=30, help="decoded with each kind")
    args = parser.parse_args()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        release = speed(Step1LM(release_part(args.layers)).eval(), args.tokens)
    nano = Step1LM.from_pretrained(EMBEDDED / "lm")
    report = {
        **describe(SEED),
        "load": load(),
        "one_layer": kernels(max(20, args.tokens)),
        "release_shapes": release,
        "nano": speed(nano, args.tokens),
        "model": model_name(None),
        "quality_of_nano": quality(nano),
        "memory_of_published_model": memory(),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
