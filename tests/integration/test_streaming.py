"""Sound while the language model writes: the same codes, nearly the same sound, no trace left."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from same_results import assert_same, same_tokens

from stepaudio import Audio, Edit, EditPipeline, EditResult, Parts, TTSPipeline
from stepaudio.decoder.mel import log_mel
from stepaudio.errors import AudioError, CancelledError, EditError, GenerationError, PromptError
from stepaudio.evaluation.boundary import jumps_at
from stepaudio.evaluation.pitch import AutocorrelationPitch
from stepaudio.result import STAGES, Run
from stepaudio.types import MelSpec, SamplingParams, SpeechTokens

ROOT = Path(__file__).parents[2]
TEXT = "see you tomorrow"
LONG = SamplingParams(min_new_tokens=100, max_new_tokens=150)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


@pytest.fixture(scope="module")
def pipe(parts: Parts) -> EditPipeline:
    return EditPipeline(parts, defaults=replace(debug.DEFAULTS, sampling=LONG, max_length_ratio=9))


@pytest.fixture
def sound() -> Audio:
    return debug.speech()


def test_codes_are_those_of_an_edit(pipe: EditPipeline, sound: Audio) -> None:
    stream = pipe.stream(sound, Edit.emotion("happy"), text=TEXT, seed=4)
    chunks = list(stream)
    result, whole = stream.result, pipe.edit(sound, Edit.emotion("happy"), text=TEXT, seed=4)
    assert len(chunks) > 2
    assert torch.equal(torch.cat([chunk.samples for chunk in chunks]), result.audio.samples)
    assert_same(result, replace(whole, audio=result.audio))
    assert len(result.audio) == len(whole.audio)
    assert result.edits == whole.edits
    assert set(result.timings) == set(STAGES)
    assert min(result.timings.values()) > 0


def test_what_fits_one_chunk_is_the_same_sound(pipe: EditPipeline, sound: Audio) -> None:
    """A voice known by its embedding only and five units: the chunk knows all the whole knows."""
    heard = pipe.voice_prompt(sound)
    nothing = SpeechTokens(*torch.zeros(2, 0, dtype=torch.int64), heard.tokens.spec)
    voice = replace(heard, tokens=nothing, mel=heard.mel[:, :0])
    short = SamplingParams(min_new_tokens=25, max_new_tokens=25)
    stream = pipe.stream(
        sound, Edit.denoise(), seed=1, voice=voice, sampling=short, policy="research"
    )
    list(stream)
    whole = pipe.edit(sound, Edit.denoise(), seed=1, voice=voice, sampling=short, policy="research")
    assert_same(stream.result, whole, atol=1e-5)


def test_the_first_chunk_comes_while_the_model_writes(pipe: EditPipeline, sound: Audio) -> None:
    written = []
    stream = pipe.stream(
        sound,
        Edit.denoise(),
        seed=1,
        progress=lambda stage, done, _: written.append(done) if stage == "generate" else None,
    )
    assert not written  # nothing is computed unasked
    next(stream)
    # Six units of the first chunk and its look-ahead, plus the right context of the vocoder.
    assert written[-1] < 80
    list(stream)
    assert written[-1] >= 100


def test_passes_before_the_last_are_not_heard(pipe: EditPipeline, sound: Audio) -> None:
    edit = Edit.style("whisper", strength=2)
    stream = pipe.stream(sound, edit, text=TEXT, seed=8)
    list(stream)
    whole = pipe.edit(sound, edit, text=TEXT, seed=8)
    assert_same(stream.result, replace(whole, audio=stream.result.audio))


def test_speech_streams_too(parts: Parts) -> None:
    speaker = TTSPipeline(parts, defaults=replace(debug.DEFAULTS, sampling=LONG))
    voice = speaker.voice_prompt(debug.speech(), TEXT)
    with speaker.stream("hello there", voice=voice, seed=3, policy="research") as stream:
        assert len(list(stream)) > 2
    whole = speaker.speak("hello there", voice=voice, seed=3, policy="research")
    assert_same(stream.result, replace(whole, audio=stream.result.audio))
    with pytest.raises(PromptError, match="no text"):
        speaker.stream(" ", voice=voice, policy="research")


@pytest.mark.parametrize("kind", ["griffin_lim", "hift"])
def test_other_vocoders(pipe: EditPipeline, sound: Audio, kind: str) -> None:
    other = EditPipeline(replace(pipe.parts, vocoder=debug.vocoder(kind)), defaults=pipe.defaults)
    stream = other.stream(sound, Edit.denoise(), seed=1)
    list(stream)
    assert len(stream.result.audio) == stream.result.tokens.num_units * 6 * debug.MEL.hop_length


@pytest.fixture
def kept(pipe: EditPipeline, monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[object]]:
    """Every cache that the language model makes."""
    kept: list[weakref.ref[object]] = []
    new_cache = type(pipe.parts.lm).new_cache

    def watched(lm: object, capacity: int) -> object:
        cache = new_cache(lm, capacity)
        kept.append(weakref.ref(cache))
        return cache

    monkeypatch.setattr(type(pipe.parts.lm), "new_cache", watched)
    return kept


@pytest.mark.parametrize("heard", [0, 1, 2])
def test_leaving_early_frees_everything(
    pipe: EditPipeline, sound: Audio, kept: list[weakref.ref[object]], heard: int
) -> None:
    stream = pipe.stream(sound, Edit.denoise(), seed=1)
    for _ in range(heard):
        kept.append(weakref.ref(next(stream)))
    assert heard == 0 or all(ref() is not None for ref in kept)
    gc.disable()  # what lives in cycles would wait for the collector
    try:
        stream.close()
        assert all(ref() is None for ref in kept)
    finally:
        gc.enable()
    assert list(stream) == []
    with pytest.raises(EditError, match=f"seed is {stream.seed}"):
        _ = stream.result


def test_cancelling(pipe: EditPipeline, sound: Audio, kept: list[weakref.ref[object]]) -> None:
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 60

    stream = pipe.stream(sound, Edit.denoise(), seed=1, cancel=cancel)
    # pytest.raises would keep the traceback, and with it everything.
    try:
        list(stream)
    except CancelledError:
        asked.append(-1)
    assert asked[-1] == -1
    assert [ref() for ref in kept] == [None]
    assert list(stream) == []


def test_bad_requests_are_refused_at_once(pipe: EditPipeline, sound: Audio) -> None:
    with pytest.raises(EditError, match="text"):
        pipe.stream(sound, Edit.emotion("happy"))
    with pytest.raises(EditError, match="steps"):
        pipe.stream(sound, Edit.denoise(), steps=0)
    with pytest.raises(EditError, match="max_length_ratio"):
        pipe.stream(sound, Edit.denoise(), max_length_ratio=0)
    with pytest.raises(AudioError, match="silent"):
        pipe.stream(Audio(torch.zeros(16000), 16000), Edit.denoise())
    free = SamplingParams(constrain=False, max_new_tokens=3)
    with pytest.raises(GenerationError, match="before one whole unit"):
        list(pipe.stream(sound, Edit.denoise(), seed=1, sampling=free))


# --- the embedded model ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def nano() -> tuple[list[Audio], EditResult, EditResult, EditResult]:
    """One edit: its chunks, its stream, itself, and itself without the timbre of its label."""
    pipe = EditPipeline.from_pretrained(device="cpu")
    pipe = EditPipeline(pipe.parts, defaults=replace(pipe.defaults, draws=1, manners={}))
    recording = Audio.load(ROOT / "docs" / "audio" / "demo.flac")
    edit, words = Edit.style("whisper"), (ROOT / "docs" / "audio" / "demo.txt").read_text().strip()
    stream = pipe.stream(recording, edit, text=words, seed=1)
    chunks = list(stream)
    whole = pipe.edit(recording, edit, text=words, seed=1)
    voice = pipe.voice_prompt(recording)
    run = pipe._render([whole.tokens], [voice], [2], Run(), None, None)
    return chunks, stream.result, whole, replace(whole, audio=run[0])


def distance_db(one: Audio, other: Audio) -> float:
    """Root mean square difference of the log-mel spectra."""
    a, b = (log_mel(audio.samples, MelSpec()) for audio in (one, other))
    return float(8.686 * (a - b).square().mean().sqrt())


def test_embedded_stream_is_nearer_than_another_timbre(nano) -> None:
    _, streamed, whole, other = nano
    assert same_tokens(streamed.tokens, whole.tokens)
    near, far = distance_db(streamed.audio, whole.audio), distance_db(other.audio, whole.audio)
    assert near < 1.5
    assert near < far


def test_embedded_stream_has_no_click(nano) -> None:
    chunks, streamed, whole, _ = nano
    ends = torch.tensor([chunk.seconds for chunk in chunks]).cumsum(0)[:-1].tolist()
    # Where the flow decoder began a new chunk.
    frames = [end for end in (0.6, 1.56, 3.48, 5.4) if end < streamed.audio.seconds]
    silence = torch.zeros(2400)

    def jumps(result: EditResult) -> list[float]:
        audio = Audio(torch.cat([result.audio.samples, silence]), 24000)
        found = jumps_at(audio, [*ends, *frames, result.audio.seconds], AutocorrelationPitch())
        return [jump.spectral or 0.0 for jump in found]

    for ours, offline in zip(jumps(streamed), jumps(whole), strict=True):
        assert ours <= 1.3 * offline + 0.3
