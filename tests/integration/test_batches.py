"""A batch is computed together and gives what its singles give, with the embedded model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from same_results import assert_same

from stepaudio import Audio, Edit, EditPipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    nano = EditPipeline.from_pretrained(device="cpu")
    return EditPipeline(nano.parts, defaults=replace(nano.defaults, manners={}))


def test_batch_equals_singles(pipe: EditPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = Audio.load(ROOT / "docs" / "audio" / "demo.flac")
    sounds = [demo.clip(0, 1.5), demo.clip(1.0, 2.5), demo.clip(2.0, 2.6)]
    texts = ["the most unusual thing", "thing I can think", "think of"]
    edits = [Edit.emotion("angry"), Edit.emotion("happy"), Edit.style("whisper")]
    seeds = [1, 2, 3]
    steps: list[int] = []
    decoded: list[int] = []
    next_logits, decode = type(pipe.parts.lm).next_logits, type(pipe.parts.flow).decode

    def watched_logits(lm, ids, *others):  # type: ignore[no-untyped-def]
        steps.append(len(ids))
        return next_logits(lm, ids, *others)

    def watched_decode(flow, tokens, *others, **more):  # type: ignore[no-untyped-def]
        decoded.append(len(tokens))
        return decode(flow, tokens, *others, **more)

    monkeypatch.setattr(type(pipe.parts.lm), "next_logits", watched_logits)
    monkeypatch.setattr(type(pipe.parts.flow), "decode", watched_decode)
    batch = pipe.edit(sounds, edits, text=texts, seed=seeds)
    together, groups = len(steps), sorted(decoded)
    steps.clear()
    for sound, edit, text, seed, result in zip(sounds, edits, texts, seeds, batch, strict=True):
        assert_same(result, pipe.edit(sound, edit, text=text, seed=seed), atol=1e-4)
    assert together < 0.8 * len(steps)
    assert sum(groups) == 3
    assert groups[-1] >= 2
