"""The command line with a tiny model: streams on stdout, and spans."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from command_line import call, refused, told

from stepaudio import Audio, CancelledError, Edit, EditPipeline, EditResult, SamplingParams
from stepaudio.cli.live import play
from stepaudio.streaming import AudioStream

TEXT = "see you tomorrow"
LONG = SamplingParams(min_new_tokens=60, max_new_tokens=80)


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    return EditPipeline(debug.debug_parts(), defaults=replace(debug.DEFAULTS, sampling=LONG))


@pytest.fixture(scope="module")
def model(pipe: EditPipeline, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(pipe.save_pretrained(tmp_path_factory.mktemp("model") / "debug"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with one recording."""
    monkeypatch.chdir(tmp_path)
    debug.speech(4.0).save("in.wav")
    return tmp_path


def test_a_stream_of_wav(model: str, pipe: EditPipeline) -> None:
    done = call(
        *("edit", "in.wav", "-o", "-", "--denoise", "--seed", "5", "--model", model, "--json")
    )
    assert done.exit_code == 0, done.stderr
    stream = pipe.stream("in.wav", Edit.denoise(), seed=5)
    assert len(list(stream)) > 1
    stream.result.audio.save("expected.wav")
    heard = Audio.load(done.stdout_bytes)
    assert heard.sample_rate == debug.MEL.sample_rate
    assert torch.equal(heard.samples, Audio.load("expected.wav").samples)
    said = json.loads(done.stderr)
    assert (said["output"], said["seed"]) == ("-", 5)
    assert said["seconds_out"] == pytest.approx(heard.seconds, abs=1e-3)


def test_speech_streams_too(model: str) -> None:
    done = call(
        *("speak", "--voice", "in.wav", "--text", "hello", "-o", "-", "--seed", "1"),
        *("--model", model, "--policy", "research"),
    )
    assert done.exit_code == 0, done.stderr
    heard = Audio.load(done.stdout_bytes)
    assert done.stderr.startswith(f"wrote -: {heard.seconds:.2f} s (seed 1")


def test_what_needs_the_whole_is_refused() -> None:
    stream = ("edit", "in.wav", "-o", "-", "--denoise")
    for option in (["--iterations", "2"], ["--keep-iterations"], ["--plot", "a.png"]):
        assert f"{option[0]} needs the whole" in refused(*stream, *option, code=2)
    assert "--span needs the whole" in refused(*stream, "--span", "1:2", code=2)
    assert "-" not in os.listdir()


def test_nobody_listens() -> None:
    read, write = os.pipe()
    closed: list[bool] = []

    def chunks() -> Generator[Audio, None, EditResult]:
        try:
            while True:
                yield debug.speech()
        finally:
            closed.append(True)

    os.close(read)
    out = os.fdopen(write, "wb")
    with pytest.raises(CancelledError, match="nobody reads"):
        play(AudioStream(chunks(), 1), out)
    assert closed == [True]
    out.close()  # what is left goes nowhere


def test_span(model: str) -> None:
    said = told(
        *("edit", "in.wav", "-o", "out.wav", "--emotion", "sad", "--text", "see you"),
        *("--span", "1.2:2.4", "--seed", "3", "--model", model),
    )
    before, after = Audio.load("in.wav"), Audio.load("out.wav")
    start, end = said["span"]
    assert start == 1.2
    first, rest = round(start * 16000), len(after) - round(end * 16000)
    assert after.sample_rate == before.sample_rate
    assert torch.equal(after.samples[:first], before.samples[:first])
    assert torch.equal(after.samples[-rest:], before.samples[-rest:])


@pytest.mark.parametrize("span", ["1.2", "1:2:3", "a:b", ""])
def test_what_is_no_span(span: str) -> None:
    assert "1.2:2.4" in refused(
        "edit", "in.wav", "-o", "out.wav", "--denoise", "--span", span, code=2
    )


def test_a_span_outside(model: str) -> None:
    line = refused(
        "edit", "in.wav", "-o", "out.wav", "--denoise", "--span", "3:5", "--model", model
    )
    assert "recording of 4.000 s" in line
    assert not Path("out.wav").exists()
