"""Editing a part of a recording with the real classes: the rest stays, sample for sample."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from same_results import assert_same, same_tokens

from stepaudio import Audio, Edit, EditPipeline, EditResult
from stepaudio.errors import EditError
from stepaudio.evaluation.boundary import jumps_at
from stepaudio.evaluation.pitch import AutocorrelationPitch

ROOT = Path(__file__).parents[2]
TEXT = "see you"
SPAN = (1.2, 2.4)


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    return EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)


@pytest.fixture(params=[16000, 24000, 44100])
def sound(request: pytest.FixtureRequest) -> Audio:
    return debug.speech(4.0, request.param)


def assert_rest_is_kept(result: EditResult, sound: Audio, span: tuple[float, float]) -> None:
    assert result.audio.sample_rate == sound.sample_rate
    assert result.span is not None
    first, last = (round(time * sound.sample_rate) for time in span)
    before = round(result.span[0] * sound.sample_rate)
    after = len(result.audio) - round(result.span[1] * sound.sample_rate)
    assert before >= first
    assert after >= len(sound) - last
    assert torch.equal(result.audio.samples[:before], sound.samples[:before])
    assert torch.equal(
        result.audio.samples[len(result.audio) - after :], sound.samples[len(sound) - after :]
    )
    start, end = result.span
    assert end - start == pytest.approx(result.tokens.seconds, abs=2 / sound.sample_rate)


def test_only_the_span_changes(pipe: EditPipeline, sound: Audio) -> None:
    edit = Edit.emotion("happy", strength=2)
    result = pipe.edit(sound, edit, text=TEXT, span=SPAN, seed=1)
    assert_rest_is_kept(result, sound, SPAN)
    assert (result.text, result.edits, result.seed) == (TEXT, (edit,), 1)
    entered = pipe.tokenize(sound.clip(*SPAN)).num_units
    assert result.length_ratio == result.tokens.num_units / entered
    # Ten whole units have been cut out.
    kept = len(sound) - round(1.2 * sound.sample_rate)
    new = round(result.tokens.seconds * sound.sample_rate)
    assert len(result.audio) == kept + new


def test_a_span_is_the_edit_of_its_clip_in_the_voice_of_the_whole(pipe: EditPipeline) -> None:
    sound = debug.speech(4.0)
    result = pipe.edit(sound, Edit.style("whisper"), text=TEXT, span=SPAN, seed=2)
    clip, voice = sound.clip(*SPAN), pipe.voice_prompt(sound)
    alone = pipe.edit(
        clip, Edit.style("whisper"), text=TEXT, seed=2, voice=voice, policy="research"
    )
    assert same_tokens(result.tokens, alone.tokens)
    assert result.length_ratio == alone.length_ratio
    given = pipe.edit(
        sound, Edit.style("whisper"), text=TEXT, span=SPAN, seed=2, voice=voice, policy="research"
    )
    assert same_tokens(given.tokens, alone.tokens)


def test_batches_of_spans(pipe: EditPipeline) -> None:
    sounds = [debug.speech(4.0, 16000), debug.speech(3.0, 22050, seed=1)]
    spans = [(1.2, 2.4), (0.0, 0.5)]
    batch = pipe.edit(sounds, Edit.denoise(), span=spans, seed=[1, 2])
    for sound, span, result in zip(sounds, spans, batch, strict=True):
        assert_rest_is_kept(result, sound, span)
        single = pipe.edit(sound, Edit.denoise(), span=span, seed=result.seed)
        assert_same(result, single, atol=1e-4)
    shared = pipe.edit(sounds, Edit.denoise(), span=(0.5, 1.0), seed=3)
    assert [len(one.span or ()) for one in shared] == [2, 2]


def test_iterations_follow_the_new_part(pipe: EditPipeline) -> None:
    sound = debug.speech(4.0)
    steps = list(pipe.iterate(sound, Edit.denoise(), n=3, span=SPAN, seed=3))
    for step in steps:
        assert_rest_is_kept(step, sound, SPAN)
    for one, following in pairwise(steps):
        assert one.span is not None
        again = pipe.edit(one.audio, Edit.denoise(), span=one.span, seed=following.seed)
        assert_same(again, following)
    assert len(steps[-1].edits) == 3


def test_bad_spans_are_refused_before_any_work(pipe: EditPipeline) -> None:
    sound = debug.speech(4.0)
    for span in [(2.0, 1.0), (3.0, 5.0), (1.0, 1.05), (-1.0, 1.0)]:
        with pytest.raises(EditError, match="span"):
            pipe.edit(sound, Edit.denoise(), span=span)
    with pytest.raises(EditError, match="2 recordings need 2 values of span, got 1"):
        pipe.edit([sound, sound], Edit.denoise(), span=[SPAN])
    with pytest.raises(EditError, match="span must be tuple"):
        pipe.edit(sound, Edit.denoise(), span=3.0)  # type: ignore[call-overload]


def test_joins_of_the_embedded_model_do_not_click() -> None:
    pipe = EditPipeline.from_pretrained(device="cpu")
    recording = Audio.load(ROOT / "docs" / "audio" / "demo.flac")
    result = pipe.edit(recording, Edit.denoise(), span=(1.5, 3.0), seed=1)
    assert_rest_is_kept(result, recording, (1.5, 3.0))
    assert result.span is not None
    joins = jumps_at(result.audio, result.span, AutocorrelationPitch())
    assert max(join.spectral_rank or 0.0 for join in joins) < 0.95
    steps = result.audio.samples.diff().abs()
    for time in result.span:
        here = round(time * recording.sample_rate)
        assert steps[here - 2 : here + 2].max() < 0.2 * steps.max()
