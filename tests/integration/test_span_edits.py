"""Editing a part of a recording with the real classes: the rest stays, sample for sample."""

from __future__ import annotations

from dataclasses import replace
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


def test_two_times_in_a_list_are_a_span(pipe: EditPipeline) -> None:
    sound, edit = debug.speech(4.0), Edit.denoise()
    wanted = pipe.edit(sound, edit, span=SPAN, seed=1)
    assert_same(pipe.edit(sound, edit, span=list(SPAN), seed=1), wanted)
    (first,) = pipe.iterate(sound, edit, n=1, span=list(SPAN), seed=1)
    assert_same(first, wanted)
    for spans in (list(SPAN), [list(SPAN), SPAN]):
        batch = pipe.edit([sound, sound], edit, span=spans, seed=1)
        assert [one.span for one in batch] == [wanted.span, wanted.span]


SAID = "see you tomorrow said the cat"
SIGH = Edit.paralinguistic(f"{SAID} [Sigh]")


@pytest.fixture(scope="module")
def small(pipe: EditPipeline) -> EditPipeline:
    """The same model, but sounds are put into a stretch of the recording."""
    return EditPipeline(pipe.parts, defaults=replace(debug.DEFAULTS, part_seconds=4.0))


def test_another_voice_speaks_all_of_it(pipe: EditPipeline, small: EditPipeline) -> None:
    sound, voice = debug.speech(4.5), pipe.voice_prompt(debug.speech(2.0, seed=5))
    how = {"text": SAID, "seed": 1}
    stretch = small.edit(sound, SIGH, **how)
    assert_rest_is_kept(stretch, sound, (1.5, 4.5))
    spoken, whole = (
        p.edit(sound, SIGH, voice=voice, policy="research", **how) for p in (small, pipe)
    )
    assert spoken.span is None
    assert_same(spoken, whole)
    # The voice that is kept through all iterations is that of the rest.
    (kept,) = small.iterate(sound, SIGH, n=1, fixed_prompt=True, **how)
    assert_same(kept, stretch)


def test_a_sound_is_put_in_once(small: EditPipeline) -> None:
    """The next iteration finds it in the text, and writes the stretch around it once more."""
    first, second = small.iterate(debug.speech(4.5), SIGH, text=SAID, n=2, seed=1)
    assert first.span is not None
    assert second.span is not None
    assert second.text == SIGH.text
    before = round(second.span[0] * 16000)
    assert torch.equal(second.audio.samples[:before], first.audio.samples[:before])
    assert_same(second, small.edit(first.audio, SIGH, text=SIGH.text, seed=second.seed))


def test_the_rate_of_a_result_is_known_before(pipe: EditPipeline, small: EditPipeline) -> None:
    sound = debug.speech(4.5, 44100)
    on_recording = EditPipeline(
        pipe.parts, defaults=replace(debug.DEFAULTS, on_recording=("denoise",))
    )
    for one, edit, text, span, rate in (
        (pipe, Edit.denoise(), "", None, 24000),
        (pipe, Edit.denoise(), "", SPAN, 44100),
        (on_recording, Edit.denoise(), "", None, 44100),
        (on_recording, Edit.style("whisper"), SAID, None, 24000),
        (pipe, SIGH, SAID, None, 24000),
        (small, SIGH, SAID, None, 44100),
        (small, SIGH, SIGH.text, None, 44100),
    ):
        assert one.result_rate(sound, edit, text=text, span=span) == rate
        assert one.edit(sound, edit, text=text, span=span, seed=1).audio.sample_rate == rate


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
