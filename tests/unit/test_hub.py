"""Loading: the same weights and buffers, no initialisation, types, devices, hub downloads."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.speaker import CAMPPlus, CAMPPlusConfig
from stepaudio.errors import CheckpointError
from stepaudio.hub import Pretrained, resolve_folder
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer

MODELS = [
    (Step1LM, Step1Config),
    (TokenFlowDecoder, FlowConfig),
    (HiFTVocoder, HiFTConfig),
    (ISTFTVocoder, ISTFTConfig),
    (CAMPPlus, CAMPPlusConfig),
    (DualCodebookTokenizer, DualCodebookConfig),
]


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    size: int = 4


class Probe(Pretrained):
    """Everything a constructor may do: fill, freeze, share, compute buffers."""

    config_class = ProbeConfig
    first: Tensor
    window: Tensor

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.one = nn.Linear(config.size, config.size)
        self.other = nn.Linear(config.size, config.size, bias=False)
        self.other.weight = self.one.weight
        self.frozen = nn.Parameter(torch.full((2,), 5.0)).requires_grad_(False)
        nn.init.zeros_(self.frozen)
        self.norm = nn.BatchNorm1d(config.size)
        window = torch.empty(config.size)
        self.register_buffer("window", window.fill_(3.0), persistent=False)


def every_tensor(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("model_class", "config_class"), MODELS)
def test_the_same_tensors_without_initialisation(
    model_class: type[Pretrained], config_class: type, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = model_class(config_class.debug())
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.normal_()
    model.save_pretrained(tmp_path)
    before = torch.random.get_rng_state()
    again = model_class.from_pretrained(tmp_path, dtype=dtype)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not again.training
    wanted = every_tensor(model.to(dtype))
    found = every_tensor(again)
    assert wanted.keys() == found.keys()
    for name, tensor in found.items():
        assert tensor.dtype == wanted[name].dtype, name
        assert torch.equal(tensor, wanted[name]), name
        assert tensor.requires_grad == wanted[name].requires_grad, name


def test_constructors_keep_their_meaning(tmp_path: Path, monkeypatch) -> None:
    model = Probe(ProbeConfig())
    nn.init.constant_(model.frozen, 2.0)
    model.norm.running_mean.fill_(0.5)
    model.save_pretrained(tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a weight was initialised")

    monkeypatch.setattr(torch.Tensor, "uniform_", never)
    monkeypatch.setattr(torch.Tensor, "normal_", never)
    again = Probe.from_pretrained(tmp_path)
    assert again.other.weight is again.one.weight
    assert torch.equal(again.one.weight, model.one.weight)
    assert not again.frozen.requires_grad
    assert again.frozen.tolist() == [2.0, 2.0]
    assert again.window.tolist() == [3.0] * 4
    assert torch.equal(again.norm.running_mean, model.norm.running_mean)
    assert again.norm.num_batches_tracked.dtype == torch.int64


def test_loaded_weights_are_no_part_of_the_file(tmp_path: Path) -> None:
    Probe(ProbeConfig()).save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    loaded = Probe.from_pretrained(tmp_path)
    with torch.no_grad():
        loaded.one.weight.fill_(7.0)
    assert (tmp_path / "model.safetensors").read_bytes() == content
    loaded.save_pretrained(tmp_path, force=True)
    assert Probe.from_pretrained(tmp_path).one.weight.eq(7).all()


def test_modules_built_afterwards_are_initialised(tmp_path: Path) -> None:
    Probe(ProbeConfig()).save_pretrained(tmp_path)
    Probe.from_pretrained(tmp_path)
    assert Probe(ProbeConfig()).frozen.tolist() == [0.0, 0.0]


def test_only_the_wanted_files_are_downloaded(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def download(repo_id: str, **settings: object) -> str:
        asked.append((repo_id, settings))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve_folder("a/b", files=("config.json", "lm/*")) == tmp_path
    assert resolve_folder("a/b", revision="main", local_files_only=True) == tmp_path
    assert asked == [
        (
            "a/b",
            {
                "revision": None,
                "local_files_only": False,
                "allow_patterns": ["config.json", "lm/*"],
            },
        ),
        ("a/b", {"revision": "main", "local_files_only": True, "allow_patterns": None}),
    ]
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        resolve_folder("a/b/c", files=("x",))


def test_each_tensor_can_be_stored_in_a_type_of_its_own(tmp_path: Path) -> None:
    model = Probe(ProbeConfig())
    narrow = torch.float8_e4m3fn
    model.save_pretrained(
        tmp_path, dtype=lambda name: narrow if name.endswith("weight") else torch.float16
    )
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert stored["one.weight"].dtype == narrow
    assert stored["frozen"].dtype == torch.float16
    again = Probe.from_pretrained(tmp_path)
    assert again.one.weight.dtype == torch.float32
    assert torch.equal(again.one.weight, model.one.weight.to(narrow).float())


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('{"size": "4"}', "size must be int, not '4'"),
        ('{"size": 4.5}', "size must be int, not 4.5"),
        ('{"sise": 4}', "unknown setting 'sise'; did you mean 'size'?"),
    ],
)
def test_a_config_that_does_not_fit_names_its_folder_and_setting(
    config: str, complaint: str, tmp_path: Path
) -> None:
    Probe(ProbeConfig()).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}: {complaint}")):
        Probe.from_pretrained(tmp_path)
