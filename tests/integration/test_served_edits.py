"""The way to a server and back: the language model exported for vLLM, and edits through a stub."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import debug_parts as debug
import pytest
import torch
from command_line import ok, refused, told
from same_results import assert_same
from stub_server import serving

from stepaudio import Edit, EditPipeline, Parts
from stepaudio.convert.huggingface import export_huggingface
from stepaudio.convert.language_model import convert_language_model, read_lm_config
from stepaudio.convert.sources import ShardedTensors
from stepaudio.errors import CheckpointError, NotServedError, OutputExistsError
from stepaudio.hub import read_json
from stepaudio.lm.sampling import published_v1
from stepaudio.lm.served import ServedLM, ServerConfig
from stepaudio.lm.step1 import Step1LM
from stepaudio.parts import save_parts
from stepaudio.prompts import edit_prompt, edit_turns

TEXT = "see you tomorrow"
CODES = "<audio_1><audio_2><audio_13><audio_14><audio_15>"

#: What vLLM's ``Step1ForCausalLM`` loads, by shapes of its own: H hidden, I intermediate, V
#: vocabulary, K all key/value heads. Learnt from its source (055e47c), written down by us.
VLLM_WEIGHTS = {
    "model.embed_tokens.weight": "VH",
    "model.norm.weight": "H",
    "lm_head.weight": "VH",
}
VLLM_LAYER = {
    "input_layernorm.weight": "H",
    "post_attention_layernorm.weight": "H",
    "self_attn.q_proj.weight": "HH",
    "self_attn.k_proj.weight": "KH",
    "self_attn.v_proj.weight": "KH",
    "self_attn.o_proj.weight": "HH",
    "mlp.gate_proj.weight": "IH",
    "mlp.up_proj.weight": "IH",
    "mlp.down_proj.weight": "HI",
}
#: Settings it reads, and the one of ours that each must say. Position signal and slopes are fixed
#: there; the output layer is tied unless the settings say no.
VLLM_SETTINGS = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_attention_groups": "num_attention_groups",
    "num_key_value_heads": "num_attention_groups",
    "vocab_size": "vocab_size",
    "rms_norm_eps": "rms_norm_eps",
    "max_position_embeddings": "context_length",
}


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


@pytest.fixture(scope="module")
def model(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose language model is stored in two types, as the embedded one is."""
    folder = tmp_path_factory.mktemp("served") / "model"
    save_parts(parts, folder, defaults=debug.DEFAULTS)

    def stored(name: str) -> torch.dtype:
        return torch.float8_e4m3fn if "embed" in name else torch.float16

    parts.lm.save_pretrained(folder / "lm", dtype=stored, force=True)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "hf"
    done = export_huggingface(model, out)
    assert (done.folder, done.dtype, done.context_length) == (out, "float16", 512)
    return out


@pytest.mark.parametrize("context", [512, 8192, 16384])
def test_the_folder_keeps_the_context_of_the_model(
    model: Path, tmp_path: Path, context: int
) -> None:
    """Also one beyond that of the published programs, whose own file names more than they serve."""
    shutil.copytree(model, tmp_path / "model")
    path = tmp_path / "model" / "lm" / "config.json"
    path.write_text(json.dumps(read_json(path) | {"context_length": context}))
    out = tmp_path / "hf"
    export_huggingface(tmp_path / "model", out)
    assert read_lm_config(out / "config.json").context_length == context
    published = read_json(out / "config.json")
    for name in ("audio_offset", "linguistic_size", "semantic_size"):
        del published[name]
    published |= {"max_seq_len": 32768, "vocab_size": 74752}
    (out / "config.json").write_text(json.dumps(published))
    assert read_lm_config(out / "config.json").context_length == 8192


def test_the_folder_holds_what_vllm_reads(model: Path, exported: Path) -> None:
    ours, config = read_json(model / "lm" / "config.json"), read_json(exported / "config.json")
    assert config["architectures"] == ["Step1ForCausalLM"]
    assert config["model_type"] == "step1"
    assert config["tie_word_embeddings"] is False
    assert config["torch_dtype"] == "float16"
    assert {name: config[name] for name in VLLM_SETTINGS} == {
        name: ours[own] for name, own in VLLM_SETTINGS.items()
    }
    sizes = {
        "H": config["hidden_size"],
        "I": config["intermediate_size"],
        "V": config["vocab_size"],
        "K": config["num_attention_groups"]
        * (config["hidden_size"] // config["num_attention_heads"]),
    }
    wanted = VLLM_WEIGHTS | {
        f"model.layers.{layer}.{name}": shape
        for layer in range(config["num_hidden_layers"])
        for name, shape in VLLM_LAYER.items()
    }
    tensors = ShardedTensors(exported)
    assert {name: tensors.shape(name) for name in tensors.names()} == {
        name: tuple(sizes[letter] for letter in shape) for name, shape in wanted.items()
    }
    assert {tensors.dtype(name) for name in tensors.names()} == {torch.float16}
    generation = read_json(exported / "generation_config.json")
    assert (generation["eos_token_id"], generation["temperature"]) == (3, 0.7)


def test_the_way_back_is_exact(model: Path, exported: Path, tmp_path: Path) -> None:
    config = read_lm_config(exported / "config.json")
    convert_language_model(exported, config, tmp_path)
    back = Step1LM.from_pretrained(tmp_path)
    lm = Step1LM.from_pretrained(model / "lm")
    assert back.spec == lm.spec
    ids = torch.arange(40)[None] % lm.spec.vocab_size
    with torch.no_grad():
        assert torch.equal(back(ids), lm(ids))


def test_what_cannot_be_exported_or_overwritten(
    model: Path, exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputExistsError, match="hf exists"):
        export_huggingface(model, exported)
    manifest = read_json(model / "pipeline.json")
    other = tmp_path / "other"
    other.mkdir()
    (other / "lm").symlink_to(model / "lm")
    (other / "text").symlink_to(model / "text")
    manifest["parts"]["lm"] = "something_else"
    (other / "pipeline.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="'something_else'"):
        export_huggingface(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(model: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "hf")
    said = told("convert", str(model), out, "--to", "huggingface")
    tensors = ShardedTensors(tmp_path / "hf")
    count = sum(math.prod(tensors.shape(name)) for name in tensors.names())
    assert (said["parameters"], said["dtype"]) == (count, "float16")
    assert "exists" in refused("convert", str(model), out, "--to", "huggingface")
    ok("convert", str(model), out, "--to", "huggingface", "--force")
    refused("convert", str(model), str(model), out, "--to", "huggingface", code=2)


def test_transformers_reads_settings_and_text_tokenizer(
    parts: Parts, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    # Classes that come with a model are copied here before they are used.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    config = transformers.AutoConfig.from_pretrained(exported, trust_remote_code=True)
    assert type(config).__name__ == "Step1Config"
    for name, value in read_json(exported / "config.json").items():
        if name not in ("torch_dtype", "auto_map"):
            assert getattr(config, name) == value, name
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    edit = Edit.style("whisper")
    prompt = edit_prompt(edit, CODES, TEXT)
    assert tokenizer.encode(prompt, add_special_tokens=False) == parts.text.encode(prompt)
    system, user = edit_turns(edit, CODES, TEXT)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    said = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert said == prompt
    assert tokenizer.eos_token_id in parts.lm.spec.end_ids


def test_an_edit_through_a_server_is_the_edit(parts: Parts, model: Path) -> None:
    greedy = replace(debug.DEFAULTS.sampling, temperature=0.0)
    how: dict[str, Any] = {"text": [TEXT, TEXT], "seed": 1, "sampling": greedy}
    sounds = [debug.speech(), debug.speech(0.9, seed=2)]
    edits = [Edit.style("whisper"), Edit.emotion("happy")]
    here = EditPipeline(parts, defaults=debug.DEFAULTS)
    guided = replace(debug.DEFAULTS, guidance_words=0.5)
    assert isinstance(parts.lm, Step1LM)
    with serving(parts.lm) as stub:
        lm = ServedLM.for_model(model, ServerConfig(stub.url))
        assert lm.spec == parts.lm.spec
        # A server gives no logits, so its model is not guided, whatever the defaults say.
        there = EditPipeline(replace(parts, lm=lm), defaults=guided)
        for one, other in zip(
            there.edit(sounds, edits, **how), here.edit(sounds, edits, **how), strict=True
        ):
            assert_same(one, other)
        one_sound: dict[str, Any] = {"text": TEXT, "seed": 1, "sampling": greedy}
        streams = [pipe.stream(sounds[0], edits[0], **one_sound) for pipe in (there, here)]
        for chunk, other_chunk in zip(*streams, strict=True):
            assert torch.equal(chunk.samples, other_chunk.samples)
        assert_same(streams[0].result, streams[1].result)
        with pytest.raises(NotServedError, match="published_v1"):
            there.edit(sounds[0], edits[0], text=TEXT, sampling=published_v1())
