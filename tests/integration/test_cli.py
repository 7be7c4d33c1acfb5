"""The command line with a tiny model: what it writes and what it says."""

from __future__ import annotations

import json
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
import torch
from command_line import ENVIRONMENT, call, ok, refused, told

import stepaudio
from stepaudio import Audio, EditPipeline, EditResult, load_voice
from stepaudio.parts import Defaults
from stepaudio.tokenizers.interleave import from_text
from stepaudio.types import SamplingParams

TEXT = "see you tomorrow"


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


# --- edit ------------------------------------------------------------------------------------


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
    assert plain != codes("fast.wav", "--flow-dtype", "bfloat16")


def test_a_cut_result_is_pointed_out(here: Path) -> None:
    short = Defaults(sampling=SamplingParams(min_new_tokens=15, max_new_tokens=15))
    folder = EditPipeline(debug.debug_parts(), defaults=short).save_pretrained(here / "short")
    result = call("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", str(folder), "--json")
    assert json.loads(result.stdout)["stop_reason"] == "length"
    assert result.stderr.startswith("warning: stopped by the length limit")


def test_what_one_iteration_has_lost_is_pointed_out(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterate = EditPipeline.iterate

    def cut(self: EditPipeline, *what: object, **how: object) -> Iterator[EditResult]:
        for number, result in enumerate(iterate(self, *what, **how)):  # type: ignore[arg-type]
            yield replace(result, stop_reason="end" if number else "length")

    monkeypatch.setattr(EditPipeline, "iterate", cut)
    common = ["edit", "in.wav", "-o", "o.wav", "--denoise", "--model", model, "--json"]
    result = call(*common, "--iterations", "2")
    said = json.loads(result.stdout)
    assert said["stop_reason"] == "length"
    assert [one["stop_reason"] for one in said["iterations"]] == ["length", "end"]
    assert result.stderr.startswith("warning: stopped by the length limit")


def test_edit_with_picture(model: str) -> None:
    options = ["--denoise", "--plot", "p.png", "--model", model]
    assert told("edit", "in.wav", "-o", "o.wav", *options)["plot"] == "p.png"
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


# --- the other commands ----------------------------------------------------------------------


def test_speak_and_voice(model: str, here: Path) -> None:
    common = ["--text", "hello there", "--seed", "4", "--model", model, "--policy", "research"]
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


@pytest.mark.parametrize(
    "part",
    [
        "tokenizers.dual.DualCodebookTokenizer.encode",
        "lm.step1.Step1LM.generate",
        "decoder.flow.TokenFlowDecoder.decode",
        "decoder.istft.ISTFTVocoder.synthesize",
    ],
)
def test_doctor_finds_a_broken_part(
    pipe: EditPipeline, monkeypatch: pytest.MonkeyPatch, here: Path, part: str
) -> None:
    """Also where the model takes noise from the recording itself."""
    on_recording = replace(debug.DEFAULTS, on_recording=("denoise", "trim_silence"))
    folder = EditPipeline(pipe.parts, defaults=on_recording).save_pretrained(here / "model")
    monkeypatch.setattr("stepaudio.locate.EMBEDDED", folder)
    assert told("doctor")["ok"]

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("it is broken")

    monkeypatch.setattr(f"stepaudio.{part}", fail)
    result = call("doctor")
    assert result.exit_code == 1
    assert "bad short edit: RuntimeError: it is broken" in result.stdout


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


# --- all commands ----------------------------------------------------------------------------


def test_force_replaces(model: str) -> None:
    Path("o.wav").write_text("old")
    ok("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", model, "--force")
    Audio.load("o.wav")
    ok("resynth", "in.wav", "-o", "in.wav", "--model", model, "-f")


def test_missing_folders_are_made(model: str) -> None:
    ok("resynth", "in.wav", "-o", "new/er/o.wav", "--model", model)
    assert Path("new/er/o.wav").is_file()


def test_cut_in_the_middle_is_used_as_far_as_it_goes(model: str) -> None:
    whole = Path("in.wav").read_bytes()
    Path("cut.wav").write_bytes(whole[: len(whole) // 2])
    said = told("edit", "cut.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert said["seconds_in"] == pytest.approx(0.6, abs=0.01)


def test_other_rates_and_channels(model: str) -> None:
    left = debug.speech(1.0, 8000).samples.numpy()
    soundfile.write("stereo.wav", np.stack([left, left], axis=1), 8000)
    said = told("edit", "stereo.wav", "-o", "o.wav", "--denoise", "--model", model)
    assert said["seconds_in"] == 1.0
    debug.speech(1.0, 44100).save("fine.flac")
    told("resynth", "fine.flac", "-o", "p.wav", "--model", model)


def test_progress_goes_to_stderr_of_a_terminal(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    result = call("edit", "in.wav", "-o", "o.wav", "--denoise", "--model", model, "--json")
    assert json.loads(result.stdout)["output"] == "o.wav"
    assert "spectrogram" in result.stderr
