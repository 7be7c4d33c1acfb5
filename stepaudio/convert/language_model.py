"""The published language model, copied tensor by tensor.

It weighs 7 GB, so it is never in memory as a whole: shapes are checked on a model without storage,
then each tensor goes from the mapped source file to the new one, in the type it was stored in.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from pathlib import Path
from typing import BinaryIO

import torch

from stepaudio.convert.report import FileCoverage
from stepaudio.convert.sources import ShardedTensors, require_file
from stepaudio.errors import CheckpointError
from stepaudio.hub import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    config_from_dict,
    read_json,
    write_atomic,
)
from stepaudio.lm.step1 import Step1Config, Step1LM

__all__ = [
    "check_language_model",
    "convert_language_model",
    "read_lm_config",
    "write_weights",
]

#: Our dtypes and the names safetensors has for them.
_DTYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}

#: Settings that only our own folders of this layout have.
_OURS = ("audio_offset", "linguistic_size", "semantic_size")

_SAME_NAME = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_attention_groups",
    "vocab_size",
    "rms_norm_eps",
)


def read_lm_config(path: Path) -> Step1Config:
    """Read the published ``config.json``, or one that :mod:`stepaudio.convert.huggingface` wrote.

    Args:
        path: the file.

    Returns:
        Our config, with the published place of the audio ids unless the file names another.

    Raises:
        CheckpointError: missing file or settings, another kind of model, or impossible sizes.
    """
    require_file(path, "settings of the language model")
    values = read_json(path)
    kind = values.get("model_type", "step1")
    if kind != "step1":
        raise CheckpointError(f"{path} describes a {kind!r} model, not a 'step1' model")
    if "quantization_config" in values:
        raise CheckpointError(
            f"{path} describes a quantised model; convert the unquantised (bfloat16) one"
        )
    missing = [name for name in _SAME_NAME if name not in values]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    ends = values.get("eos_token_id", 3)
    ours = {name: values[name] for name in _SAME_NAME} | {
        "end_ids": ends if isinstance(ends, list) else [ends],
    }
    ours |= {name: values[name] for name in _OURS if name in values}
    limit = values.get("max_seq_len")
    # The published file names more than both published programs serve; ours says what is served.
    if isinstance(limit, int) and (
        limit < Step1Config.context_length or any(name in values for name in _OURS)
    ):
        ours["context_length"] = limit
    return config_from_dict(Step1Config, ours, path)


def check_language_model(source: Path, config: Step1Config) -> None:
    """Compare the published weights with their config, without reading them.

    Args:
        source: folder with the safetensors files.
        config: from :func:`read_lm_config`.

    Raises:
        CheckpointError: missing, surplus or wrongly shaped tensors, or damaged files.
    """
    _check_shapes(ShardedTensors(source), config, source)


def convert_language_model(source: Path, config: Step1Config, out: Path) -> list[FileCoverage]:
    """Copy the weights of the published language model.

    Args:
        source: folder with the safetensors files.
        config: from :func:`read_lm_config`.
        out: folder to write ``config.json`` and ``model.safetensors`` to.

    Returns:
        What was used, one entry per source file.

    Raises:
        CheckpointError: missing, surplus or wrongly shaped tensors, or an unusual dtype.
        OutputExistsError: a file exists.
    """
    tensors = ShardedTensors(source)
    names = _check_shapes(tensors, config, source)
    write_atomic(
        out / WEIGHTS_FILE,
        lambda path: write_weights(path, tensors, names),
    )
    text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    write_atomic(out / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    coverage: dict[Path, FileCoverage] = {}
    for name in names:
        file = tensors.file(name)
        entry = coverage.setdefault(file, FileCoverage(file.name))
        entry.used[name] = f"lm: {name}"
    return list(coverage.values())


def _check_shapes(tensors: ShardedTensors, config: Step1Config, source: Path) -> list[str]:
    """Names in the order of our model, after comparing every shape with it."""
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in Step1LM(config).state_dict().items()}
    found = {name: tensors.shape(name) for name in tensors.names()}
    problems = [
        f"{name} is {found.get(name, 'missing')}, expected {shape}"
        for name, shape in wanted.items()
        if found.get(name) != shape
    ]
    problems += [f"{name} is not known" for name in found if name not in wanted]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"the language model in {source} does not fit its config.json: "
            f"{'; '.join(problems[:5])}{more}"
        )
    return list(wanted)


def write_weights(
    path: Path, tensors: ShardedTensors, names: list[str], dtype: torch.dtype | None = None
) -> None:
    """Write a safetensors file with one tensor in memory at a time.

    Args:
        path: the file.
        tensors: where they come from.
        names: which, in order.
        dtype: of all of them; None keeps the type of each.

    Raises:
        CheckpointError: a tensor of an unusual type that is to be kept.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in names:
        stored = tensors.dtype(name) if dtype is None else dtype
        if isinstance(stored, str):
            raise CheckpointError(
                f"{tensors.file(name)}: {name} is stored as {stored}; convert the unquantised model"
            )
        shape = tensors.shape(name)
        end = position + math.prod(shape) * stored.itemsize
        header[name] = {
            "dtype": _DTYPES[stored],
            "shape": list(shape),
            "data_offsets": [position, end],
        }
        position = end
    with path.open("wb") as file:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            value = tensors.tensor(name)
            _write_bytes(file, value if dtype is None else value.to(dtype))


def _write_bytes(file: BinaryIO, value: torch.Tensor) -> None:
    file.write(value.contiguous().view(-1).view(torch.uint8).numpy().data)
