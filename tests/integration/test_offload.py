"""Pipelines with one stage in memory at a time: the same results, less memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from command_line import told

from stepaudio import Audio, Edit, EditPipeline, TTSPipeline
from stepaudio.errors import CheckpointError
from stepaudio.hub import Pretrained
from stepaudio.offload import resident_bytes, working

TEXT = "see you tomorrow"
EDIT = Edit.style("whisper", strength=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Two draws, which are told apart by what the tokenizer knows.
    defaults = replace(debug.DEFAULTS, draws=2)
    pipe = EditPipeline(debug.debug_parts(), defaults=defaults)
    return pipe.save_pretrained(tmp_path_factory.mktemp("model") / "debug")


@pytest.fixture(scope="module")
def sound() -> Audio:
    return debug.speech()


@pytest.fixture(scope="module")
def samples(folder: Path, sound: Audio) -> torch.Tensor:
    pipe = EditPipeline.from_pretrained(folder)
    return pipe.edit(sound, EDIT, text=TEXT, seed=1).audio.samples


def asleep(pipe: EditPipeline | TTSPipeline) -> set[str]:
    return {
        role
        for role, part in vars(pipe.parts).items()
        if isinstance(part, Pretrained) and not part.loaded
    }


ALL = {"tokenizer", "lm", "flow", "vocoder", "speaker"}


def watched(pipe: EditPipeline, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Which parts sleep while each works, filled as they do."""
    seen: dict[str, set[str]] = {}

    def look(role: str, call: Callable[..., object], *args: object, **kwargs: object) -> object:
        seen[role] = asleep(pipe)
        return call(*args, **kwargs)

    for role, method in {
        "tokenizer": "encode",
        "speaker": "embed",
        "lm": "generate",
        "flow": "decode",
        "vocoder": "synthesize",
    }.items():
        part = getattr(pipe.parts, role)
        monkeypatch.setattr(part, method, partial(look, role, getattr(part, method)))
    return seen


def test_one_stage_at_a_time_gives_the_same_sound(
    folder: Path, sound: Audio, samples: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = EditPipeline.from_pretrained(folder, offload="stage")
    held = resident_bytes(*vars(EditPipeline.from_pretrained(folder).parts).values())
    assert asleep(pipe) == ALL
    assert resident_bytes(*vars(pipe.parts).values()) < 0.05 * held
    seen = watched(pipe, monkeypatch)
    result = pipe.edit(sound, EDIT, text=TEXT, seed=1)
    assert torch.equal(result.audio.samples, samples)
    assert seen == {role: ALL - {role} for role in ALL}
    assert asleep(pipe) == ALL


def test_unloaded_parts_come_back_and_stay(
    folder: Path, sound: Audio, samples: torch.Tensor
) -> None:
    pipe = EditPipeline.from_pretrained(folder)
    digest = pipe.weights
    pipe.unload()
    assert asleep(pipe) == ALL
    result = pipe.edit(sound, EDIT, text=TEXT, seed=1)
    assert torch.equal(result.audio.samples, samples)
    assert asleep(pipe) == set()
    assert result.provenance is not None
    assert result.provenance.manifest.weights == digest
    assert EditPipeline.from_pretrained(folder, offload="stage").weights == digest


def test_a_stream_that_is_left_lets_go(folder: Path, sound: Audio) -> None:
    pipe = EditPipeline.from_pretrained(folder, offload="stage")
    stream = pipe.stream(sound, Edit.style("whisper"), text=TEXT, seed=1)
    next(stream)
    assert asleep(pipe) == {"tokenizer", "speaker"}
    stream.close()
    assert asleep(pipe) == ALL


def test_blocks_may_be_nested_and_fail(folder: Path) -> None:
    pipe = EditPipeline.from_pretrained(folder, offload="stage")
    lm = pipe.parts.lm

    def nested() -> None:
        with working(lm):
            with working(lm, pipe.parts.flow):
                assert asleep(pipe) == ALL - {"lm", "flow"}
            assert asleep(pipe) == ALL - {"lm"}
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        nested()
    assert asleep(pipe) == ALL


def test_freed_parts_are_saved_whole(folder: Path, tmp_path: Path) -> None:
    pipe = EditPipeline.from_pretrained(folder, offload="stage")
    pipe.save_pretrained(tmp_path / "again")
    assert asleep(pipe) == ALL
    assert EditPipeline.from_pretrained(tmp_path / "again").weights == pipe.weights


def test_parts_that_were_not_read_keep_their_weights(sound: Audio) -> None:
    pipe = TTSPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)
    pipe.unload()
    assert asleep(pipe) == set()


def test_a_folder_that_is_gone_is_said(folder: Path, sound: Audio, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    pipe = EditPipeline.from_pretrained(tmp_path / "model", offload="stage")
    shutil.rmtree(tmp_path / "model" / "tokenizer")
    with pytest.raises(CheckpointError, match=r"tokenizer.*cannot read"):
        pipe.tokenize(sound)


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_the_command_line_rounds_and_offloads(
    folder: Path, sound: Audio, quantize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sound.save("in.wav")
    common = ["--style", "whisper", "--text", TEXT, "--seed", "3", "--model", str(folder)]
    rounding = ["--quantize", quantize]
    plain = told("edit", "in.wav", "-o", "a.wav", *common, *rounding)
    staged = told("edit", "in.wav", "-o", "b.wav", *common, *rounding, "--offload")
    assert plain["seconds_out"] == staged["seconds_out"] > 0
    assert torch.equal(Audio.load("a.wav").samples, Audio.load("b.wav").samples)
    pipe = EditPipeline.from_pretrained(folder, quantize=quantize)
    assert pipe.parts.lm.config.bits == int(quantize[3:])
