"""The language model of a pipeline folder as a Hugging Face folder that vLLM serves.

vLLM knows the model as ``Step1ForCausalLM``. It reads the weights under their published names,
which are ours too, so nothing is renamed; what it needs beside them is written here:

- ``config.json``: shapes under the published names, the word that the output layer is not tied to
  the embedding (vLLM ties it if the word is missing), and where the audio ids are
- ``configuration_step1.py``: the class that transformers asks for, because it does not know this
  kind of model; it holds no code but the name
- ``tokenizer.json``, ``tokenizer_config.json``: the text tokenizer, with the chat template of the
  v2 layout (see :mod:`stepaudio.prompts`)
- ``generation_config.json``: ends and temperature for callers that say nothing
- ``model.safetensors``: all tensors in one type, which holds each of them exactly
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stepaudio.convert.language_model import check_language_model, write_weights
from stepaudio.convert.new_folder import new_folder
from stepaudio.convert.sources import ShardedTensors, require_file
from stepaudio.errors import CheckpointError
from stepaudio.hub import CONFIG_FILE, WEIGHTS_FILE, config_from_dict, read_json
from stepaudio.lm.step1 import Step1Config
from stepaudio.parts import PIPELINE_FILE, load_defaults
from stepaudio.tokenizers.text import BOS, BOT, EOT, TOKENIZER_FILE, UNK, SentencePieceText
from stepaudio.types import SamplingParams

__all__ = ["Exported", "export_huggingface"]

_CLASS_FILE = "configuration_step1.py"
_CLASS = '''"""Settings of a Step1 language model; all of them stand in config.json."""

from transformers import PretrainedConfig


class Step1Config(PretrainedConfig):
    """Names the kind of model."""

    model_type = "step1"
'''

# One turn per message, "user" called human; the beginning of sequence only before a system turn.
_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if loop.first and message['role'] == 'system' -%}{{- '" + BOS + "' -}}{%- endif -%}"
    "{%- set role = 'human' if message['role'] == 'user' else message['role'] -%}"
    "{{- '" + BOT + " ' + role + '\\n' + message['content'] + '" + EOT + "' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '" + BOT + " assistant\\n' -}}{%- endif -%}"
)

_NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}
_EIGHT_BITS = "F8_E4M3"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: with everything that a server needs.
        parameters: of the language model.
        dtype: of the weights.
        context_length: most ids of a request, its prompt included.
    """

    folder: Path
    parameters: int
    dtype: str
    context_length: int


def export_huggingface(model: str | Path, out: str | Path, *, force: bool = False) -> Exported:
    """Write the Hugging Face folder of a pipeline's language model.

    The weights are copied one by one, so a large model is never in memory as a whole.

    Args:
        model: a pipeline folder.
        out: folder to make.
        force: allow replacing files in ``out``.

    Returns:
        What was written.

    Raises:
        CheckpointError: a file is missing or damaged, or the language model is of another kind.
        OutputExistsError: ``out`` is not empty and ``force`` is False.
    """
    model, out = Path(model), Path(out)
    kind = read_json(model / PIPELINE_FILE).get("parts", {}).get("lm")
    if kind != "step1":
        raise CheckpointError(
            f"the language model of {model} is a {kind!r}; only an unquantised 'step1' can be "
            "served as Step1ForCausalLM"
        )
    path = model / "lm" / CONFIG_FILE
    config = config_from_dict(Step1Config, read_json(path), path)
    if config.bits is not None:
        raise CheckpointError(
            f"the language model of {model} has weights of {config.bits} bits, in a layout of our "
            "own; export the one it was made from"
        )
    check_language_model(model / "lm", config)
    tensors = ShardedTensors(model / "lm")
    dtype = _holding_all(tensors)
    text = SentencePieceText.from_pretrained(model / "text")
    if text.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{model / 'text'} has {text.vocab_size} ids but {path} says {config.vocab_size}"
        )
    sampling = load_defaults(model).sampling
    with new_folder(out, last=CONFIG_FILE, force=force) as work:
        write_weights(work / WEIGHTS_FILE, tensors, tensors.names(), dtype)
        shutil.copyfile(
            require_file(model / "text" / TOKENIZER_FILE, "text tokenizer"), work / TOKENIZER_FILE
        )
        (work / _CLASS_FILE).write_text(_CLASS, encoding="utf-8")
        for name, values in (
            ("tokenizer_config.json", _tokenizer_config(config, text)),
            ("generation_config.json", _generation_config(config, sampling)),
            (CONFIG_FILE, _config(config, _NAMES[dtype])),
        ):
            content = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (work / name).write_text(content, encoding="utf-8")
    parameters = sum(math.prod(tensors.shape(name)) for name in tensors.names())
    return Exported(out, parameters, _NAMES[dtype], config.context_length)


def _holding_all(tensors: ShardedTensors) -> torch.dtype:
    """The smallest type that every tensor can be stored in without rounding."""
    stored = {tensors.dtype(name) for name in tensors.names()}
    unknown = sorted(str(s) for s in stored if isinstance(s, str) and s != _EIGHT_BITS)
    if unknown:
        raise CheckpointError(
            f"the language model is stored as {', '.join(unknown)}; export the unquantised one"
        )
    whole = stored - {_EIGHT_BITS}
    if len(whole) > 1:
        return torch.float32
    # Both half types hold eight bits exactly.
    (only,) = whole or {torch.bfloat16}
    assert isinstance(only, torch.dtype)
    return only


def _ends(config: Step1Config) -> int | list[int]:
    return config.end_ids[0] if len(config.end_ids) == 1 else list(config.end_ids)


def _config(config: Step1Config, dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["Step1ForCausalLM"],
        "model_type": "step1",
        "auto_map": {"AutoConfig": f"{Path(_CLASS_FILE).stem}.Step1Config"},
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_attention_groups": config.num_attention_groups,
        # The same under the name that everybody but the published code uses.
        "num_key_value_heads": config.num_attention_groups,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.rms_norm_eps,
        "max_seq_len": config.context_length,
        "max_position_embeddings": config.context_length,
        "bos_token_id": 1,
        "eos_token_id": _ends(config),
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "audio_offset": config.audio_offset,
        "linguistic_size": config.linguistic_size,
        "semantic_size": config.semantic_size,
    }


def _tokenizer_config(config: Step1Config, text: SentencePieceText) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": text.token(config.end_ids[0]),
        "unk_token": UNK,
        "pad_token": UNK,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.context_length,
        "chat_template": _CHAT_TEMPLATE,
    }


def _generation_config(config: Step1Config, sampling: SamplingParams) -> dict[str, Any]:
    drawn = {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }
    return {
        "bos_token_id": 1,
        "eos_token_id": _ends(config),
        "pad_token_id": 0,
        **(drawn if sampling.temperature > 0 else {"do_sample": False}),
    }
