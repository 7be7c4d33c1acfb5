"""Pipelines of the real classes, end to end, at debug size: what they give."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from same_results import assert_same, same_tokens

import stepaudio
from stepaudio import Audio, Edit, EditPipeline, Parts, TTSPipeline
from stepaudio.cutting import WHOLE_SECONDS
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.errors import (
    CheckpointError,
    DeviceError,
    EditError,
    OutputExistsError,
    PromptError,
)
from stepaudio.noise import suppress_noise
from stepaudio.result import STAGES
from stepaudio.sound_places import sound_stretch
from stepaudio.tempo import change_tempo
from stepaudio.types import VoicePrompt
from stepaudio.voice import Timbre

TEXT = "see you tomorrow"
EDITS = [
    Edit.emotion("happy"),
    Edit.style("whisper"),
    Edit.speed("faster"),
    Edit.speed("slower", strength=2),
    Edit.paralinguistic("see you [Laughter] tomorrow"),
    Edit.denoise(),
    Edit.trim_silence(),
    Edit.remove("emotion"),
    Edit.remove("style"),
]


@pytest.fixture(scope="module")
def parts() -> Parts:
    return debug.debug_parts()


@pytest.fixture(scope="module")
def pipe(parts: Parts) -> EditPipeline:
    return EditPipeline(parts, defaults=debug.DEFAULTS)


@pytest.fixture(scope="module")
def speaker(parts: Parts) -> TTSPipeline:
    return TTSPipeline(parts, defaults=debug.DEFAULTS)


@pytest.fixture
def sound() -> Audio:
    return debug.speech()


@pytest.mark.parametrize("edit", EDITS, ids=lambda e: f"{e.kind} {e.published_label}".strip())
def test_every_edit(pipe: EditPipeline, sound: Audio, edit: Edit) -> None:
    result = pipe.edit(sound, edit, text=TEXT if edit.needs_text else "", seed=1)
    assert result.audio.sample_rate == debug.MEL.sample_rate
    assert len(result.audio) == result.tokens.num_units * 6 * debug.MEL.hop_length
    assert 10 <= 5 * result.tokens.num_units <= 40
    assert result.stop_reason in ("end", "length")
    assert result.edits == (edit,)
    assert result.text == (edit.text or (TEXT if edit.needs_text else ""))
    assert set(result.timings) == set(STAGES)
    assert result.seconds_spent > 0
    assert result.realtime_factor == result.seconds_spent / result.audio.seconds
    ratio = result.tokens.num_units / pipe.tokenize(sound).num_units
    assert result.length_ratio == ratio


def test_same_seed_same_samples(pipe: EditPipeline, sound: Audio) -> None:
    first = pipe.edit(sound, Edit.denoise(), seed=5)
    torch.rand(3)  # global randomness plays no part
    assert_same(first, pipe.edit(sound, Edit.denoise(), seed=5))
    other = pipe.edit(sound, Edit.denoise(), seed=6)
    assert not same_tokens(first.tokens, other.tokens)


def test_unseeded_runs_record_their_seed(pipe: EditPipeline, sound: Audio) -> None:
    first = pipe.edit(sound, Edit.denoise())
    assert_same(first, pipe.edit(sound, Edit.denoise(), seed=first.seed))
    assert pipe.edit(sound, Edit.denoise()).seed != first.seed
    drawn = [
        pipe.edit(sound, Edit.denoise(), generator=torch.Generator().manual_seed(4)).seed
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]


def test_global_randomness_is_untouched(pipe: EditPipeline, sound: Audio) -> None:
    before = torch.random.get_rng_state()
    pipe.edit(sound, Edit.denoise())
    assert torch.equal(before, torch.random.get_rng_state())


def test_batch_equals_singles(pipe: EditPipeline) -> None:
    sounds = [debug.speech(s, rate, i) for i, (s, rate) in enumerate([(1.2, 16000), (0.7, 44100)])]
    sounds.append(debug.speech(2.0, 24000, 2))
    edits = [Edit.emotion("sad"), Edit.denoise(), Edit.emotion("happy", strength=2)]
    texts, seeds = [TEXT, "", "hello there"], [1, 2, 3]
    batch = pipe.edit(sounds, edits, text=texts, seed=seeds)
    for sound, edit, text, seed, result in zip(sounds, edits, texts, seeds, batch, strict=True):
        single = pipe.edit(sound, edit, text=text, seed=seed)
        assert_same(result, single, atol=1e-4)
        assert result.edits == single.edits == (edit,)
    shared = pipe.edit(sounds, Edit.denoise(), seed=9)
    assert [result.seed for result in shared] == [9, 9, 9]
    assert pipe.edit([], Edit.denoise()) == []


def test_strength_is_iteration(pipe: EditPipeline, sound: Audio) -> None:
    strong = pipe.edit(sound, Edit.emotion("happy", strength=3), text=TEXT, seed=8)
    steps = list(pipe.iterate(sound, Edit.emotion("happy"), text=TEXT, n=3, seed=8))
    assert torch.equal(strong.audio.samples, steps[-1].audio.samples)
    assert strong.seed == 8
    entered = pipe.tokenize(sound).num_units
    assert strong.length_ratio == steps[-1].tokens.num_units / entered
    assert [len(step.edits) for step in steps] == [1, 2, 3]


def test_iterations_can_be_repeated_alone(pipe: EditPipeline, sound: Audio) -> None:
    first, second = pipe.iterate(sound, Edit.style("whisper"), text=TEXT, n=2, seed=8)
    again = pipe.edit(first.audio, Edit.style("whisper"), text=TEXT, seed=second.seed)
    assert_same(again, second)
    with pytest.raises(EditError, match="at least 1"):
        next(pipe.iterate(sound, Edit.denoise(), n=0))


def test_fixed_prompt_keeps_the_first_voice(pipe: EditPipeline, sound: Audio) -> None:
    edit = Edit.denoise()
    moving = list(pipe.iterate(sound, edit, n=2, seed=3))
    fixed = list(pipe.iterate(sound, edit, n=2, seed=3, fixed_prompt=True))
    torch.testing.assert_close(moving[0].audio.samples, fixed[0].audio.samples)
    assert same_tokens(moving[1].tokens, fixed[1].tokens)
    assert not torch.equal(moving[1].audio.samples, fixed[1].audio.samples)
    voice = pipe.voice_prompt(sound)
    alone = pipe.edit(fixed[0].audio, edit, seed=fixed[1].seed, voice=voice, policy="research")
    assert torch.equal(alone.audio.samples, fixed[1].audio.samples)


def test_the_text_of_inserted_sounds_moves_on(pipe: EditPipeline, sound: Audio) -> None:
    edit = Edit.paralinguistic("see [Sigh] you")
    results = list(pipe.iterate(sound, edit, text="see you", n=2, seed=1))
    assert [result.text for result in results] == [edit.text, edit.text]


def test_silence_can_be_cut_instead_of_written(parts: Parts) -> None:
    """Where a model wants it so: what is left is the recording, unmarked, at its own rate."""
    pipe = EditPipeline(parts, defaults=replace(debug.DEFAULTS, on_recording=("trim_silence",)))
    generator = torch.Generator().manual_seed(0)
    loud, quiet = (torch.randn(22050, generator=generator) * level for level in (0.2, 1e-4))
    slow = Audio(torch.cat([quiet, loud, quiet, loud]).clamp(-1, 1), 22050)
    plain, cut = pipe.edit(
        [slow, slow], [Edit.emotion("happy"), Edit.trim_silence()], text="hi", seed=3
    )
    assert cut.audio.sample_rate == 22050
    assert torch.equal(cut.audio.samples[-22050:], slow.samples[-22050:])
    assert 2.0 < cut.audio.seconds < 2.5
    units = [pipe.tokenize(audio).num_units for audio in (slow, cut.audio)]
    assert cut.length_ratio == units[1] / units[0] < 0.9
    assert (cut.watermark, cut.stop_reason, cut.edits) == (None, "end", (Edit.trim_silence(),))
    assert cut.provenance is not None
    # The others of a batch are written as they are alone.
    assert_same(plain, pipe.edit(slow, Edit.emotion("happy"), text="hi", seed=3))
    with pipe.stream(slow, Edit.trim_silence(), seed=3) as stream:
        assert torch.equal(next(stream).samples, cut.audio.samples)
    part = pipe.edit(slow, Edit.trim_silence(), span=(0.0, 2.4), seed=3)
    assert part.span is not None
    after = round(1.2 * 22050)
    assert torch.equal(part.audio.samples[-after:], slow.samples[-after:])
    assert part.audio.seconds < slow.seconds - 0.5


def test_long_recordings_can_be_written_in_parts(parts: Parts) -> None:
    """Each part as it is written alone, with its share of the words; spoken as one."""
    pipe = EditPipeline(parts, defaults=replace(debug.DEFAULTS, part_seconds=2.0))
    whole = EditPipeline(parts, defaults=debug.DEFAULTS)
    long, short, edit = debug.speech(5.0), debug.speech(1.5), Edit.speed("slower")
    result = pipe.edit(long, edit, text=TEXT, seed=4)
    assert not same_tokens(result.tokens, whole.edit(long, edit, text=TEXT, seed=4).tokens)
    # The limit of 40 ids, 8 units, holds for each of the parts.
    assert 8 < result.tokens.num_units <= 8 * 5
    assert result.length_ratio == result.tokens.num_units / pipe.tokenize(long).num_units
    assert_same(result, pipe.edit(long, edit, text=TEXT, seed=4))
    for one, other in zip(
        pipe.edit([long, short], edit, text=TEXT, seed=4),
        (result, whole.edit(short, edit, text=TEXT, seed=4)),
        strict=True,
    ):
        assert_same(one, other, atol=1e-4)
    # Nobody knows which of too few words belong to which part.
    assert_same(*(p.edit(long, edit, text="a", seed=4) for p in (pipe, whole)))
    with pytest.raises(ValueError, match="part_seconds is"):
        replace(debug.DEFAULTS, part_seconds=0.5)


def test_parts_make_recordings_of_any_length_editable(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the context of the language model and beyond what the decoder speaks at once."""
    pipe = EditPipeline(parts, defaults=replace(debug.DEFAULTS, part_seconds=4.0))
    whole = EditPipeline(parts, defaults=debug.DEFAULTS)
    long, words = debug.speech(34.0), "see you " * 20
    how = {
        "text": words,
        "seed": 4,
        "sampling": replace(debug.DEFAULTS.sampling, max_new_tokens=200, min_new_tokens=160),
    }
    with pytest.raises(PromptError, match="shorten it, or cut it into parts"):
        whole.edit(long, Edit.style("whisper"), **how)
    result = pipe.edit(long, Edit.style("whisper"), **how)
    assert result.tokens.seconds > WHOLE_SECONDS
    assert result.audio.seconds == pytest.approx(result.tokens.seconds, rel=0.01)
    assert_same(result, pipe.edit([long], Edit.style("whisper"), **how)[0])
    # Where the words cannot be shared out it stays what it was.
    with pytest.raises(PromptError, match="shorten it, or cut it into parts"):
        pipe.edit(long, Edit.style("whisper"), text="hi")
    monkeypatch.setattr("stepaudio.synthesis.LONGEST_SECONDS", 30.0)
    with pytest.raises(PromptError, match="at most 30 s are edited at once"):
        pipe.edit(long, Edit.style("whisper"), text=words)


def test_a_sound_can_be_put_into_a_stretch_of_a_recording(parts: Parts, sound: Audio) -> None:
    """As if that stretch had been asked for, and told as if nothing but the sound had been."""
    pipe = EditPipeline(parts, defaults=replace(debug.DEFAULTS, part_seconds=8.0))
    long = debug.speech(12.0)
    edit = Edit.paralinguistic("one two three four five six [Sigh] seven eight nine ten eleven")
    text = edit.text.replace("[Sigh] ", "")
    stretch = sound_stretch(long, text, edit.text)
    assert stretch is not None
    result = pipe.edit(long, edit, text=text, seed=4)
    inner = Edit.paralinguistic(stretch.tagged)
    asked = pipe.edit(long, inner, text=stretch.text, span=stretch.span, seed=4)
    assert_same(replace(result, text=stretch.tagged), asked)
    assert result.span == asked.span
    assert (result.text, result.edits) == (edit.text, (edit,))
    assert result.span is not None
    before = round(result.span[0] * long.sample_rate)
    after = len(result.audio) - round(result.span[1] * long.sample_rate)
    assert torch.equal(result.audio.samples[:before], long.samples[:before])
    assert torch.equal(result.audio.samples[-after:], long.samples[-after:])
    # The next iteration looks for its own stretch; a batch has both kinds.
    first, second = pipe.iterate(long, edit, text=text, n=2, seed=4)
    assert_same(first, result)
    assert second.span is not None
    for one, other in zip(
        pipe.edit(
            [long, sound], [edit, Edit.paralinguistic("hi [Sigh]")], text=[text, "hi"], seed=4
        ),
        (result, pipe.edit(sound, Edit.paralinguistic("hi [Sigh]"), text="hi", seed=4)),
        strict=True,
    ):
        assert_same(one, other, atol=1e-4)
    # As a whole it would not even fit.
    with pytest.raises(PromptError, match="shorten it"):
        EditPipeline(parts, defaults=debug.DEFAULTS).edit(long, edit, text=text)


def test_the_tempo_of_the_recording_itself_can_be_changed(parts: Parts, sound: Audio) -> None:
    lengths = {"faster": 0.75, "slower": 1.25, "more faster": 0.5, "more slower": 1.5}
    defaults = replace(debug.DEFAULTS, on_recording=("speed",), speeds=lengths)
    pipe = EditPipeline(parts, defaults=defaults)
    for label, length in lengths.items():
        result = pipe.edit(sound, Edit.speed(label), text="hi", seed=1)
        assert torch.equal(result.audio.samples, change_tempo(sound, 1 / length).samples)
        assert (result.watermark, result.text) == (None, "hi")
    with pytest.raises(ValueError, match="more slower"):
        replace(defaults, speeds={"faster": 0.75, "slower": 1.25, "more faster": 0.5})


def test_noise_can_be_taken_from_the_recording_itself(parts: Parts, sound: Audio) -> None:
    pipe = EditPipeline(parts, defaults=replace(debug.DEFAULTS, on_recording=("denoise",)))
    cleaner = pipe.edit(sound, Edit.denoise(), seed=1)
    assert torch.equal(cleaner.audio.samples, suppress_noise(sound).samples)
    assert cleaner.watermark is None
    # Trimming is still written.
    assert pipe.edit(sound, Edit.trim_silence(), seed=1).watermark is not None
    # Another voice speaks what comes out; an iteration needs none to stay the same speaker.
    voice = pipe.voice_prompt(sound)
    spoken = pipe.edit(sound, Edit.denoise(), voice=voice, policy="research", seed=1)
    assert spoken.watermark is not None
    assert same_tokens(spoken.tokens, cleaner.tokens)
    assert not torch.equal(spoken.audio.samples[:1000], cleaner.audio.samples[:1000])
    (again,) = pipe.iterate(sound, Edit.denoise(), n=1, fixed_prompt=True, seed=1)
    assert torch.equal(again.audio.samples, cleaner.audio.samples)
    with pytest.raises(ValueError, match="can be done on the recording itself"):
        replace(debug.DEFAULTS, on_recording=("paralinguistic",))


def test_a_label_may_ask_for_another_timbre(
    pipe: EditPipeline, parts: Parts, sound: Audio, tmp_path: Path
) -> None:
    """The codes are the same, the voice they are spoken in is not."""
    child = Edit.style("child")
    short = EditPipeline(parts, defaults=replace(debug.DEFAULTS, timbres={"child": Timbre(1.3)}))
    before, after = (p.edit(sound, child, text="hi", seed=5) for p in (pipe, short))
    assert same_tokens(before.tokens, after.tokens)
    assert not torch.equal(before.audio.samples, after.audio.samples)
    happy = Edit.emotion("happy")
    assert_same(*(p.edit(sound, happy, text="hi", seed=5) for p in (pipe, short)))
    kept = EditPipeline.from_pretrained(short.save_pretrained(tmp_path / "short"))
    assert kept.defaults == short.defaults


def test_resynthesis(pipe: EditPipeline, sound: Audio) -> None:
    result = pipe.resynthesize(sound, seed=2)
    assert same_tokens(result.tokens, pipe.tokenize(sound))
    assert result.audio.seconds == pytest.approx(result.tokens.seconds)
    assert (result.edits, result.stop_reason, result.length_ratio) == ((), "end", 1.0)
    assert result.timings["generate"] == 0
    assert_same(result, pipe.resynthesize(sound, seed=2))
    voice = pipe.voice_prompt(debug.speech(seed=4))
    other = pipe.resynthesize(sound, seed=2, voice=voice, policy="research")
    assert not torch.equal(result.audio.samples, other.audio.samples)


def test_steps_and_guidance_reach_the_decoder(pipe: EditPipeline, sound: Audio) -> None:
    plain = pipe.resynthesize(sound, seed=2).audio.samples
    assert not torch.equal(plain, pipe.resynthesize(sound, seed=2, steps=4).audio.samples)
    assert not torch.equal(plain, pipe.resynthesize(sound, seed=2, guidance=0.0).audio.samples)
    default = EditPipeline(pipe.parts, defaults=replace(debug.DEFAULTS, steps=4))
    assert torch.equal(
        default.resynthesize(sound, seed=2).audio.samples,
        pipe.resynthesize(sound, seed=2, steps=4).audio.samples,
    )


def test_voices_are_reusable(pipe: EditPipeline, speaker: TTSPipeline, tmp_path: Path) -> None:
    sound = debug.speech(seed=3)
    voice = pipe.voice_prompt(sound, TEXT)
    path = stepaudio.save_voice(voice, tmp_path / "voice.safetensors")
    loaded = stepaudio.load_voice(path)
    assert (loaded.transcript, loaded.mel_spec) == (TEXT, debug.MEL)
    assert torch.equal(loaded.mel, voice.mel)
    spoken = speaker.speak("hello there", voice=loaded, seed=1, policy="research")
    again = speaker.speak("hello there", voice=sound, voice_text=TEXT, seed=1, policy="research")
    assert_same(spoken, again)
    given = pipe.edit(sound, Edit.denoise(), seed=1, voice=voice, policy="research")
    assert torch.equal(given.audio.samples, pipe.edit(sound, Edit.denoise(), seed=1).audio.samples)
    with pytest.raises(OutputExistsError):
        stepaudio.save_voice(voice, path)
    stepaudio.save_voice(voice, path, force=True)


def test_voice_is_made_as_published(pipe: EditPipeline) -> None:
    """Peak limit, then the mel of the untrimmed recording at the decoder's rate."""
    quiet = torch.zeros(8000)
    loud = Audio(torch.cat([quiet, 3 * debug.speech().samples.clamp(-0.3, 0.3), quiet]), 16000)
    half = Audio(loud.samples / 1.5, 16000)
    voice, limited = pipe.voice_prompt(loud), pipe.voice_prompt(half)
    torch.testing.assert_close(voice.mel, limited.mel)
    assert voice.mel.shape[1] == len(loud) * 24000 // 16000 // debug.MEL.hop_length
    assert voice.tokens.seconds < loud.seconds - 0.4


def test_speech(speaker: TTSPipeline) -> None:
    voice = speaker.voice_prompt(debug.speech(), TEXT)
    say = partial(speaker.speak, voice=voice, policy="research")
    result = say("[Sichuanese] hello there", seed=1)
    assert (result.text, result.edits) == ("[Sichuanese] hello there", ())
    assert result.length_ratio is None
    texts = ["hello there", "well", "how are you"]
    batch = say(texts, seed=[4, 5, 6])
    for text, seed, one in zip(texts, (4, 5, 6), batch, strict=True):
        assert_same(one, say(text, seed=seed), atol=1e-4)
    assert say([]) == []
    with pytest.raises(PromptError, match="no text"):
        say(" ")


def test_save_and_load(pipe: EditPipeline, sound: Audio, tmp_path: Path) -> None:
    folder = pipe.save_pretrained(tmp_path / "model")
    manifest = json.loads((folder / "pipeline.json").read_text())
    assert manifest["format"] == 1
    assert manifest["parts"]["vocoder"] == "istft"
    again = EditPipeline.from_pretrained(folder, device="cpu", dtype="float32")
    assert again.defaults == pipe.defaults
    edit = Edit.emotion("happy")
    assert_same(
        again.edit(sound, edit, text=TEXT, seed=3), pipe.edit(sound, edit, text=TEXT, seed=3)
    )
    with pytest.raises(OutputExistsError):
        pipe.save_pretrained(folder)
    pipe.save_pretrained(folder, force=True)
    speaking = TTSPipeline.from_pretrained(str(folder))
    assert speaking.parts.lm.spec == pipe.parts.lm.spec


@pytest.mark.parametrize("kind", ["griffin_lim", "hift"])
def test_other_vocoders(kind: str, sound: Audio, tmp_path: Path) -> None:
    pipe = EditPipeline(debug.debug_parts(vocoder=debug.vocoder(kind)))
    again = EditPipeline.from_pretrained(pipe.save_pretrained(tmp_path / "model"), device="cpu")
    assert type(again.parts.vocoder) is type(pipe.parts.vocoder)
    assert_same(again.resynthesize(sound, seed=3), pipe.resynthesize(sound, seed=3))


def test_swapping_a_vocoder(pipe: EditPipeline, sound: Audio, tmp_path: Path) -> None:
    class Mine(GriffinLim):
        """Somebody else's vocoder."""

    folder = pipe.save_pretrained(tmp_path / "model")
    (folder / "vocoder" / "model.safetensors").unlink()  # not even looked at
    mine = Mine(debug.MEL, iterations=1)
    swapped = EditPipeline.from_pretrained(folder, vocoder=mine)
    assert swapped.parts.vocoder is mine
    assert swapped.resynthesize(sound, seed=1).audio.sample_rate == 24000
    with pytest.raises(CheckpointError, match="the vocoder is a Mine"):
        swapped.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_device_and_dtype(pipe: EditPipeline, sound: Audio, tmp_path: Path) -> None:
    folder = pipe.save_pretrained(tmp_path / "model")
    half = EditPipeline.from_pretrained(folder, device=torch.device("cpu"), dtype="bfloat16")
    assert next(half.parts.lm.parameters()).dtype == torch.bfloat16  # type: ignore[attr-defined]
    assert next(half.parts.flow.parameters()).dtype == torch.float32  # type: ignore[attr-defined]
    assert half.edit(sound, Edit.denoise(), seed=1).tokens.num_units
    with pytest.raises(ValueError, match="float8"):
        EditPipeline.from_pretrained(folder, dtype="float8")
    with pytest.raises(DeviceError, match="flow_dtype 'float16'"):
        EditPipeline.from_pretrained(folder, flow_dtype="float16")


def test_the_flow_in_bfloat16(pipe: EditPipeline, sound: Audio, tmp_path: Path) -> None:
    folder = pipe.save_pretrained(tmp_path / "model")
    wanted, plain, fast = (
        EditPipeline.from_pretrained(folder, device="cpu", **how).resynthesize(sound, seed=1).audio
        for how in ({}, {"flow_dtype": "float32"}, {"flow_dtype": "bfloat16"})
    )
    assert torch.equal(wanted.samples, plain.samples)
    assert not torch.equal(wanted.samples, fast.samples)


def test_weights_are_never_modified(pipe: EditPipeline, sound: Audio) -> None:
    modules = [part for part in vars(pipe.parts).values() if isinstance(part, torch.nn.Module)]
    pipe.parts.speaker.train()  # type: ignore[attr-defined]
    fresh = EditPipeline(pipe.parts, defaults=debug.DEFAULTS)
    assert not any(module.training for module in modules)
    before = [{k: v.clone() for k, v in module.state_dict().items()} for module in modules]
    result = fresh.edit(sound, Edit.denoise(), seed=1)
    assert not result.audio.samples.requires_grad
    assert not result.audio.samples.is_inference()
    for module, state in zip(modules, before, strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name]), name


def test_progress(pipe: EditPipeline, sound: Audio) -> None:
    calls: list[tuple[str, int, int]] = []
    pipe.edit(sound, Edit.denoise(), seed=1, progress=lambda *call: calls.append(call))
    assert list(dict.fromkeys(stage for stage, _, _ in calls)) == list(STAGES)
    for stage in STAGES:
        done = [(count, total) for name, count, total in calls if name == stage]
        assert done[0][0] == 0
        assert done[-1][0] == done[-1][1]
        assert done == sorted(done)
    assert sum(stage == "generate" for stage, _, _ in calls) > 10


def test_the_embedded_model_is_the_default(
    pipe: EditPipeline, tmp_path: Path, monkeypatch, sound: Audio
) -> None:
    monkeypatch.setattr("stepaudio.locate.EMBEDDED", pipe.save_pretrained(tmp_path / "nano"))
    again = EditPipeline.from_pretrained()
    assert_same(again.resynthesize(sound, seed=1), pipe.resynthesize(sound, seed=1))


def test_public_names() -> None:
    for name in stepaudio.__all__:
        assert getattr(stepaudio, name) is not None
    assert set(stepaudio.__all__) <= set(dir(stepaudio))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = stepaudio.nothing
    assert VoicePrompt is stepaudio.VoicePrompt


def test_import_is_quick() -> None:
    code = "import stepaudio, sys; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
