"""Consent and provenance through the pipelines, at debug size: what is refused, what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import debug_parts as debug
import pytest
import torch
from torch import Tensor
from trust_fakes import record

from stepaudio import Audio, Edit, EditPipeline, Parts, TTSPipeline
from stepaudio.errors import (
    EditError,
    NoConsentError,
    OtherVoiceError,
    OutputExistsError,
    PurposeError,
    SafetyError,
)
from stepaudio.interfaces import SpeakerEncoder
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.policy import SafetyPolicy
from stepaudio.safety.provenance import sidecar_path
from stepaudio.safety.store import TrustStore
from stepaudio.safety.verification import verify
from stepaudio.voice import embed_voice

#: Nobody has measured this encoder.
POLICY = SafetyPolicy(threshold=0.999)


class Bands(SpeakerEncoder):
    """Random weights hear no voices; the loudness of 16 stretches at least differs."""

    @property
    def dim(self) -> int:
        return 16

    def embed(self, audio: Audio) -> Tensor:
        return torch.stack([part.norm() for part in audio.samples.tensor_split(16)])


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts(speaker=Bands())


@pytest.fixture(scope="module")
def pipe(parts: Parts) -> EditPipeline:
    return EditPipeline(parts, defaults=debug.DEFAULTS, name="debug")


@pytest.fixture(scope="module")
def speaker(parts: Parts) -> TTSPipeline:
    return TTSPipeline(parts, defaults=debug.DEFAULTS, name="debug")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustStore:
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(tmp_path / "trust"))
    return TrustStore()


def consent(pipe: EditPipeline | TTSPipeline, sound: Audio, **chosen: Any) -> ConsentRecord:
    voice = embed_voice(sound, pipe.parts.speaker).detach()
    return record(TrustStore(), voice, pipe.encoder, **chosen)


def test_cloning_needs_consent(speaker: TTSPipeline, store: TrustStore) -> None:
    sound = debug.speech()
    with pytest.raises(NoConsentError, match="stepaudio consent record"):
        speaker.speak("hello there", voice=sound)
    assert not store.folder.exists()
    given = consent(speaker, sound)
    result = speaker.speak(
        ["hello there", "well"], voice=sound, seed=1, consent=given, policy=POLICY
    )[1]
    assert result.provenance is not None
    made = result.provenance.manifest
    assert (made.action, made.policy, made.consent, made.parent) == (
        "speak",
        "standard",
        given.id,
        None,
    )
    assert (made.model, made.seed, made.sound) == ("debug", 1, result.audio.digest())
    assert made.weights == speaker.weights
    # Both sentences are one use.
    assert [entry.event for entry in store.log.entries()] == ["consent used"]


def test_the_voice_must_be_the_one(speaker: TTSPipeline) -> None:
    stranger = consent(speaker, debug.speech(seed=5))
    with pytest.raises(OtherVoiceError, match="not the voice that consented"):
        speaker.speak("hello", voice=debug.speech(), consent=stranger, policy=POLICY)
    with pytest.raises(OtherVoiceError, match="nobody has measured"):
        speaker.speak("hello", voice=debug.speech(), consent=stranger)


def test_editing_needs_none_by_default(pipe: EditPipeline, store: TrustStore) -> None:
    sound = debug.speech()
    result = pipe.edit(sound, Edit.denoise(), seed=3)
    assert result.provenance is not None
    made = result.provenance.manifest
    assert (made.action, made.consent, made.parent) == ("edit", None, sound.digest())
    assert made.edits == ({"kind": "denoise", "label": "", "text": "", "strength": 1},)
    assert not store.folder.exists()
    with pytest.raises(NoConsentError, match="'strict'"):
        pipe.edit(sound, Edit.denoise(), policy="strict")
    with pytest.raises(SafetyError, match="no policy 'none'"):
        pipe.edit(sound, Edit.denoise(), policy="none")  # type: ignore[call-overload]


def test_consent_to_edits(pipe: EditPipeline) -> None:
    sounds = [debug.speech(), debug.speech(seed=5)]
    given = [consent(pipe, sound, purposes=("edit",)) for sound in sounds]
    results = pipe.edit(sounds, Edit.denoise(), seed=3, consent=given, policy=POLICY)
    stamped = [one.provenance.manifest.consent for one in results if one.provenance]
    assert stamped == [one.id for one in given]
    with pytest.raises(OtherVoiceError):
        pipe.edit(sounds, Edit.denoise(), consent=given[::-1], policy=POLICY)
    with pytest.raises(EditError, match="2 recordings need 2 values of consent"):
        pipe.edit(sounds, Edit.denoise(), consent=given[:1], policy=POLICY)
    with pytest.raises(PurposeError):
        next(pipe.iterate(sounds[0], Edit.denoise(), consent=consent(pipe, sounds[0])))


def test_another_voice_is_a_clone(pipe: EditPipeline) -> None:
    """Somebody's words in somebody else's voice are new words for that voice."""
    sound, voice = debug.speech(), pipe.voice_prompt(debug.speech(seed=5))
    for call in (
        lambda **how: pipe.edit(sound, Edit.denoise(), voice=voice, **how),
        lambda **how: next(pipe.iterate(sound, Edit.denoise(), voice=voice, **how)),
        lambda **how: pipe.resynthesize(sound, voice=voice, **how),
    ):
        with pytest.raises(NoConsentError, match="--purpose clone"):
            call()
        given = consent(pipe, debug.speech(seed=5))
        assert call(consent=given, policy=POLICY).provenance.manifest.consent == given.id


def test_research_is_stamped_and_logged(pipe: EditPipeline, store: TrustStore) -> None:
    sound, voice = debug.speech(), pipe.voice_prompt(debug.speech(seed=5))
    result = pipe.edit(sound, Edit.denoise(), seed=1, voice=voice, policy="research")
    assert result.provenance is not None
    assert result.provenance.manifest.policy == "research"
    (entry,) = store.log.entries()
    assert entry.details == {"policy": "research", "purpose": "clone"}


def test_iterations_chain_within_and_across_files(
    pipe: EditPipeline, store: TrustStore, tmp_path: Path
) -> None:
    sound = debug.speech()
    steps = list(pipe.iterate(sound, Edit.denoise(), n=2, seed=1, fixed_prompt=True))
    assert [len(one.provenance.chain) for one in steps if one.provenance] == [1, 2]
    path = steps[-1].save(tmp_path / "a.wav")
    third = pipe.resynthesize(path, seed=2)
    assert third.provenance is not None
    assert third.provenance.unbroken
    actions = [one.manifest.action for one in third.provenance.chain]
    assert actions == ["edit", "edit", "resynthesize"]
    last = pipe.edit(third.save(tmp_path / "b.ogg"), Edit.denoise(), seed=2)
    verdict = verify(last.save(tmp_path / "c.flac"), store)
    assert verdict.proven
    assert sum(one.topic == "step" for one in verdict.findings) == 4


def test_streams_ask_and_tell_as_well(pipe: EditPipeline, speaker: TTSPipeline) -> None:
    sound = debug.speech()
    with pytest.raises(NoConsentError):
        speaker.stream("hello", voice=sound)
    with pytest.raises(NoConsentError):
        pipe.stream(sound, Edit.denoise(), voice=pipe.voice_prompt(debug.speech(seed=5)))
    stranger = consent(speaker, debug.speech(seed=5))
    with pytest.raises(OtherVoiceError):
        next(speaker.stream("hello", voice=sound, consent=stranger, policy=POLICY))
    given = consent(speaker, sound)
    stream = speaker.stream("hello", voice=sound, seed=1, consent=given, policy=POLICY)
    assert list(stream)
    assert stream.result.provenance is not None
    assert stream.result.provenance.manifest.consent == given.id
    assert stream.result.provenance.manifest.sound == stream.result.audio.digest()
    edited = pipe.stream(sound, Edit.denoise(), seed=1)
    assert list(edited)
    assert edited.result.provenance is not None
    assert edited.result.provenance.manifest.parent == sound.digest()


def test_spans_are_told(pipe: EditPipeline, store: TrustStore, tmp_path: Path) -> None:
    sound = debug.speech(3.0)
    result = pipe.edit(sound, Edit.denoise(), span=(1.0, 2.2), seed=1)
    assert result.provenance is not None
    assert result.provenance.manifest.span == result.span
    assert result.provenance.manifest.parent == sound.digest()
    verdict = verify(result.save(tmp_path / "a.wav"), store)
    assert verdict.proven
    assert "edit (denoise from 1.0" in verdict.findings[-1].words


def test_saving(pipe: EditPipeline, tmp_path: Path) -> None:
    result = pipe.resynthesize(debug.speech(), seed=1)
    path = result.save(tmp_path / "a.wav")
    assert sidecar_path(path).name == "a.wav.provenance.json"
    with pytest.raises(OutputExistsError):
        result.save(path)
    path.unlink()
    with pytest.raises(OutputExistsError, match=r"provenance\.json exists"):
        result.save(path)
    assert not path.exists()
    result.save(path, force=True)
    assert pipe.edit(path, Edit.denoise(), seed=1).provenance is not None


def test_saving_where_nothing_can_be_signed(
    pipe: EditPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = pipe.resynthesize(debug.speech(), seed=1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(tmp_path / "file" / "trust"))
    with pytest.raises(SafetyError, match="set STEPAUDIO_TRUST_DIR to another"):
        result.save(tmp_path / "a.wav")
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", None), ("a.wav", "PCM_24"), ("a.wav", "PCM_U8"), ("a.mp3", None)],
)
def test_credentials_in_the_file(
    pipe: EditPipeline, store: TrustStore, tmp_path: Path, name: str, subtype: str | None
) -> None:
    pytest.importorskip("c2pa")
    result = pipe.resynthesize(debug.speech(), seed=1)
    path = result.save(tmp_path / name, credentials=True, subtype=subtype)
    assert verify(path, store).proven
    sidecar_path(path).unlink()
    verdict = verify(path, store)
    assert verdict.proven
    assert not verdict.contradicted
    lossless = name.endswith(".wav") and subtype != "PCM_U8"
    assert (Audio.load(path).digest() == result.audio.digest()) == lossless
