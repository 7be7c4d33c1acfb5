"""The command line with a tiny model: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import debug_parts as debug
import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import stepaudio
from stepaudio import Audio, EditPipeline, load_voice
from stepaudio.cli import app
from stepaudio.parts import Defaults
from stepaudio.tokenizers.interleave import from_text
from stepaudio.types import SamplingParams

TEXT = "see you tomorrow"
#: Child processes find the package from any folder.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(stepaudio.__file__).parents[1])}


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    return EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)


@pytest.fixture(scope="module")
def model(pipe: EditPipeline, tmp_path_factory: pytest.TempPathFactory) -> str:
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


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def ok(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def told(*arguments: str) -> dict[str, Any]:
    value = json.loads(ok(*arguments, "--json"))
    assert isinstance(value, dict)
    return value


def refused(*arguments: str, code: int = 1) -> str:
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "should not happen" not in result.output
    assert result.stdout == ""
    if code == 1:
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        return str(result.stderr)
    # Usage errors stand in a box, whose lines are broken anywhere.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)
    return " ".join(re.sub(r"[│╭╮╰╯─|+]", " ", plain).split())


# --- edit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        ["--emotion", "happy", "--text", TEXT],
        ["--style", "whisper", "--text", TEXT, "--strength", "2"],
        ["--speed", "faster", "--text", TEXT, "--strength", "2"],
        ["--speed", "more slower", "--text", TEXT],
        ["--denoise"],
        ["--trim-silence"],
        ["--paralinguistic", "see you [Laughter] tomorrow", "--text", TEXT],
        ["--remove", "emotion", "--text", TEXT],
    ],
    ids=lambda what: " ".join(what[:2]),
)
def test_edit(model: str, what: list[str]) -> None:
    line = ok("edit", "in.wav", "-o", "out.flac", *what, "--seed", "3", "--model", model)
    assert re.fullmatch(
        r"wrote out\.flac: \d\.\d\d s from 1\.20 s \(seed 3, real-time factor \d+\.\d\d\)\n", line
    )
    assert Audio.load("out.flac").sample_rate == debug.MEL.sample_rate


def test_edit_as_json_is_what_the_library_does(model: str, pipe: EditPipeline) -> None:
    said = told("edit", "in.wav", "-o", "o.wav", "--denoise", "--seed", "5", "--model", model)
    result = pipe.edit("in.wav", stepaudio.Edit.denoise(), seed=5)
    result.audio.save("expected.wav")
    assert Path("o.wav").read_bytes() == Path("expected.wav").read_bytes()
    assert said["command"] == "edit"
    assert (said["input"], said["output"], said["plot"]) == ("in.wav", "o.wav", None)
    assert said["edits"] == [{"kind": "denoise", "label": "", "text": "", "strength": 1}]
    assert said["seed"] == 5
    assert said["stop_reason"] == result.stop_reason
    assert said["seconds_in"] == 1.2
    assert said["seconds_out"] == round(result.audio.seconds, 4)
    assert said["length_ratio"] == result.length_ratio
    assert set(said["timings"]) == set(result.timings)
    spent = sum(said["timings"].values())
    assert said["realtime_factor"] == pytest.approx(spent / said["seconds_out"], abs=2e-3)


def test_a_drawn_seed_is_reported_and_repeats(model: str) -> None:
    first = told("edit", "in.wav", "-o", "a.wav", "--denoise", "--model", model)
    ok("edit", "in.wav", "-o", "b.wav", "--denoise", "--seed", str(first["seed"]), "--model", model)
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_iterations(model: str, pipe: EditPipeline) -> None:
    common = ["--emotion", "sad", "--text", TEXT, "--seed", "2", "--model", model]
    run = ["--iterations", "3", "--keep-iterations", "--fixed-prompt"]
    said = told("edit", "in.wav", "-o", "o.wav", *common, *run)
    expected = list(
        pipe.iterate(
            "in.wav", stepaudio.Edit.emotion("sad"), text=TEXT, n=3, seed=2, fixed_prompt=True
        )
    )
    for number, (one, result) in enumerate(zip(said["iterations"], expected, strict=True), 1):
        assert one["output"] == f"o.{number}.wav"
        assert one["seconds_out"] == round(result.audio.seconds, 4)
        assert one["seed"] == result.seed
        result.audio.save("expected.wav", force=True)
        assert Path(one["output"]).read_bytes() == Path("expected.wav").read_bytes()
    assert Path("o.wav").read_bytes() == Path("o.3.wav").read_bytes()
    assert said["seed"] == 2
    assert len(said["edits"]) == 3
    ratios = [one["length_ratio"] for one in said["iterations"]]
    assert said["length_ratio"] == pytest.approx(np.prod(ratios))
    assert said["timings"]["generate"] == pytest.approx(
        sum(one["timings"]["generate"] for one in said["iterations"]), abs=1e-3
    )
    ok("edit", "in.wav", "-o", "p.wav", *common, "--iterations", "2")
    assert not list(Path().glob("p.*.wav"))


def test_settings_reach_the_model(model: str) -> None:
    def codes(name: str, *options: str) -> bytes:
        told("edit", "in.wav", "-o", name, "--denoise", "--seed", "1", "--model", model, *options)
        return Path(name).read_bytes()

    plain = codes("plain.wav")
    cold = codes("cold.wav", "--temperature", "0")
    assert cold == codes("again.wav", "--temperature", "0")
    assert plain != cold
    assert plain != codes("steps.wav", "--steps", "5")
    assert plain != codes("guidance.wav", "--guidance", "3")
    codes("types.wav", "--dtype", "bfloat16", "--device", "cpu")


def test_a_cut_result_is_pointed_out(here: Path) -> None:
    short = Defaults(sampling=SamplingParams(min_new_tokens=15, max_new_tokens=15))
    folder = EditPipeline(debug.debug_parts(), defaults=short).save_pretrained(here / "short")
    result = call("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", str(folder), "--json")
    assert json.loads(result.stdout)["stop_reason"] == "length"
    assert result.stderr.startswith("warning: stopped by the length limit")


def test_edit_with_picture(model: str) -> None:
    options = ["--denoise", "--plot", "p.png", "--model", model]
    assert told("edit", "in.wav", "-o", "o.wav", *options)["plot"] == "p.png"
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


# --- the other commands -----------------------------------------------------------------------


def test_speak_and_voice(model: str, here: Path) -> None:
    common = ["--text", "hello there", "--seed", "4", "--model", model]
    said = told("speak", "--voice", "in.wav", "--voice-text", TEXT, *common, "-o", "a.wav")
    assert said["seed"] == 4
    assert said["length_ratio"] is None
    assert said["seconds_out"] == round(Audio.load("a.wav").seconds, 4)
    heard = told("voice", "in.wav", "--text", TEXT, "-o", "me.safetensors", "--model", model)
    assert heard["output"] == "me.safetensors"
    assert load_voice("me.safetensors").transcript == TEXT
    ok("speak", "--voice", "me.safetensors", *common, "-o", "b.wav")
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    assert "me.wav must end in .safetensors" in refused("voice", "in.wav", "-o", "me.wav")
    (here / "bad.safetensors").write_bytes(b"no")
    refused("speak", "--voice", "bad.safetensors", *common, "-o", "c.wav")
    refused("speak", "--voice", "in.wav", "--text", " ", "-o", "c.wav", code=2)


def test_resynth(model: str, pipe: EditPipeline) -> None:
    said = told("resynth", "in.wav", "-o", "o.wav", "--seed", "1", "--model", model)
    pipe.resynthesize("in.wav", seed=1).audio.save("expected.wav")
    assert Path("o.wav").read_bytes() == Path("expected.wav").read_bytes()
    assert said["timings"]["generate"] == 0
    assert said["length_ratio"] == 1


def test_tokenize(model: str, pipe: EditPipeline) -> None:
    expected = pipe.tokenize("in.wav")
    codes = json.loads(ok("tokenize", "in.wav", "--model", model))
    assert codes == {
        "linguistic": expected.linguistic.tolist(),
        "semantic": expected.semantic.tolist(),
    }
    full = told("tokenize", "in.wav", "--model", model)
    assert full["linguistic"] == codes["linguistic"]
    assert full["units"] == expected.num_units
    text = ok("tokenize", "in.wav", "--text-form", "--model", model)
    assert torch.equal(from_text(text.strip(), debug.TOKENS).semantic, expected.semantic)
    about = told("tokenize", "in.wav", "-o", "c.json", "--model", model)
    assert about["output"] == "c.json"
    assert json.loads(Path("c.json").read_text()) == codes
    ok("tokenize", "in.wav", "-o", "c.txt", "--text-form", "--model", model)
    assert Path("c.txt").read_text() == text
    assert "c.txt exists" in refused("tokenize", "in.wav", "-o", "c.txt", "--model", model)


def test_plot(model: str) -> None:
    ok("plot", "in.wav", "-o", "one.png", "--no-tokens")
    told("plot", "in.wav", "in.wav", "-o", "two.svg", "--model", model)
    assert Path("two.svg").read_text().count("linguistic") >= 1
    assert "one.png exists" in refused("plot", "in.wav", "-o", "one.png")
    ok("plot", "in.wav", "-o", "one.png", "--no-tokens", "--force")
    assert "must end in .png" in refused("plot", "in.wav", "-o", "one.wav")


@pytest.mark.usefixtures("no_model", "untouched")
def test_pictures_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "stepaudio[plot]" in refused("plot", "in.wav", "-o", "p.png")
    options = ["--denoise", "--plot", "p.png"]
    assert "stepaudio[plot]" in refused("edit", "in.wav", "-o", "o.wav", *options)


def test_convert(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepaudio.convert.report import ConversionReport, FileCoverage

    calls = []

    def convert(edit: Path, tokenizer: Path, out: Path, *, force: bool) -> ConversionReport:
        calls.append((edit, tokenizer, out, force))
        file = FileCoverage("a.pt", {"w": "lm: w"}, {"x": "not needed"})
        return ConversionReport(out, (file,), ("vocoder: hift",))

    monkeypatch.setattr("stepaudio.convert.published.convert_published", convert)
    said = told("convert", "edit", "tokenizer", "new", "--force")
    assert calls.pop() == (Path("edit"), Path("tokenizer"), Path("new"), True)
    assert (said["output"], said["used"], said["unused"]) == ("new", 1, 1)
    both = here / "both"
    (both / "Step-Audio-EditX" / "CosyVoice-300M-25Hz").mkdir(parents=True)
    assert "Step-Audio-Tokenizer is missing" in refused("convert", "both", "new")
    (both / "Step-Audio-Tokenizer").mkdir()
    ok("convert", "both", "new")
    names = [folder.name for folder in calls.pop()[:2]]
    assert names == ["Step-Audio-EditX", "Step-Audio-Tokenizer"]
    refused("convert", "a", "b", "c", "d", code=2)
    refused("convert", "only", code=2)
    assert "does not hold the published model" in refused("convert", ".", "new")


def test_convert_for_real_names_what_is_missing(here: Path) -> None:
    (here / "empty").mkdir()
    assert "cosyvoice.yaml" in refused("convert", "empty", "empty", "new")
    assert not (here / "new").exists()


def test_doctor(model: str, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setattr("stepaudio.locate.EMBEDDED", Path(model))
    monkeypatch.setattr(
        "importlib.metadata.requires",
        lambda _: ["torch>=2", 'matplotlib>=3; extra == "plot"', "nosuchthing ; extra == 'odd'"],
    )
    said = told("doctor")
    assert said["ok"]
    assert said["versions"]["stepaudio"] == stepaudio.__version__
    assert said["versions"]["torch"]
    assert "cpu" in said["devices"]
    assert said["model"]["size_mb"] > 0
    assert said["self_test"]["seconds"] < 10
    assert said["extras"] == {"plot": [], "odd": ["nosuchthing"]}
    assert "short edit" in ok("doctor")
    monkeypatch.setattr("stepaudio.locate.EMBEDDED", here / "nothing")
    result = call("doctor", "--json")
    assert result.exit_code == 1
    assert "no embedded model" in json.loads(result.stdout)["model"]["error"]
    (here / "nothing").mkdir()
    (here / "nothing" / "pipeline.json").write_text("{}")
    result = call("doctor")
    assert result.exit_code == 1
    assert "bad short edit: CheckpointError" in result.stdout


def test_version_and_help() -> None:
    assert ok("--version") == f"stepaudio {stepaudio.__version__}\n"
    assert "doctor" in ok("--help")
    done = subprocess.run(
        [sys.executable, "-m", "stepaudio", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    assert done.stdout == f"stepaudio {stepaudio.__version__}\n"


# --- wrong usage ------------------------------------------------------------------------------


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


def test_models_that_are_none(here: Path) -> None:
    common = ["edit", "in.wav", "-o", "o.wav", "--denoise", "--model"]
    assert "neither a folder nor a hub id" in refused(*common, "no/such/folder")
    assert "pipeline.json" in refused(*common, str(here))


# --- outputs are checked first ----------------------------------------------------------------


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


def test_force_replaces(model: str) -> None:
    Path("o.wav").write_text("old")
    ok("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", model, "--force")
    Audio.load("o.wav")
    ok("resynth", "in.wav", "-o", "in.wav", "--model", model, "-f")


def test_missing_folders_are_made(model: str) -> None:
    ok("resynth", "in.wav", "-o", "new/er/o.wav", "--model", model)
    assert Path("new/er/o.wav").is_file()


# --- garbage in -------------------------------------------------------------------------------


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
        ["speak", "--voice", path, "--text", "hello", "-o", "o.wav"],
        ["voice", path, "-o", "o.safetensors"],
    ):
        assert GARBAGE[name] in refused(*command)
    if name != "silence":  # has codes and a picture like anything else
        assert GARBAGE[name] in refused("tokenize", path)
        assert GARBAGE[name] in refused("plot", path, "-o", "o.png")
    assert sorted(Path().iterdir()) == before


def test_cut_in_the_middle_is_used_as_far_as_it_goes(model: str) -> None:
    whole = Path("in.wav").read_bytes()
    Path("cut.wav").write_bytes(whole[: len(whole) // 2])
    said = told("edit", "cut.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert said["seconds_in"] == pytest.approx(0.6, abs=0.01)


def test_five_milliseconds(model: str) -> None:
    debug.speech(0.005).save("tiny.wav")
    for command in (["edit", "--denoise"], ["resynth"]):
        result = call(command[0], "tiny.wav", "-o", "o.wav", *command[1:], "--model", model)
        assert result.exit_code == 1
        assert re.match(r"error: .*(short|at least)", result.stderr), result.stderr
        assert not Path("o.wav").exists()


def test_other_rates_and_channels(model: str) -> None:
    left = debug.speech(1.0, 8000).samples.numpy()
    soundfile.write("stereo.wav", np.stack([left, left], axis=1), 8000)
    said = told("edit", "stereo.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert said["seconds_in"] == 1.0
    debug.speech(1.0, 44100).save("fine.flac")
    told("resynth", "fine.flac", "-o", "p.wav", "--model", model)


def test_too_long(model: str) -> None:
    debug.speech(60.0).save("long.wav")
    message = refused("edit", "long.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert re.search(r"has room for \d+\.\d s; shorten it", message)
    command = ["speak", "--voice", "long.wav", "--text", "hello", "-o", "o.wav"]
    assert "has room for" in refused(*command, "--model", model)
    debug.speech(61.0).save("longer.wav")
    message = refused("resynth", "longer.wav", "-o", "o.wav", "--model", model)
    assert "has room for 60 s at once" in message
    assert not Path("o.wav").exists()


# --- stopping and breaking --------------------------------------------------------------------


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
        "import stepaudio.pipeline as p\n"
        "def stop(*a, **k):\n    os.kill(os.getpid(), signal.SIGINT)\n    raise SystemExit(9)\n"
        "p.write_codes = stop\n"
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


def test_progress_goes_to_stderr_of_a_terminal(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    result = call("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", model, "--json")
    assert json.loads(result.stdout)["output"] == "o.wav"
    assert "spectrogram" in result.stderr
