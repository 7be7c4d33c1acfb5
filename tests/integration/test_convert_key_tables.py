"""The published key tables at full size: every name and shape finds its place, without values."""

from __future__ import annotations

import json
from pathlib import Path

import fake_published as fake
import pytest
import torch

from stepaudio.convert import checkpoints, graphs, sources, vocoders
from stepaudio.convert.language_model import read_lm_config
from stepaudio.convert.onnx_weights import OnnxNode
from stepaudio.convert.yaml_settings import read_yaml
from stepaudio.decoder.flow import FlowConfig
from stepaudio.decoder.hift import HiFTConfig
from stepaudio.decoder.speaker import CAMPPlusConfig
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.tokenizers.linguistic import LinguisticConfig
from stepaudio.tokenizers.semantic import SemanticConfig
from stepaudio.types import TokenSpec

TOKENS = TokenSpec()


def meta(fill, name: str) -> dict[str, torch.Tensor]:
    """The published key table without values."""
    return {
        entry["name"]: torch.empty(entry["shape"], device="meta")
        for entry in fake.spec(fill, name)["entries"]
    }


@pytest.fixture
def meta_files(monkeypatch, fill):
    """Pretend that every state dict on disk is a table of the published size."""

    def use(name: str, extra: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        table = meta(fill, name) | (extra or {})
        monkeypatch.setattr(sources, "read_state_dict", lambda path: table)
        return table

    return use


def full_size_settings(fill, folder: Path):
    path = folder / "cosyvoice.yaml"
    flow, hift = (fake.spec(fill, name)["config"] for name in ("flow.real", "hift.real"))
    path.write_text(fake.decoder_yaml(flow, hift, "hift"))
    return read_yaml(path)


def test_full_size_flow(meta_files, fill, tmp_path):
    table = meta_files("flow.real")
    settings = full_size_settings(fill, tmp_path)
    with torch.device("meta"):
        model, coverage = checkpoints.read_flow(Path("flow.pt"), settings, TOKENS, "flow.pt")
    assert len(coverage.used) == len(table) == 605
    assert model.config == FlowConfig(published_rounding=True)


def test_full_size_hift(meta_files, fill, tmp_path):
    table = meta_files("hift.real")
    settings = full_size_settings(fill, tmp_path)
    with torch.device("meta"):
        _, model, coverage = vocoders.read_vocoder(Path("hift.pt"), settings, "hift.pt")
    assert len(coverage.used) == len(table) == 328
    assert len(model.state_dict()) == 246
    assert model.config == HiFTConfig.release()


def test_full_size_linguistic(meta_files, fill, tmp_path):
    decoys = {name: torch.empty(1, device="meta") for name in fake.DECOYS}
    table = meta_files("sanm.real", decoys)
    config = checkpoints._linguistic_config(
        sources.StateDict(Path("model.pt")),
        write_recogniser_settings(fill, tmp_path),
        TOKENS.linguistic_size,
    )
    assert config == LinguisticConfig.release()
    with torch.device("meta"):
        model = checkpoints.LinguisticTokenizer(config)
    ours = {name: value.shape for name, value in model.encoder.state_dict().items()}
    theirs = {
        name.removeprefix("encoder."): value.shape
        for name, value in table.items()
        if name not in decoys
    }
    assert ours == theirs
    assert len(theirs) == 652


def write_recogniser_settings(fill, folder: Path) -> Path:
    config = fake.spec(fill, "sanm.real")["config"]
    path = folder / "config.yaml"
    lines = ["encoder_conf:", *fake.yaml_lines(config["encoder_conf"], 4)]
    lines += ["frontend_conf:", *fake.yaml_lines(config["frontend_conf"], 4)]
    path.write_text("\n".join(lines))
    return path


def test_full_size_language_model(fill, tmp_path):
    table = meta(fill, "lm.real")
    assert len(table) == 291
    config = tmp_path / "config.json"
    said = fake.spec(fill, "lm.real")["config"]
    config.write_text(json.dumps({**said, "model_type": "step1", "eos_token_id": 3}))
    read = read_lm_config(config)
    assert read == Step1Config.release()
    with torch.device("meta"):
        ours = Step1LM(read).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in table.items()}


class Graph:
    """Stands for an ONNX file of full size: published names and nodes, no values."""

    def __init__(self, tensors: dict[str, torch.Tensor], nodes: dict[str, str]) -> None:
        self._tensors, self._nodes = tensors, nodes

    def names(self) -> list[str]:
        return list(self._tensors)

    def nodes(self) -> list[OnnxNode]:
        return [OnnxNode(node, "", (name,), ()) for node, name in self._nodes.items()]

    def read_by(self, node: str) -> list[str]:
        return [self._nodes[node]]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]


def test_full_size_semantic(fill, monkeypatch):
    table = meta(fill, "s3v1.real")
    assert len(table) == 96
    tensors, nodes = {}, {}
    for index, (name, value) in enumerate(table.items()):
        module, _, part = name.removeprefix("encoder.").rpartition(".")
        linear = ".attn." in name or ".mlp." in name
        if name.startswith("quantizer"):
            nodes["/quantizer/rq/model/layers.0/_codebook/MatMul"] = f"onnx::MatMul_{index}"
            tensors[f"onnx::MatMul_{index}"] = value.T
        elif linear:
            operation = "MatMul" if part == "weight" else "Add"
            path = module.replace("mlp.", "mlp/mlp.").replace(".attn", "/attn")
            path = path.replace("attn.", "attn/").replace(".mlp/", "/mlp/")
            nodes[f"/{path}/{operation}"] = f"onnx::{operation}_{index}"
            tensors[f"onnx::{operation}_{index}"] = value.T if part == "weight" else value
        else:
            tensors[name.replace("encoder.", "encoders.", 1)] = value
    monkeypatch.setattr(graphs, "OnnxWeights", lambda path: Graph(tensors, nodes))
    with torch.device("meta"):
        model, coverage = graphs.read_semantic(Path("s3.onnx"), 4096, "s3.onnx")
    assert model.config == SemanticConfig.release()
    assert len(coverage.used) == 96
    assert not coverage.unused


def test_full_size_speaker_with_separate_batch_norms(fill, monkeypatch):
    table = meta(fill, "campplus.real")
    tensors = {name: value for name, value in table.items() if not name.endswith("_tracked")}
    monkeypatch.setattr(graphs, "OnnxWeights", lambda path: Graph(tensors, {}))
    with torch.device("meta"):
        model, coverage = graphs.read_campplus(Path("campplus.onnx"), "campplus.onnx")
    assert model.config == CAMPPlusConfig.release()
    assert set(coverage.used) == set(tensors)
