"""Emotions and styles made on the recording itself: what is changed, marked and left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from same_results import assert_same, same_tokens
from synthetic_voices import vowel

from stepaudio import Audio, Edit, EditPipeline, Parts
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.edit_passes import pass_seed
from stepaudio.errors import CheckpointError
from stepaudio.lm.step1 import Step1LM
from stepaudio.manner import Manner, change_manner
from stepaudio.parts import Defaults
from stepaudio.recording_edits import RECORDING_EDITS, edit_recording
from stepaudio.safety.watermark import MarkNote, payload_of
from stepaudio.safety.watermark_spread import SpreadSpectrum

TEXT = "see you tomorrow"
MANNERS = {
    "happy": Manner(3.1, 1.3, 0.95, 1.05, (-3.5, -1.0, 0.0, 1.0, 2.0, 1.1, 1.0), rise=1.5),
    "whisper": Manner(breath=1.0),
}
DEFAULTS = replace(debug.DEFAULTS, on_recording=("emotion", "style"), manners=MANNERS)
HAPPY, SAD, WHISPER = Edit.emotion("happy"), Edit.emotion("sad"), Edit.style("whisper")


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


@pytest.fixture(scope="module")
def pipe(parts: Parts) -> EditPipeline:
    return EditPipeline(parts, defaults=DEFAULTS)


@pytest.fixture(scope="module")
def unmarked(parts: Parts) -> EditPipeline:
    return EditPipeline(parts, defaults=DEFAULTS, watermarker=None)


@pytest.fixture(scope="module")
def sound() -> Audio:
    """A voice of 22.05 kHz, which no part of the pipeline works at."""
    loudness = torch.sin(torch.linspace(0, 12, 4 * 22050)).abs() + 0.1
    return Audio(vowel(140.0, 4.0, 22050).samples * loudness, 22050)


@pytest.fixture
def nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes or speaks fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was made anew")

    monkeypatch.setattr(Step1LM, "generate", refuse)
    monkeypatch.setattr(TokenFlowDecoder, "decode", refuse)
    monkeypatch.setattr(TokenFlowDecoder, "stream", refuse)


def marked(audio: Audio, seed: int) -> torch.Tensor:
    return SpreadSpectrum().embed(audio, payload_of(seed)).samples


@pytest.mark.usefixtures("nobody_writes")
@pytest.mark.parametrize("edit", [HAPPY, WHISPER], ids=lambda edit: edit.label)
def test_the_recording_is_changed_and_marked(
    pipe: EditPipeline, unmarked: EditPipeline, sound: Audio, edit: Edit
) -> None:
    changed = change_manner(sound, MANNERS[edit.label], seed=5)
    result = pipe.edit(sound, edit, text=TEXT, seed=5)
    assert result.audio.sample_rate == 22050
    assert len(result.audio) == round(len(sound) / MANNERS[edit.label].rate)
    torch.testing.assert_close(result.audio.samples, marked(changed, 5), atol=1e-6, rtol=0)
    assert result.watermark == MarkNote("spread-spectrum-1", payload_of(5))
    detection = SpreadSpectrum().detect(result.audio)
    assert (detection.found, detection.payload) == (True, payload_of(5))
    assert (result.text, result.edits, result.stop_reason) == (TEXT, (edit,), "end")
    units = [pipe.tokenize(audio).num_units for audio in (sound, changed)]
    assert result.length_ratio == units[1] / units[0]
    assert same_tokens(result.tokens, pipe.tokenize(changed))
    assert result.provenance is not None
    assert result.provenance.chain[-1].manifest.watermark == str(result.watermark)
    # Nothing but the mark is missing where no marks are wanted.
    plain = unmarked.edit(sound, edit, text=TEXT, seed=5)
    assert torch.equal(plain.audio.samples, changed.samples)
    assert plain.watermark is None


def test_the_seed_is_that_of_the_breath(unmarked: EditPipeline, sound: Audio) -> None:
    for edit, same in ((HAPPY, True), (WHISPER, False)):
        one, other = (unmarked.edit(sound, edit, text=TEXT, seed=seed) for seed in (5, 6))
        assert torch.equal(one.audio.samples, other.audio.samples) == same


@pytest.mark.usefixtures("nobody_writes")
@pytest.mark.parametrize("label", ["happy", "whisper"])
def test_strength_is_three_times_and_one_mark(
    pipe: EditPipeline, unmarked: EditPipeline, sound: Audio, label: str
) -> None:
    edit = replace(HAPPY if label == "happy" else WHISPER, strength=3)
    changed, seeds = sound, [pass_seed(5, number) for number in range(3)]
    for seed in seeds:
        changed = change_manner(changed, MANNERS[label], seed=seed)
    plain = unmarked.edit(sound, edit, text=TEXT, seed=5)
    assert torch.equal(plain.audio.samples, changed.samples)
    result = pipe.edit(sound, edit, text=TEXT, seed=5)
    torch.testing.assert_close(result.audio.samples, marked(changed, seeds[-1]), atol=1e-6, rtol=0)
    assert result.watermark == MarkNote("spread-spectrum-1", payload_of(seeds[-1]))
    assert (result.seed, result.edits) == (5, (edit,))
    assert result.length_ratio == result.tokens.num_units / pipe.tokenize(sound).num_units


@pytest.mark.usefixtures("nobody_writes")
@pytest.mark.parametrize("strength", [1, 3])
def test_a_stream_is_the_edit(pipe: EditPipeline, sound: Audio, strength: int) -> None:
    edit = Edit.emotion("happy", strength=strength)
    with pipe.stream(sound, edit, text=TEXT, seed=5) as stream:
        chunks = torch.cat([chunk.samples for chunk in stream])
    result = pipe.edit(sound, edit, text=TEXT, seed=5)
    assert torch.equal(chunks, result.audio.samples)
    assert_same(stream.result, result)
    assert stream.result.watermark == result.watermark


def test_a_label_without_a_manner_is_written(
    parts: Parts, pipe: EditPipeline, sound: Audio
) -> None:
    written = EditPipeline(parts, defaults=debug.DEFAULTS)
    for edit in (SAD, Edit.remove("style"), Edit.denoise()):
        text = TEXT if edit.needs_text else ""
        result = pipe.edit(sound, edit, text=text, seed=5)
        assert result.audio.sample_rate == debug.MEL.sample_rate
        assert_same(result, written.edit(sound, edit, text=text, seed=5))
    # A manner alone, of a kind that is not made on the recording, changes nothing.
    unasked = EditPipeline(parts, defaults=replace(DEFAULTS, on_recording=("style",)))
    assert_same(
        unasked.edit(sound, HAPPY, text=TEXT, seed=5), written.edit(sound, HAPPY, text=TEXT, seed=5)
    )


def test_a_batch_has_both(pipe: EditPipeline, sound: Audio) -> None:
    edits = [HAPPY, SAD, replace(HAPPY, strength=2), WHISPER]
    batch = pipe.edit([sound] * 4, edits, text=TEXT, seed=[5, 6, 7, 8])
    assert [one.audio.sample_rate for one in batch] == [22050, 24000, 22050, 22050]
    for one, edit in zip(batch, edits, strict=True):
        single = pipe.edit(sound, edit, text=TEXT, seed=one.seed)
        assert_same(one, single, atol=1e-4)
        assert one.watermark == single.watermark is not None


@pytest.mark.usefixtures("nobody_writes")
@pytest.mark.parametrize("edit", [HAPPY, WHISPER, replace(HAPPY, strength=3)])
def test_of_a_span_the_rest_stays(
    pipe: EditPipeline, unmarked: EditPipeline, sound: Audio, edit: Edit
) -> None:
    result = pipe.edit(sound, edit, text=TEXT, span=(1.2, 2.9), seed=5)
    assert result.span is not None
    assert result.audio.sample_rate == 22050
    before = round(result.span[0] * 22050)
    after = len(result.audio) - round(result.span[1] * 22050)
    assert before >= round(1.2 * 22050)
    assert after >= len(sound) - round(2.9 * 22050)
    assert torch.equal(result.audio.samples[:before], sound.samples[:before])
    assert torch.equal(result.audio.samples[-after:], sound.samples[-after:])
    assert result.watermark == MarkNote(
        "spread-spectrum-1", payload_of(pass_seed(5, edit.passes - 1))
    )
    assert (result.edits, result.seed, result.text) == ((edit,), 5, TEXT)
    plain = unmarked.edit(sound, edit, text=TEXT, span=(1.2, 2.9), seed=5)
    assert plain.span == result.span
    differs = torch.nonzero(plain.audio.samples - result.audio.samples)[:, 0]
    assert before <= int(differs.min()) < int(differs.max()) < len(result.audio) - after


@pytest.mark.usefixtures("nobody_writes")
def test_iterations_follow_each_other(pipe: EditPipeline, sound: Audio) -> None:
    steps = list(pipe.iterate(sound, HAPPY, text=TEXT, n=3, seed=5))
    before = sound
    for number, step in enumerate(steps):
        assert step.edits == (HAPPY,) * (number + 1)
        assert step.provenance is not None
        assert len(step.provenance.chain) == number + 1
        assert step.watermark == MarkNote("spread-spectrum-1", payload_of(step.seed))
        again = pipe.edit(before, HAPPY, text=TEXT, seed=step.seed)
        assert torch.equal(again.audio.samples, step.audio.samples)
        before = step.audio
    # There is no decoder that a voice could be kept for.
    (kept,) = pipe.iterate(sound, HAPPY, text=TEXT, n=1, fixed_prompt=True, seed=5)
    assert torch.equal(kept.audio.samples, steps[0].audio.samples)


def test_another_voice_speaks_what_comes_out(
    pipe: EditPipeline, unmarked: EditPipeline, sound: Audio
) -> None:
    how = {"text": TEXT, "seed": 5, "policy": "research"}
    voice = pipe.voice_prompt(debug.speech(2.0, seed=5))
    result = pipe.edit(sound, HAPPY, voice=voice, **how)
    assert result.audio.sample_rate == debug.MEL.sample_rate
    assert same_tokens(result.tokens, pipe.tokenize(change_manner(sound, MANNERS["happy"])))
    assert result.watermark == MarkNote("spread-spectrum-1", payload_of(5))
    plain = unmarked.edit(sound, HAPPY, voice=voice, **how)
    torch.testing.assert_close(result.audio.samples, marked(plain.audio, 5), atol=1e-6, rtol=0)
    other = pipe.edit(sound, HAPPY, voice=pipe.voice_prompt(debug.speech(2.0, seed=6)), **how)
    assert not torch.equal(other.audio.samples, result.audio.samples)


def test_another_voice_speaks_once_after_all_passes(unmarked: EditPipeline, sound: Audio) -> None:
    voice = unmarked.voice_prompt(debug.speech(2.0, seed=5))
    how = {"text": TEXT, "seed": 5, "policy": "research", "voice": voice}
    twice = change_manner(change_manner(sound, MANNERS["happy"]), MANNERS["happy"])
    edit = replace(HAPPY, strength=2)
    stream = unmarked.stream(sound, edit, **how)
    assert len(list(stream)) == 1
    for result in (unmarked.edit(sound, edit, **how), stream.result):
        assert same_tokens(result.tokens, unmarked.tokenize(twice))
        assert result.audio.sample_rate == debug.MEL.sample_rate


def test_the_rate_of_a_result_is_known_before(pipe: EditPipeline, sound: Audio) -> None:
    for edit, span, rate in (
        (HAPPY, None, 22050),
        (replace(WHISPER, strength=2), None, 22050),
        (SAD, None, 24000),
        (SAD, (1.2, 2.4), 22050),
    ):
        assert pipe.result_rate(sound, edit, text=TEXT, span=span) == rate
        assert pipe.edit(sound, edit, text=TEXT, span=span, seed=1).audio.sample_rate == rate


def test_manners_are_kept_in_the_folder(pipe: EditPipeline, sound: Audio, tmp_path: Path) -> None:
    folder = pipe.save_pretrained(tmp_path / "model")
    again = EditPipeline.from_pretrained(folder, device="cpu")
    assert again.defaults == pipe.defaults
    assert again.defaults.manners == MANNERS
    assert_same(*(p.edit(sound, HAPPY, text=TEXT, seed=5) for p in (pipe, again)))
    # Another language model shall be heard.
    other = EditPipeline.from_pretrained(folder, lm=pipe.parts.lm)
    assert other.defaults == replace(DEFAULTS, manners={})
    path = folder / "pipeline.json"
    for wrong, message in (
        ({"happy": {"pitch": 1.0, "height": 2.0}}, "height"),
        ({"happy": {"rate": 9.0}}, "rate is 9"),
        ({"jolly": {}}, "jolly"),
    ):
        value = json.loads(path.read_text(encoding="utf-8"))
        value["defaults"]["manners"] = wrong
        path.write_text(json.dumps(value), encoding="utf-8")
        with pytest.raises(CheckpointError, match=message):
            EditPipeline.from_pretrained(folder)


def test_manners_are_for_labels_there_are() -> None:
    for label in ("jolly", "faster", "denoise", ""):
        with pytest.raises(ValueError, match="manners are for labels of emotion or style"):
            Defaults(manners={label: Manner()})
    defaults = Defaults(on_recording=("style",), manners=MANNERS)
    changed = [defaults.changes_recording(edit) for edit in (WHISPER, HAPPY, Edit.denoise())]
    assert changed == [True, False, False]
    assert not defaults.changes_recording(Edit.style("child"))


def test_only_what_needs_no_new_speech_is_made_on_a_recording(sound: Audio) -> None:
    how = {"lengths": {}, "manners": MANNERS, "seed": 3}
    assert {"emotion", "style"} < set(RECORDING_EDITS)
    with pytest.raises(KeyError, match="sad"):
        edit_recording(sound, SAD, **how)
    with pytest.raises(ValueError, match="'paralinguistic' is not one of"):
        edit_recording(sound, Edit.paralinguistic("hi [Sigh]"), **how)
