"""The published model through the front door: local folders, hub ids, converted once."""

from __future__ import annotations

import shutil
from pathlib import Path

import debug_parts as debug
import fake_published as fake
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from stepaudio import Edit, EditPipeline, TTSPipeline
from stepaudio.convert.published import DECODER
from stepaudio.errors import CheckpointError
from stepaudio.locate import PUBLISHED_EDIT, PUBLISHED_TOKENIZER, cache_folder
from stepaudio.parts import PIPELINE_FILE
from stepaudio.types import SamplingParams, TokenSpec

SHORT = SamplingParams(max_new_tokens=15)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, fill) -> tuple[Path, Path]:
    return fake.build(tmp_path_factory.mktemp("published"), fill)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPAUDIO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield cache_folder()


@pytest.fixture(scope="module")
def pipe(published: tuple[Path, Path]) -> EditPipeline:
    return EditPipeline.from_pretrained(published[0], device="cpu")


def test_an_edit_end_to_end(pipe: EditPipeline) -> None:
    assert pipe.parts.lm.spec.vocab_size == pipe.parts.text.vocab_size == 74752
    assert pipe.parts.tokenizer.spec.tokens == TokenSpec()
    sound = debug.speech()
    result = pipe.edit(sound, Edit.emotion("happy"), text="hello", seed=1, sampling=SHORT)
    assert result.tokens.num_units == 3
    assert result.audio.sample_rate == 24000
    assert len(result.audio) == 3 * 6 * 480
    again = pipe.edit(sound, Edit.emotion("happy"), text="hello", seed=1, sampling=SHORT)
    assert torch.equal(result.audio.samples, again.audio.samples)


def test_converted_once(pipe: EditPipeline, published, cache: Path, monkeypatch) -> None:
    made = list(cache.glob("converted/*"))
    assert len(made) == 1
    assert (made[0] / PIPELINE_FILE).is_file()

    def never(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("stepaudio.locate.convert_published", never)
    edit, tokenizer = published
    for name in (edit, tokenizer, edit.parent, str(edit)):
        again = TTSPipeline.from_pretrained(name, device="cpu")
        assert again.parts.lm.spec == pipe.parts.lm.spec


def test_changed_files_are_converted_again(pipe: EditPipeline, published, cache: Path) -> None:
    before = set(cache.glob("converted/*"))
    config = published[0] / "config.json"
    config.write_bytes(config.read_bytes() + b"\n")
    EditPipeline.from_pretrained(published[0], device="cpu")
    assert len(set(cache.glob("converted/*")) - before) == 1


@pytest.mark.parametrize("name", [PUBLISHED_EDIT, PUBLISHED_TOKENIZER])
def test_hub_ids(name: str, published, cache: Path, monkeypatch, tmp_path: Path) -> None:
    """The download leaves out what the patterns leave out; the rest is enough to convert."""
    folders = dict(zip((PUBLISHED_EDIT, PUBLISHED_TOKENIZER), published, strict=True))
    asked = []

    def download(
        repo_id: str, *, revision=None, local_files_only=False, allow_patterns: list[str]
    ) -> str:
        asked.append((repo_id, revision, local_files_only))
        source, target = folders[repo_id], tmp_path / repo_id
        names = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        names += ["README.md", "extra/big.bin", f"{DECODER}/speech_tokenizer_v1.onnx"]
        for file in filter_repo_objects(names, allow_patterns=allow_patterns):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, target / file)
        return str(target)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    pipe = EditPipeline.from_pretrained(name, device="cpu", revision="abc", local_files_only=True)
    revisions = {name: "abc"}
    assert asked == [(repo_id, revisions.get(repo_id), True) for repo_id in folders]
    assert pipe.resynthesize(debug.speech(0.5), seed=1, steps=1).audio.sample_rate == 24000


def test_a_hub_id_in_our_layout(tmp_path: Path, monkeypatch) -> None:
    saved = EditPipeline(debug.debug_parts()).save_pretrained(tmp_path / "model")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(saved))
    assert EditPipeline.from_pretrained("somebody/model").parts.vocoder.spec == debug.MEL


def test_hub_failures(tmp_path: Path, monkeypatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"cannot get .* no network"):
        EditPipeline.from_pretrained(PUBLISHED_EDIT)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(CheckpointError, match="is it a stepaudio model"):
        EditPipeline.from_pretrained("somebody/else")


def test_the_tokenizer_must_be_there_too(tmp_path: Path) -> None:
    (tmp_path / "Step-Audio-EditX" / "CosyVoice-300M-25Hz").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="put the published Step-Audio-Tokenizer beside it"):
        EditPipeline.from_pretrained(tmp_path / "Step-Audio-EditX")


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    before = set(cache.glob("converted/*")) | set(cache.glob("converted/.*"))
    (tmp_path / "Step-Audio-EditX" / "CosyVoice-300M-25Hz").mkdir(parents=True)
    (tmp_path / "Step-Audio-Tokenizer").mkdir()
    with pytest.raises(CheckpointError, match=r"cosyvoice\.yaml"):
        EditPipeline.from_pretrained(tmp_path / "Step-Audio-EditX")
    assert set(cache.glob("converted/*")) | set(cache.glob("converted/.*")) == before
