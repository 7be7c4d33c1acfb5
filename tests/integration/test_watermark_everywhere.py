"""Every way to make sound marks it, and none makes it unmarked because marking failed."""

from __future__ import annotations

from collections.abc import Callable

import debug_parts as debug
import pytest
import torch
from same_results import same_tokens

from stepaudio import Edit, EditPipeline, EditResult, Parts, TTSPipeline
from stepaudio.cutting import WHOLE_SECONDS
from stepaudio.errors import WatermarkError
from stepaudio.pipeline_base import Pipeline
from stepaudio.safety.watermark import MarkNote, payload_of
from stepaudio.safety.watermark_spread import SpreadSpectrum
from stepaudio.streaming import AudioStream

SOUND = debug.speech()


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


def edited(parts: Parts, **chosen: object) -> EditResult:
    pipe = EditPipeline(parts, defaults=debug.DEFAULTS, **chosen)
    return pipe.edit(SOUND, Edit.denoise(), seed=5)


def of_a_batch(parts: Parts, **chosen: object) -> EditResult:
    pipe = EditPipeline(parts, defaults=debug.DEFAULTS, **chosen)
    return pipe.edit([SOUND, SOUND], Edit.denoise(), seed=[4, 5])[1]


def iterated(parts: Parts, **chosen: object) -> EditResult:
    pipe = EditPipeline(parts, defaults=debug.DEFAULTS, **chosen)
    return next(pipe.iterate(SOUND, Edit.denoise(), seed=5))


def spoken(parts: Parts, **chosen: object) -> EditResult:
    pipe = TTSPipeline(parts, defaults=debug.DEFAULTS, **chosen)
    return pipe.speak("hello there", voice=SOUND, seed=5, policy="research")


def heard(stream: AudioStream) -> EditResult:
    chunks = torch.cat([chunk.samples for chunk in stream])
    assert torch.equal(chunks, stream.result.audio.samples)
    return stream.result


def streamed(parts: Parts, **chosen: object) -> EditResult:
    pipe = EditPipeline(parts, defaults=debug.DEFAULTS, **chosen)
    return heard(pipe.stream(SOUND, Edit.denoise(), seed=5))


def spoken_as_a_stream(parts: Parts, **chosen: object) -> EditResult:
    pipe = TTSPipeline(parts, defaults=debug.DEFAULTS, **chosen)
    return heard(pipe.stream("hello there", voice=SOUND, seed=5, policy="research"))


def resynthesized(parts: Parts, **chosen: object) -> EditResult:
    return Pipeline(parts, defaults=debug.DEFAULTS, **chosen).resynthesize(SOUND, seed=5)


def resynthesized_in_parts(parts: Parts, **chosen: object) -> EditResult:
    long = debug.speech(WHOLE_SECONDS + 2)
    return Pipeline(parts, defaults=debug.DEFAULTS, **chosen).resynthesize(long, seed=5)


PATHS = [
    edited,
    of_a_batch,
    iterated,
    spoken,
    streamed,
    spoken_as_a_stream,
    resynthesized,
    resynthesized_in_parts,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_every_path_marks(parts: Parts, path: Callable[..., EditResult]) -> None:
    marked, plain = path(parts), path(parts, watermarker=None)
    assert plain.watermark is None
    assert marked.watermark == MarkNote("spread-spectrum-1", payload_of(marked.seed))
    # The mark is all that differs: nothing before it knows whether there will be one.
    assert same_tokens(marked.tokens, plain.tokens)
    expected = SpreadSpectrum().embed(plain.audio, payload_of(marked.seed)).samples
    torch.testing.assert_close(marked.audio.samples, expected, atol=1e-6, rtol=0)
    assert not torch.equal(marked.audio.samples, plain.audio.samples)


def test_of_an_edited_span_only_the_new_part_is_marked(parts: Parts) -> None:
    made = [
        EditPipeline(parts, defaults=debug.DEFAULTS, **chosen).edit(
            SOUND, Edit.denoise(), seed=5, span=(0.3, 0.8)
        )
        for chosen in ({}, {"watermarker": None})
    ]
    marked, plain = made
    assert marked.watermark is not None
    assert plain.watermark is None
    start, end = (round(time * SOUND.sample_rate) for time in marked.span)
    changed = marked.audio.samples != plain.audio.samples
    assert changed[start:end].float().mean() > 0.9
    assert not changed[:start].any()
    assert not changed[end:].any()


class Broken(SpreadSpectrum):
    """Fails when it is needed."""

    def __init__(self, payload: int) -> None:
        super().__init__()
        self.payload = payload

    def stream(self, payload, sample_rate, *, spans=None):
        if payload == self.payload:
            raise ImportError("no module named marker")
        return super().stream(payload, sample_rate, spans=spans)


def test_a_watermarker_that_cannot_begin_is_refused_with_the_pipeline(parts: Parts) -> None:
    with pytest.raises(WatermarkError, match="without it no sound is made"):
        EditPipeline(parts, watermarker=Broken(0))
    with pytest.raises(WatermarkError, match="or None, not a str"):
        EditPipeline(parts, watermarker="off")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_a_watermarker_that_fails_later_withholds_the_sound(
    parts: Parts, path: Callable[..., EditResult]
) -> None:
    with pytest.raises(WatermarkError, match="without it no sound is made"):
        path(parts, watermarker=Broken(payload_of(5)))
