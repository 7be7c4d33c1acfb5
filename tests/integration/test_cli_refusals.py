"""The command line with a tiny model: what it refuses, and how it stops and breaks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import numpy as np
import pytest
import soundfile
from command_line import ENVIRONMENT, call, refused

from stepaudio import EditPipeline

TEXT = "see you tomorrow"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    pipe = EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)
    return str(pipe.save_pretrained(tmp_path_factory.mktemp("model") / "debug"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with one recording."""
    monkeypatch.chdir(tmp_path)
    debug.speech().save("in.wav")
    return tmp_path


@pytest.fixture
def untouched(here: Path) -> Iterator[None]:
    """The command leaves no file behind, finished or not."""
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    yield
    after = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert after == before


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model before the checks are done fails."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("stepaudio.pipeline_base.load_parts", load)
    monkeypatch.setattr("stepaudio.parts.load_part", load)


# --- wrong usage -----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_model", "untouched")
def test_exactly_one_edit() -> None:
    assert "exactly one" in refused("edit", "in.wav", "-o", "o.wav", code=2)
    two = ["--denoise", "--emotion", "happy"]
    message = refused("edit", "in.wav", "-o", "o.wav", *two, code=2)
    assert "emotion and --denoise" in message


@pytest.mark.usefixtures("no_model", "untouched")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--emotion", "hapy", "--text", TEXT], "did you mean 'happy'?"),
        (["--style", "wisper", "--text", TEXT], "did you mean 'whisper' or"),
        (["--speed", "fast", "--text", TEXT], "did you mean 'faster'?"),
        (["--remove", "speed", "--text", TEXT], "only 'emotion' or 'style'"),
        (["--paralinguistic", "see [Laugh] you", "--text", TEXT], "did you mean '[Laughter]'"),
        (["--emotion", "happy"], "needs text"),
        (["--emotion", "happy", "--text", TEXT, "--strength", "4"], "from 1 to 3"),
        (["--denoise", "--strength", "2"], "must be 1"),
    ],
)
def test_edits_that_make_no_sense(options: list[str], message: str) -> None:
    assert message in refused("edit", "in.wav", "-o", "o.wav", *options)


@pytest.mark.usefixtures("no_model", "untouched")
@pytest.mark.parametrize(
    "options",
    [
        ["--iterations", "0"],
        ["--temperature", "nan"],
        ["--temperature", "-1"],
        ["--steps", "0"],
        ["--dtype", "int8"],
        ["--device", "nowhere"],
        ["--device", "meta"],
        ["--seed", "x"],
        ["--unknown"],
    ],
    ids=" ".join,
)
def test_options_out_of_range(options: list[str]) -> None:
    refused("edit", "in.wav", "-o", "o.wav", "--denoise", *options, code=2)


@pytest.mark.usefixtures("no_model", "untouched")
def test_pictures_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "stepaudio[plot]" in refused("plot", "in.wav", "-o", "p.png")
    options = ["--denoise", "--plot", "p.png"]
    assert "stepaudio[plot]" in refused("edit", "in.wav", "-o", "o.wav", *options)


def test_models_that_are_none(here: Path) -> None:
    common = ["edit", "in.wav", "-o", "o.wav", "--denoise", "--model"]
    assert "neither a folder nor a hub id" in refused(*common, "no/such/folder")
    assert "pipeline.json" in refused(*common, str(here))


# --- outputs are checked first ---------------------------------------------------------------


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("in.wav", [], "in.wav exists; choose another name or pass --force"),
        ("folder", ["--force"], "suffix"),
        ("folder.wav", ["--force"], "folder.wav is a folder"),
        ("in.wav/out.wav", [], "is not a folder"),
        ("out.xyz", [], "no audio format has the suffix '.xyz'"),
        ("out", [], "no audio format has the suffix ''"),
        ("out.wav", ["--plot", "in.wav"], "exists"),
        ("out.wav", ["--plot", "p.gif"], "must end in .png"),
        ("out.wav", ["--iterations", "2", "--keep-iterations"], "out.2.wav exists"),
    ],
)
def test_outputs(here: Path, output: str, options: list[str], message: str) -> None:
    (here / "folder.wav").mkdir()
    (here / "folder").mkdir()
    (here / "out.2.wav").write_text("mine")
    assert message in refused("edit", "in.wav", "-o", output, "--denoise", *options)
    assert (here / "out.2.wav").read_text() == "mine"


@pytest.mark.usefixtures("no_model")
def test_places_without_permission(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: not mode & os.W_OK and allowed(path, mode, **more)
    )
    assert "no permission" in refused("edit", "in.wav", "-o", "o.wav", "--denoise")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("rate", "output", "what"),
    [
        (44100, "o.opus", ["--denoise"]),
        (192000, "o.mp3", ["--denoise", "--iterations", "2", "--keep-iterations"]),
        (44100, "o.opus", ["--style", "whisper", "--text", TEXT, "--span", "0.2:0.8"]),
    ],
)
def test_rates_that_the_output_does_not_have(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    rate: int,
    output: str,
    what: list[str],
) -> None:
    """Of what has the rate of the recording it is known before the work."""

    def work(*_: object) -> None:
        raise AssertionError("the work has begun")

    folder = tmp_path_factory.mktemp("rates")
    defaults = replace(debug.DEFAULTS, on_recording=("denoise",))
    model = EditPipeline(debug.debug_parts(), defaults=defaults).save_pretrained(folder / "model")
    recording = debug.speech(1.2, rate).save(folder / "in.wav")
    monkeypatch.setattr(EditPipeline, "_all_passes", work)
    message = refused("edit", str(recording), "-o", output, *what, "--model", str(model))
    assert f"cannot hold {rate} Hz; resample the recording to 48000 Hz" in message


# --- garbage in ------------------------------------------------------------------------------


def garbage(name: str) -> str:
    noise = debug.speech().samples.numpy()
    path = Path(f"{name.replace(' ', '_')}.wav")
    if name == "text":
        path.write_text("this is not a recording\n" * 50)
    elif name == "empty file":
        path.write_bytes(b"")
    elif name == "cut in the header":
        path.write_bytes(Path("in.wav").read_bytes()[:30])
    elif name == "no samples":
        soundfile.write(path, np.zeros(0, np.float32), 16000)
    elif name == "nan":
        noise[100] = np.nan
        soundfile.write(path, noise, 16000, subtype="FLOAT")
    elif name == "silence":
        soundfile.write(path, np.zeros(16000, np.float32), 16000)
    elif name == "folder":
        path.mkdir()
    else:
        assert name == "missing"
    return str(path)


GARBAGE = {
    "text": "cannot be decoded",
    "empty file": "cannot be decoded",
    "cut in the header": "cannot be decoded",
    "no samples": "there are no samples",
    "nan": "1 of 19200 samples are NaN",
    "silence": "silent throughout",
    "folder": "is not a file",
    "missing": "does not exist",
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage(name: str) -> None:
    path = garbage(name)
    before = sorted(Path().iterdir())
    for command in (
        ["edit", path, "--denoise", "-o", "o.wav"],
        ["resynth", path, "-o", "o.wav"],
        ["speak", "--voice", path, "--text", "hello", "-o", "o.wav", "--policy", "research"],
        ["voice", path, "-o", "o.safetensors"],
    ):
        assert GARBAGE[name] in refused(*command)
    if name != "silence":  # has codes and a picture like anything else
        assert GARBAGE[name] in refused("tokenize", path)
        assert GARBAGE[name] in refused("plot", path, "-o", "o.png")
    assert sorted(Path().iterdir()) == before


def test_five_milliseconds(model: str) -> None:
    debug.speech(0.005).save("tiny.wav")
    for command in (["edit", "--denoise"], ["resynth"]):
        result = call(command[0], "tiny.wav", "-o", "o.wav", *command[1:], "--model", model)
        assert result.exit_code == 1
        assert re.match(r"error: .*(short|at least)", result.stderr), result.stderr
        assert not Path("o.wav").exists()


def test_too_long(model: str) -> None:
    debug.speech(60.0).save("long.wav")
    message = refused("edit", "long.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert re.search(r"has room for \d+\.\d s; shorten it", message)
    command = ["speak", "--voice", "long.wav", "--text", "hello", "-o", "o.wav"]
    command += ["--policy", "research"]
    assert "has room for" in refused(*command, "--model", model)
    assert "its words do not fit" in refused(*command, "--voice-text", TEXT, "--model", model)
    debug.speech(3601.0, 1000).save("longer.wav")
    message = refused("resynth", "longer.wav", "-o", "o.wav", "--model", model)
    assert "at most 3600 s are resynthesized at once; cut it into parts" in message
    assert not Path("o.wav").exists()


# --- stopping and breaking -------------------------------------------------------------------


def test_ctrl_c(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stepaudio.pipeline_base.render", stop)
    before = sorted(Path().iterdir())
    result = call("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert result.exit_code == 130
    assert result.stderr == "error: stopped\n"
    assert sorted(Path().iterdir()) == before


def test_ctrl_c_while_writing(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: object, data: object) -> None:
        raise KeyboardInterrupt

    Path("o.wav").write_text("old")
    before = sorted(Path().iterdir())
    monkeypatch.setattr(soundfile.SoundFile, "write", write)
    result = call("resynth", "in.wav", "-o", "o.wav", "--force", "--model", model)
    assert result.exit_code == 130
    assert sorted(Path().iterdir()) == before
    assert Path("o.wav").read_text() == "old"


def test_a_real_signal(model: str) -> None:
    """The process itself, stopped while the language model writes."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import stepaudio.redraw as p\n"
        "def stop(*a, **k):\n    os.kill(os.getpid(), signal.SIGINT)\n    raise SystemExit(9)\n"
        "p.draw_codes = stop\n"
        "from stepaudio.cli import app\n"
        f"sys.argv[1:] = ['edit', 'in.wav', '-o', 'o.wav', '--denoise', '--model', {model!r}]\n"
        "app()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert (done.returncode, done.stderr) == (130, "error: stopped\n")
    assert not Path("o.wav").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (ValueError("two\nlines"), "ValueError in stepaudio/"),
    ],
    ids=["disk", "memory", "torch memory", "bug"],
)
def test_the_unexpected_is_one_line_too(
    model: str, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("stepaudio.pipeline_base.render", fail)
    result = call("resynth", "in.wav", "-o", "o.wav", "--model", model)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
