"""Whatever the embedded model makes, ``stepaudio verify`` knows it again, also after Opus."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from command_line import ENVIRONMENT, call, ok, told

from stepaudio import Audio, Edit, EditPipeline
from stepaudio.safety.watermark import MarkNote, payload_of
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER

DEMO = Path(__file__).parents[2] / "docs" / "audio" / "demo.flac"
WORDS = DEMO.with_suffix(".txt").read_text(encoding="utf-8").strip()
SEED = 5

# libsndfile turns 0 to 1 into 256 to 6 kbit/s: this is 16.
_OPUS_16K = 0.96


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(tmp_path / "trust"))
    return tmp_path


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    return EditPipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def sound() -> Audio:
    """Three seconds: less is not promised."""
    whole = Audio.load(DEMO)
    return Audio(whole.samples[: 3 * whole.sample_rate], whole.sample_rate)


def through_opus(name: str) -> str:
    """A file as a messenger passes it on: Opus at 16 kbit/s, and nothing beside it."""
    samples, rate = soundfile.read(name)
    soundfile.write(
        "sent.ogg", samples, rate, format="OGG", subtype="OPUS", compression_level=_OPUS_16K
    )
    return "sent.ogg"


def heard(name: str) -> tuple[str, str]:
    findings = told("verify", name)["findings"]
    (mark,) = (one for one in findings if one["topic"] == "watermark")
    return mark["standing"], mark["words"]


def assert_recognised(name: str, seed: int = SEED) -> None:
    note = str(MarkNote(DEFAULT_WATERMARKER.name, payload_of(seed)))
    for file in (name, through_opus(name)):
        standing, words = heard(file)
        assert standing == "good", (file, words)
        assert note in words


EDIT = ("edit", str(DEMO), "--text", WORDS)
SPEAK = ("speak", "--voice", str(DEMO), "--text", "We met at the station.", "--policy", "research")
COMMANDS = {
    "edit": (*EDIT, "--style", "whisper"),
    "edit of a span": (*EDIT, "--emotion", "happy", "--span", "1:4"),
    "speak": SPEAK,
    "resynth": ("resynth", str(DEMO)),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_files_of_commands(name: str) -> None:
    ok(*COMMANDS[name], "-o", "made.wav", "--seed", str(SEED))
    assert_recognised("made.wav")


@pytest.mark.parametrize("arguments", [(*EDIT, "--emotion", "happy"), SPEAK], ids=["edit", "speak"])
def test_streams_of_commands(arguments: tuple[str, ...], here: Path) -> None:
    done = call(*arguments, "-o", "-", "--seed", str(SEED))
    (here / "made.wav").write_bytes(done.stdout_bytes)
    assert_recognised("made.wav")


def of_a_batch(pipe: EditPipeline, sound: Audio) -> Audio:
    made = pipe.edit([sound, sound], Edit.emotion("happy"), text=[WORDS] * 2, seed=[1, SEED])
    return made[1].audio


def streamed(pipe: EditPipeline, sound: Audio) -> Audio:
    chunks = list(pipe.stream(sound, Edit.style("whisper"), text=WORDS, seed=SEED))
    return Audio(torch.cat([one.samples for one in chunks]), chunks[0].sample_rate)


@pytest.mark.parametrize("make", [of_a_batch, streamed], ids=lambda one: one.__name__)
def test_sound_of_a_pipeline(
    pipe: EditPipeline, sound: Audio, make: Callable[[EditPipeline, Audio], Audio]
) -> None:
    make(pipe, sound).save("made.wav")
    assert_recognised("made.wav")


def test_iterations_each_carry_their_own_mark(pipe: EditPipeline, sound: Audio) -> None:
    results = list(pipe.iterate(sound, Edit.emotion("happy"), text=WORDS, n=2, seed=SEED))
    assert results[0].seed != results[1].seed
    for result in results:
        result.audio.save("made.wav", force=True)
        assert_recognised("made.wav", result.seed)


def test_a_recording_of_a_person_is_not_taken_for_ours() -> None:
    assert heard(through_opus(str(DEMO)))[0] == "unknown"


def test_without_the_watermark_there_are_no_pipelines() -> None:
    """A part of it that is not installed stops everything; nothing goes on unmarked."""
    gone = "import sys; sys.modules['stepaudio.safety.watermark_embed'] = None; "
    done = subprocess.run(
        [sys.executable, "-c", gone + "from stepaudio import EditPipeline"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "watermark_embed" in done.stderr.splitlines()[-1]
