"""Published folders to our layout: reduced copies of both, converted and loaded again."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import fake_published as fake
import numpy as np
import pytest
import torch
from conftest import Golden, assert_close

from stepaudio.convert import vocoders
from stepaudio.convert.language_model import convert_language_model, read_lm_config
from stepaudio.convert.published import convert_published
from stepaudio.convert.sources import ShardedTensors
from stepaudio.convert.yaml_settings import read_yaml
from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.hift import HiFTVocoder
from stepaudio.decoder.speaker import CAMPPlus
from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.errors import CheckpointError, OutputExistsError
from stepaudio.hub import load_tensors, read_json
from stepaudio.lm.step1 import Step1LM
from stepaudio.parts import check_fit, load_parts
from stepaudio.tokenizers.dual import DualCodebookTokenizer
from stepaudio.tokenizers.text import SentencePieceText
from stepaudio.types import TokenSpec

TOKENS = TokenSpec()


@pytest.fixture(scope="module")
def published(tmp_path_factory, fill, golden_dir):
    """Both folders; not to be changed."""
    return fake.build(tmp_path_factory.mktemp("published"), fill, golden=golden_dir)


@pytest.fixture(scope="module")
def onnx_golden(golden, golden_dir, fill):
    """Golden arrays from the folder that the ONNX files were taken from."""

    def load(name: str) -> Golden:
        if (golden_dir / "campplus.tiny.weights.onnx").is_file():
            return golden(name)
        with np.load(fake.GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            return Golden(dict(file), json.loads(str(file["meta"])), fill)

    return load


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "model"
    return convert_published(*published, out, semantic_heads=fake.SEMANTIC_HEADS)


@pytest.fixture
def broken(published, tmp_path):
    """A copy to break; its files are links, so replace them instead of writing into them."""
    for folder in published:
        shutil.copytree(folder, tmp_path / folder.name, copy_function=os.link)
    return [tmp_path / folder.name for folder in published]


def refuse(folders, message: str) -> None:
    out = folders[0].parent / "out"
    with pytest.raises(CheckpointError, match=message):
        convert_published(*folders, out)
    assert not out.exists()
    assert [path for path in out.parent.iterdir() if path not in folders] == []


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def equal(actual, expected) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def test_folder_and_report(published, converted):
    folder = converted.folder
    parts = read_json(folder / "pipeline.json")
    assert parts["format"] == 1
    assert parts["parts"]["vocoder"] == "hift"
    report = read_json(folder / "conversion.json")
    assert (report["used"], report["unused"]) == (converted.used, converted.unused)
    unused = {name: why for file in converted.files for name, why in file.unused.items()}
    assert set(unused) == set(fake.DECOYS)
    assert all("encoder alone" in why for why in unused.values())
    # Every file with tensors is in the report, and is named as it can be found.
    names = {file.file for file in converted.files}
    root = published[0].parent
    assert names == {
        path.relative_to(root).as_posix()
        for pattern in ("*.pt", "*.onnx", "*.npy", "*.safetensors")
        for folder in published
        for path in folder.rglob(pattern)
    }


def test_language_model(converted, fill):
    folder = converted.folder / "lm"
    stored = load_tensors(folder / "model.safetensors")
    equal(stored, fake.lm_weights(fill))
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    model = Step1LM.from_pretrained(folder, dtype=torch.bfloat16)
    assert model.spec.vocab_size == fake.VOCABULARY
    assert model.spec.audio_offset == fake.FIRST_AUDIO
    assert model.spec.end_ids == (3,)


def test_text_tokenizer(converted):
    text = SentencePieceText.from_pretrained(converted.folder / "text")
    assert text.vocab_size == fake.VOCABULARY
    assert text.encode("<audio_0>") == [fake.FIRST_AUDIO]


def test_flow(converted, fill):
    model = TokenFlowDecoder.from_pretrained(converted.folder / "flow")
    equal(model.state_dict(), fake.weights(fill, "flow.tiny"))
    assert model.config.published_rounding
    assert model.spec.tokens == TOKENS
    said = fake.spec(fill, "flow.tiny")["config"]
    assert model.config.guidance == said["cfg"]
    assert model.config.encoder.heads == said["enc"]["attention_heads"]
    assert model.config.velocity.heads == said["dit"]["num_heads"]


def test_hift(converted, fill):
    model = HiFTVocoder.from_pretrained(converted.folder / "vocoder")
    equal(model.state_dict(), fold_weight_norm(fake.weights(fill, "hift.tiny")))


def test_bigvgan(published, fill, tmp_path):
    tokenizer = published[1]
    bigvgan, _ = fake.build(tmp_path, fill, vocoder="bigvgan")
    settings = read_yaml(bigvgan / fake.DECODER / "cosyvoice.yaml")
    kind, model, coverage = vocoders.read_vocoder(
        bigvgan / fake.DECODER / "hift.pt", settings, "hift.pt"
    )
    assert kind == "bigvgan"
    assert isinstance(model, BigVGANVocoder)
    assert len(coverage.used) == len(fake.weights(fill, "bigvgan_vendored.tiny"))
    equal(model.state_dict(), fold_weight_norm(fake.weights(fill, "bigvgan_vendored.tiny")))
    report = convert_published(bigvgan, tokenizer, tmp_path / "out")
    assert read_json(report.folder / "pipeline.json")["parts"]["vocoder"] == "bigvgan"
    BigVGANVocoder.from_pretrained(report.folder / "vocoder")


def test_tokenizer(converted, fill, onnx_golden):
    model = DualCodebookTokenizer.from_pretrained(converted.folder / "tokenizer")
    assert model.spec.tokens == TOKENS
    linguistic, semantic = model.linguistic, model.semantic
    equal(
        linguistic.encoder.state_dict(),
        {
            name.removeprefix("encoder."): value
            for name, value in fake.weights(fill, "sanm.tiny").items()
        },
    )
    prefix = fake.spec(fill, "sanm.tiny")["fill_prefix"]
    shift, scale = (torch.from_numpy(value) for value in fake.cmvn(fill, prefix))
    assert_close(linguistic.cmvn_shift, shift, 1e-6)
    assert_close(linguistic.cmvn_scale, scale, 1e-6)
    codebook = torch.from_numpy(fake.centroids(fill, prefix))
    assert torch.equal(linguistic.codebook[: len(codebook)], codebook)

    expected = onnx_golden("s3v1.tiny").weights()
    name = "quantizer._codebook.embed"
    codes = expected.pop(name)
    state = semantic.state_dict()
    embed = state.pop(name)
    equal(state, expected)
    assert torch.equal(embed[: len(codes)], codes)
    assert semantic.config.heads == fake.SEMANTIC_HEADS


def test_entries_that_fill_a_codebook_are_never_chosen(converted, fill):
    model = DualCodebookTokenizer.from_pretrained(converted.folder / "tokenizer")
    random = np.random.default_rng(0)
    for part, real in (
        (model.linguistic, fake.spec(fill, "sanm.tiny")["config"]["codes"]),
        (model.semantic, fake.spec(fill, "s3v1.tiny")["config"]["n_codebook_size"]),
    ):
        hidden = torch.from_numpy(random.standard_normal((500, 64)) * 30).float()
        assert int(part.quantize(hidden).max()) < real


def test_all_parts_fit(converted):
    check_fit(load_parts(converted.folder))


@pytest.mark.parametrize("name", ["embedding", "embedding75", "embedding_long"])
@torch.no_grad()
def test_speaker(converted, onnx_golden, name):
    model = CAMPPlus.from_pretrained(converted.folder / "speaker")
    fbank = onnx_golden("campplus")["fbank"]
    inputs = {
        "embedding": fbank,
        "embedding75": fbank[:75],
        "embedding_long": torch.cat([fbank, fbank.flip(0), 0.5 * fbank]),
    }
    assert_close(model(inputs[name][None]), onnx_golden("campplus.tiny")[name], 2e-5)


def test_never_overwrites_unasked(published, converted, tmp_path):
    out = tmp_path / "model"
    shutil.copytree(converted.folder, out)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="model exists"):
        convert_published(*published, out)
    (out / "lm" / "config.json").write_text("{}")
    convert_published(*published, out, force=True)
    assert read_json(out / "lm" / "config.json")["hidden_size"] == 48
    assert (out / "mine.txt").read_text() == "keep"
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputExistsError):
        convert_published(*published, file, force=True)


def every_file() -> list[tuple[int, str]]:
    decoder, recogniser = fake.DECODER, fake.RECOGNISER
    names = ["config.json", "model-00001.safetensors", "tokenizer.model"]
    names += [f"{decoder}/{name}" for name in ("flow.pt", "hift.pt", "cosyvoice.yaml")]
    others = ["linguistic_tokenizer.npy", "speech_tokenizer_v1.onnx"]
    others += [f"{recogniser}/{name}" for name in ("model.pt", "config.yaml", "am.mvn")]
    return [(0, name) for name in (*names, f"{decoder}/campplus.onnx")] + [(1, n) for n in others]


@pytest.mark.parametrize(("folder", "name"), every_file())
def test_missing_file(broken, folder, name):
    (broken[folder] / name).unlink()
    refuse(broken, Path(name).name)


@pytest.mark.parametrize(("folder", "name"), every_file())
def test_truncated_file(broken, folder, name):
    path = broken[folder] / name
    content = path.read_bytes()
    replace(path, content[: len(content) // 2])
    if name.endswith(".yaml"):  # half a YAML file is often a YAML file: make it none
        replace(path, b"flow: [unclosed")
    refuse(broken, Path(name).name)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "pickle"])
@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (0, f"{fake.DECODER}/flow.pt"),
        (0, f"{fake.DECODER}/hift.pt"),
        (1, f"{fake.RECOGNISER}/model.pt"),
    ],
)
def test_pickles_are_not_executed(broken, tmp_path, folder, name, how):
    path, trap = broken[folder] / name, tmp_path / "trap"
    path.unlink()
    content = {"weight": torch.ones(1), "bomb": Bomb(trap)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refuse(broken, "refused")
    assert not trap.exists()


def test_arrays_of_objects_are_not_unpickled(broken, tmp_path):
    path, trap = broken[1] / "linguistic_tokenizer.npy", tmp_path / "trap"
    path.unlink()
    np.save(path, np.array([Bomb(trap)], dtype=object), allow_pickle=True)
    refuse(broken, "linguistic_tokenizer.npy")
    assert not trap.exists()


def test_yaml_tags_are_data(broken, tmp_path):
    trap = tmp_path / "trap"
    path = broken[0] / fake.DECODER / "cosyvoice.yaml"
    attack = f"attack: !!python/object/apply:os.mkdir ['{trap}']\n"
    replace(path, (path.read_text() + attack).encode())
    report = convert_published(*broken, tmp_path / "out")
    assert not trap.exists()
    assert (report.folder / "pipeline.json").is_file()


def test_settings_by_key_not_by_layout(broken, tmp_path, converted):
    """Other nesting, other order, references and tuples give the same model."""
    path = broken[0] / fake.DECODER / "cosyvoice.yaml"
    text = path.read_text()
    text = text.replace("sampling_rate: 24000", "sampling_rate: !ref <rate>")
    text = text.replace("hop_size: 480", "hop_size: !ref <nested[hop]>")
    text = text.replace("[8, 5, 3]", "!tuple [8, 5, 3]").replace("0.003", "3e-3")
    _, rest = text.split("hift:")
    replace(path, ("nested: {hop: 480}\nrate: 24000\nhift:" + rest + _).encode())
    report = convert_published(*broken, tmp_path / "out")
    for part in ("flow", "vocoder"):
        assert read_json(report.folder / part / "config.json") == read_json(
            converted.folder / part / "config.json"
        )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hifigan.generator.HiFTGenerator", "other.Vocoder", "names the vocoder 'Vocoder'"),
        ("base_channels: 32", "base_channels: 64", "says base_channels is 64"),
        ("depth: 2", "depth: 3", "says depth is 3"),
        ("hop_size: 480", "hop_size: 240", "hop"),
        ("hop_size: 480", "hop_size: many", "hop_size must be a whole number, not 'many'"),
        ("nb_harmonics: 8", "nb_harmonics: 8.5", "whole number"),
        ("mel_conf:", "other:", "no section 'mel_conf'"),
    ],
)
def test_contradicting_settings(broken, old, new, message):
    path = broken[0] / fake.DECODER / "cosyvoice.yaml"
    replace(path, path.read_text().replace(old, new).encode())
    refuse(broken, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 96}, "does not fit its config"),
        ({"vocab_size": 75000}, "does not fit its config"),
        ({"model_type": "llama"}, "'llama' model"),
        ({"num_attention_heads": None}, "config"),
        ({"quantization_config": {}}, "unquantised"),
    ],
)
def test_contradicting_language_model(broken, change, message):
    path = broken[0] / "config.json"
    replace(path, json.dumps(read_json(path) | change).encode())
    refuse(broken, message)


def test_tokenizer_of_another_vocabulary(broken):
    path = broken[0] / "tokenizer.model"
    path.unlink()
    fake.write_text_tokenizer(path, fake.VOCABULARY - 1)
    refuse(broken, f"has {fake.VOCABULARY - 1} ids but config.json says")


def test_shards_and_index(broken, tmp_path, fill):
    """Two shards load as one; an index that does not match them is refused."""
    edit = broken[0]
    (edit / "model-00001.safetensors").unlink()
    tensors = fake.lm_weights(fill)
    names = sorted(tensors)
    files = {name: f"model-0000{1 + (i % 2)}.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        part = {name: tensors[name] for name in names if files[name] == file}
        fake.safetensors.torch.save_file(part, edit / file)
    index = edit / "model.safetensors.index.json"
    replace(index, json.dumps({"weight_map": files}).encode())
    config = read_lm_config(edit / "config.json")
    coverage = convert_language_model(edit, config, tmp_path / "lm")
    assert sorted(entry.file for entry in coverage) == sorted(set(files.values()))
    equal(load_tensors(tmp_path / "lm" / "model.safetensors"), tensors)

    index.unlink()
    assert sorted(ShardedTensors(edit).names()) == names
    swapped = files | {names[0]: files[names[1]]}
    for wrong in (swapped, {**files, "more": files[names[0]]}, {"x": "../x.safetensors"}, "text"):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(CheckpointError, match="index"):
            ShardedTensors(edit)


@pytest.mark.parametrize("change", ["missing", "surplus"])
@pytest.mark.parametrize("name", ["flow.pt", "hift.pt"])
def test_every_tensor_counts(broken, name, change):
    path = broken[0] / fake.DECODER / name
    tensors = torch.load(path, weights_only=True)
    path.unlink()
    if change == "missing":
        tensors.pop(sorted(tensors)[-1])
    else:
        tensors["extra.weight"] = torch.ones(1)
    torch.save(tensors, path)
    refuse(broken, name)


def test_an_encoder_that_could_not_stream_is_refused(broken):
    path = broken[0] / fake.DECODER / "flow.pt"
    tensors = torch.load(path, weights_only=True)
    path.unlink()
    name = "encoder.pre_lookahead_layer.conv1.weight"
    tensors[name] = tensors[name][..., :3].clone()
    torch.save(tensors, path)
    refuse(broken, r"flow\.pt has an encoder of another kind: lookahead 2")
