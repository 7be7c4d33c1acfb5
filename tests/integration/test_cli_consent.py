"""``stepaudio consent`` and ``stepaudio verify``, from the phrase to the refusal after revoking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import debug_parts as debug
import pytest
from command_line import call, ok, refused, told

from stepaudio import Audio, EditPipeline
from stepaudio.cli.spoken_consent import check_words
from stepaudio.errors import MissingExtraError, WordsError
from stepaudio.safety import matching
from stepaudio.safety.phrases import ask

ASK = ["consent", "record", "--speaker", "Ada", "--asked-by", "the theatre"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(tmp_path / "trust"))
    debug.speech().save("voice.wav")
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    pipe = EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)
    return str(pipe.save_pretrained(tmp_path_factory.mktemp("m") / "model")), pipe.encoder


@pytest.fixture
def model(folder: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A model whose speaker encoder somebody has measured."""
    known = {"encoder": folder[1], "thresholds": {"balanced": {"score": 0.9999}}}
    monkeypatch.setattr("stepaudio.safety.matching.measured", lambda: known)
    return folder[0]


def test_the_whole_way(model: str) -> None:
    asked = told(*ASK, "--purpose", "clone", "--scope", "the play", "--days", "30")
    assert asked["phrase"].startswith("I am Ada and I allow the theatre to make new speech in my")
    take = ["consent", "record", "--request", asked["request"], "--model", model]
    taken = call(*take, "--spoken", "voice.wav", "--no-listen", "-o", "ada.json")
    assert taken.exit_code == 0, taken.output
    assert "similarity of phrase and voice 1.00" in taken.stdout
    assert "warning: nobody has listened" in taken.stderr
    (row,) = told("consent", "list")["records"]
    assert (row["speaker"], row["purposes"], row["state"]) == ("Ada", ["clone"], "valid")
    assert Path("ada.json").stat().st_mode & 0o777 == 0o600
    assert "no request" in refused(*take, "--spoken", "voice.wav", "--no-listen")

    assert told("consent", "verify", row["id"])["valid"]
    assert told("consent", "show", "ada.json")["scope"] == "the play"
    assert "scope: the play" in ok("consent", "show", row["id"])

    speak = ["speak", "--voice", "voice.wav", "--text", "hello", "--model", model]
    assert "needs the speaker's consent" in refused(*speak, "-o", "a.wav")
    ok(*speak, "-o", "a.wav", "--consent", "ada.json", "--seed", "1")
    known = told("verify", "a.wav")
    assert known["proven"]
    assert any(f"consent {row['id']}" in one["words"] for one in known["findings"])

    assert "is taken back" in ok("consent", "revoke", row["id"])
    assert "has taken back" in refused("consent", "verify", "ada.json")
    assert "has taken back" in refused(*speak, "-o", "b.wav", "--consent", row["id"])
    assert row["id"] + "  revoked" in ok("consent", "list")
    assert not Path("b.wav").exists()


def test_other_voices_are_not_enrolled(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All voices are alike to random weights, so the threshold is put out of reach."""
    known = {**matching.measured(), "thresholds": {"balanced": {"score": 1.1}}}
    monkeypatch.setattr("stepaudio.safety.matching.measured", lambda: known)
    asked = told(*ASK, "--purpose", "clone")
    take = ["consent", "record", "--request", asked["request"], "--model", model, "--no-listen"]
    assert "do not match" in refused(*take, "--spoken", "voice.wav")
    assert ok("consent", "list").startswith("no consent records in")


def test_usage() -> None:
    assert "--request" in refused("consent", "record", "--spoken", "voice.wav", code=2)
    assert "--purpose" in refused(*ASK, code=2)
    assert "--spoken" in refused("consent", "record", "--request", "x", code=2)
    assert "no request" in refused("consent", "record", "--request", "x", "--spoken", "voice.wav")
    assert "neither a file nor an id" in refused("consent", "show", "nothing")


def test_verify(model: str) -> None:
    edit = ["edit", "voice.wav", "--denoise", "--seed", "1", "--model", model]
    ok(*edit, "-o", "a.wav")
    told = ok("verify", "a.wav")
    assert "The chain is whole: one step." in told
    assert "carries the watermark of this library" in told
    told = ok("verify", "voice.wav")
    assert "it says nothing of its history" in told
    assert "No watermark of this library was heard" in told
    debug.speech(seed=4).save("a.wav", force=True)
    other = call("verify", "a.wav")
    assert other.exit_code == 1
    assert "not the sound that the provenance describes" in other.stdout
    Path("b.wav.provenance.json").write_text("mine")
    assert "b.wav.provenance.json exists" in refused(*edit, "-o", "b.wav")
    assert "ending in .wav or .mp3" in refused(*edit, "-o", "c.flac", "--credentials")


def test_a_machine_that_cannot_sign(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before the slow work, here before a model is looked for."""
    (here / "file").write_text("")
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(here / "file" / "trust"))
    message = refused("edit", "voice.wav", "--denoise", "-o", "a.wav", "--model", "nowhere")
    assert "set STEPAUDIO_TRUST_DIR to another" in message
    assert not Path("a.wav").exists()


class Hears:
    """A recogniser that hears what it is told."""

    def __init__(self, text: str) -> None:
        self._text = text

    def understands(self, lang: str) -> bool:
        return lang == "en"

    def transcribe(self, audios: list[Audio], lang: str) -> list[str]:
        return [self._text] * len(audios)


def test_listening_to_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jiwer")
    sound = debug.speech()
    request = ask("Ada", "the theatre", ("clone",))

    def heard(text: str, asked: Any = request) -> str:
        monkeypatch.setattr(
            "stepaudio.evaluation.recognizer.WhisperRecognizer", lambda _: Hears(text)
        )
        return check_words(asked, sound, None)

    assert heard(request.phrase.lower().replace(",", "")) == "verified"
    with pytest.raises(WordsError, match="only 0 words were heard in 'hello'"):
        heard("hello")
    with pytest.raises(WordsError, match="not the phrase"):
        heard(" ".join(request.code))
    other = ask("Ada", "the theatre", ("clone",))
    if other.code != request.code:
        with pytest.raises(WordsError, match="words were heard"):
            heard(other.phrase)
    assert heard("x", ask("Ada", "x", ("clone",), lang="zh")) == "unverified"

    def missing(_: str) -> None:
        raise MissingExtraError("no whisper")

    monkeypatch.setattr("stepaudio.evaluation.recognizer.WhisperRecognizer", missing)
    assert check_words(request, sound, None) == "unverified"
