"""Guidance of the language model, from what a pipeline is asked to what comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import debug_parts as debug
import pytest
from same_results import assert_same, same_tokens

from stepaudio import Edit, EditPipeline, Parts, TTSPipeline

TEXT = "see you tomorrow"


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


def test_edits_can_be_guided(parts: Parts) -> None:
    """Away from a recording in disorder and from an instruction that asks for nothing."""
    sound, edit = debug.speech(), Edit.emotion("happy")
    plain = EditPipeline(parts, defaults=debug.DEFAULTS)
    found = [plain.edit(sound, edit, text=TEXT, seed=5)]
    for words, change in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        defaults = replace(debug.DEFAULTS, guidance_words=words, guidance_edit={"happy": change})
        pipe = EditPipeline(parts, defaults=defaults)
        result = pipe.edit(sound, edit, text=TEXT, seed=5)
        assert not any(same_tokens(result.tokens, other.tokens) for other in found)
        found.append(result)
        # Alone, in a batch of edits with and without contrasts, or as a stream.
        others = [Edit.remove("emotion"), edit, Edit.denoise()]
        batch = pipe.edit([sound] * 3, others, text=[TEXT, TEXT, ""], seed=5)
        assert_same(batch[1], result, atol=1e-4)
        stream = pipe.stream(sound, edit, text=TEXT, seed=5)
        for _ in stream:
            pass
        assert same_tokens(stream.result.tokens, result.tokens)
    # There is nothing plainer than plain.
    pipe = EditPipeline(parts, defaults=replace(debug.DEFAULTS, guidance_edit={"remove": 1.0}))
    removal = Edit.remove("emotion")
    assert_same(*(p.edit(sound, removal, text=TEXT, seed=5) for p in (plain, pipe)))
    for name in ("guidance_words", "guidance_text"):
        with pytest.raises(ValueError, match=name):
            replace(debug.DEFAULTS, **{name: -1.0})
    with pytest.raises(ValueError, match="'happy'"):
        replace(debug.DEFAULTS, guidance_edit={"happy": float("nan")})


def test_speech_can_be_guided(parts: Parts) -> None:
    """Away from letters in disorder: no different batched, or as a stream."""
    speaker = TTSPipeline(parts, defaults=debug.DEFAULTS)
    voice = speaker.voice_prompt(debug.speech(), TEXT)
    how: dict[str, Any] = {"voice": voice, "policy": "research"}
    guided = TTSPipeline(parts, defaults=replace(debug.DEFAULTS, guidance_text=1.0))
    result = guided.speak("hello there", seed=1, **how)
    plain = speaker.speak("hello there", seed=1, **how)
    assert not same_tokens(result.tokens, plain.tokens)
    assert_same(guided.speak(["well", "hello there"], seed=[7, 1], **how)[1], result, atol=1e-4)
    stream = guided.stream("hello there", seed=1, **how)
    for _ in stream:
        pass
    assert same_tokens(stream.result.tokens, result.tokens)
    # One letter is always in order.
    assert_same(guided.speak("a", seed=1, **how), speaker.speak("a", seed=1, **how), atol=1e-4)
