"""Minutes of sound through a pipeline of debug size: what is cut, and what is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from same_results import assert_same, same_tokens

from stepaudio import Audio, Edit, EditPipeline, Parts, TTSPipeline
from stepaudio.cutting import PART_SECONDS, VOICE_SECONDS, WHOLE_SECONDS, voice_stretch
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.errors import CancelledError, PromptError
from stepaudio.manner import Manner
from stepaudio.recording_edits import RECORDING_EDITS, SPEED_LABELS
from stepaudio.seeds import seeded
from stepaudio.tokenizers.dual import DualCodebookTokenizer

ON_RECORDING = [
    Edit.denoise(),
    Edit.speed("slower"),
    Edit.trim_silence(),
    Edit.emotion("happy"),
]


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


@pytest.fixture(scope="module")
def pipe(parts: Parts) -> EditPipeline:
    return EditPipeline(parts, defaults=debug.DEFAULTS)


@pytest.fixture(scope="module")
def on_recording(parts: Parts) -> EditPipeline:
    """Changes recordings themselves wherever that can be done."""
    lengths = dict.fromkeys(SPEED_LABELS, 1.5)
    manners = {"happy": Manner(2.0, rate=0.9, breath=0.1)}
    defaults = replace(
        debug.DEFAULTS, on_recording=RECORDING_EDITS, speeds=lengths, manners=manners
    )
    return EditPipeline(parts, defaults=defaults)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Seconds of the codes and of the voice of every call of the decoder."""
    calls: list[tuple[float, float]] = []
    decode = TokenFlowDecoder.decode

    def watch(self, tokens, voices, **how):
        calls.extend((t.seconds, v.tokens.seconds) for t, v in zip(tokens, voices, strict=True))
        return decode(self, tokens, voices, **how)

    monkeypatch.setattr(TokenFlowDecoder, "decode", watch)
    return calls


@pytest.fixture
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes codes fails."""

    def encode(*_: object) -> None:
        raise AssertionError("the recording was tokenized")

    monkeypatch.setattr(DualCodebookTokenizer, "encode", encode)


def test_resynthesis_in_parts(pipe: EditPipeline, decoded: list[tuple[float, float]]) -> None:
    sound = debug.speech(70.0)
    calls: list[tuple[str, int, int]] = []
    result = pipe.resynthesize(sound, seed=2, progress=lambda *call: calls.append(call))
    assert same_tokens(result.tokens, pipe.tokenize(sound))
    assert result.audio.seconds == pytest.approx(result.tokens.seconds)
    assert (result.stop_reason, result.length_ratio) == ("end", 1.0)
    assert len(decoded) >= 3
    assert sum(seconds for seconds, _ in decoded) == pytest.approx(result.tokens.seconds)
    assert max(seconds for seconds, _ in decoded) <= PART_SECONDS
    assert all(seconds == voice for seconds, voice in decoded)  # each part is its own prompt
    for stage in ("decode", "vocode"):
        done = [(count, total) for name, count, total in calls if name == stage]
        assert done[-1] == (len(decoded), len(decoded))
        assert done == sorted(done)
    assert_same(result, pipe.resynthesize(sound, seed=2))
    assert not torch.equal(result.audio.samples, pipe.resynthesize(sound, seed=3).audio.samples)


def test_parts_in_another_voice(pipe: EditPipeline, decoded: list[tuple[float, float]]) -> None:
    voice = pipe.voice_prompt(debug.speech(6.0))
    pipe.resynthesize(debug.speech(70.0), voice=voice, seed=2, policy="research")
    assert len(decoded) >= 3
    assert {prompt for _, prompt in decoded} == {voice.tokens.seconds}


def test_parts_join_without_a_seam(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples are those of one pass of the vocoder over the mel of all parts."""
    pipe = EditPipeline(parts, defaults=debug.DEFAULTS, watermarker=None)
    mels = []
    decode = TokenFlowDecoder.decode

    def keep(self, *what, **how):
        mels.extend(decode(self, *what, **how))
        return mels[-1:]

    monkeypatch.setattr(TokenFlowDecoder, "decode", keep)
    result = pipe.resynthesize(debug.speech(40.0), seed=2)
    assert len(mels) > 1
    whole = parts.vocoder.synthesize(torch.cat(mels, dim=1)[None], generator=seeded(2, "vocoder"))
    torch.testing.assert_close(result.audio.samples, whole[0].detach(), atol=1e-4, rtol=0)


def test_stopping_between_parts(pipe: EditPipeline, decoded: list[tuple[float, float]]) -> None:
    with pytest.raises(CancelledError):
        pipe.resynthesize(debug.speech(70.0), cancel=lambda: len(decoded) == 2)
    assert len(decoded) == 2


def test_half_a_minute_stays_whole(pipe: EditPipeline, decoded: list[tuple[float, float]]) -> None:
    sound = debug.speech(WHOLE_SECONDS)
    tokens = pipe.resynthesize(sound, seed=1).tokens
    assert decoded == [(tokens.seconds, tokens.seconds)]
    voice = pipe.voice_prompt(sound, "hello there")
    assert same_tokens(voice.tokens, tokens)
    assert voice.mel.shape[1] == WHOLE_SECONDS * debug.MEL.frame_rate


def test_voices_of_minutes_are_a_stretch(pipe: EditPipeline, parts: Parts) -> None:
    sound = debug.speech(120.0)
    voice = pipe.voice_prompt(sound)
    assert voice.mel.shape[1] == VOICE_SECONDS * debug.MEL.frame_rate
    same = pipe.voice_prompt(voice_stretch(sound))
    assert same_tokens(voice.tokens, same.tokens)
    assert torch.equal(voice.speaker, same.speaker)
    with pytest.raises(PromptError, match=r"lasts 120\.0 s, of which 15 s .* at most 30 s with"):
        pipe.voice_prompt(sound, "hello there")
    with pytest.raises(PromptError, match="its words do not fit"):
        TTSPipeline(parts).speak("hello", voice=sound, voice_text="hello there", policy="research")


@pytest.mark.parametrize("edit", ON_RECORDING, ids=lambda edit: edit.kind)
def test_changed_recordings_in_another_voice(
    on_recording: EditPipeline, decoded: list[tuple[float, float]], edit: Edit
) -> None:
    sound, voice = debug.speech(50.0, 8000), on_recording.voice_prompt(debug.speech(6.0))
    how = {"text": "hello there", "voice": voice, "seed": 2, "policy": "research"}
    result = on_recording.edit(sound, edit, **how)
    assert len(decoded) >= 3
    assert max(seconds for seconds, _ in decoded) <= PART_SECONDS
    assert {prompt for _, prompt in decoded} == {voice.tokens.seconds}
    assert result.audio.seconds == pytest.approx(result.tokens.seconds)
    assert result.tokens == on_recording.edit(sound, edit, text="hello there", seed=2).tokens
    with on_recording.stream(sound, edit, **how) as stream:
        assert torch.equal(next(stream).samples, result.audio.samples)


@pytest.mark.usefixtures("no_tokens")
@pytest.mark.parametrize("edit", ON_RECORDING, ids=lambda edit: edit.kind)
def test_hours_are_refused_before_they_are_changed(
    on_recording: EditPipeline, monkeypatch: pytest.MonkeyPatch, edit: Edit
) -> None:
    def change(*_: object, **__: object) -> None:
        raise AssertionError("the recording was changed")

    monkeypatch.setattr("stepaudio.edit_passes.edit_recording", change)
    long = debug.speech(3601.0, 1000)
    for refused in (
        lambda: on_recording.edit([debug.speech(), long], edit, text="hi"),
        lambda: next(on_recording.iterate(long, edit, text="hi")),
        lambda: next(on_recording.stream(long, edit, text="hi")),
    ):
        with pytest.raises(PromptError, match=r"lasts 3601\.0 s, but at most 3600 s are edited"):
            refused()


@pytest.mark.usefixtures("no_tokens")
def test_minutes_are_not_tokenized_to_be_refused(pipe: EditPipeline, tmp_path: Path) -> None:
    path = debug.speech(600.0, 8000).save(tmp_path / "long.wav")
    with pytest.raises(PromptError, match=r"^'.*long\.wav' has 59\d\.\d s .* room for \d\.\d s"):
        pipe.edit(path, Edit.denoise())
    with pytest.raises(PromptError, match=r"lasts 3601\.0 s, but at most 3600 s"):
        pipe.resynthesize(debug.speech(3601.0, 1000))


def test_silence_around_it_does_not_count(
    pipe: EditPipeline, decoded: list[tuple[float, float]]
) -> None:
    silence = torch.zeros(40 * 16000)
    sound = Audio(torch.cat([silence, debug.speech(1.2).samples, silence]), 16000)
    assert pipe.edit(sound, Edit.denoise(), seed=1).tokens.num_units
    # The voice of a long recording is where its sound is.
    assert decoded[0][1] == pytest.approx(1.2, abs=0.4)
