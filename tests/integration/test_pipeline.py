"""Pipelines of the real classes, end to end, at debug size."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest
import soundfile
import torch

import stepaudio
from stepaudio import Audio, Edit, EditPipeline, EditResult, Parts, TTSPipeline
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.errors import (
    AudioError,
    CancelledError,
    CheckpointError,
    EditError,
    GenerationError,
    OutputExistsError,
    PromptError,
    SpecMismatchError,
)
from stepaudio.result import STAGES
from stepaudio.synthesis import write_codes
from stepaudio.types import SamplingParams, SpeechTokens, VoicePrompt

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


def same_tokens(one: SpeechTokens, other: SpeechTokens) -> bool:
    return torch.equal(one.linguistic, other.linguistic) and torch.equal(
        one.semantic, other.semantic
    )


def assert_same(one: EditResult, other: EditResult, *, atol: float = 0.0) -> None:
    assert same_tokens(one.tokens, other.tokens)
    assert one.stop_reason == other.stop_reason
    assert one.seed == other.seed
    assert one.length_ratio == other.length_ratio
    assert one.text == other.text
    assert one.audio.sample_rate == other.audio.sample_rate
    torch.testing.assert_close(one.audio.samples, other.audio.samples, atol=atol, rtol=0)


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


def test_lists_must_match(pipe: EditPipeline, sound: Audio) -> None:
    with pytest.raises(EditError, match="2 recordings need 2 values of edit, got 1"):
        pipe.edit([sound, sound], [Edit.denoise()])
    with pytest.raises(EditError, match="2 samples need 2 seeds, got 3"):
        pipe.edit([sound, sound], Edit.denoise(), seed=[1, 2, 3])
    with pytest.raises(EditError, match="edit must be Edit"):
        pipe.edit(sound, "happy")  # type: ignore[call-overload]
    with pytest.raises(EditError, match="whole number"):
        pipe.edit(sound, Edit.denoise(), seed="x")  # type: ignore[call-overload]


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
    alone = pipe.edit(fixed[0].audio, edit, seed=fixed[1].seed, voice=voice)
    assert torch.equal(alone.audio.samples, fixed[1].audio.samples)


def test_the_text_of_inserted_sounds_moves_on(pipe: EditPipeline, sound: Audio) -> None:
    edit = Edit.paralinguistic("see [Sigh] you")
    results = list(pipe.iterate(sound, edit, text="see you", n=2, seed=1))
    assert [result.text for result in results] == [edit.text, edit.text]


def test_resynthesis(pipe: EditPipeline, sound: Audio) -> None:
    result = pipe.resynthesize(sound, seed=2)
    assert same_tokens(result.tokens, pipe.tokenize(sound))
    assert result.audio.seconds == pytest.approx(result.tokens.seconds)
    assert (result.edits, result.stop_reason, result.length_ratio) == ((), "end", 1.0)
    assert result.timings["generate"] == 0
    assert_same(result, pipe.resynthesize(sound, seed=2))
    voice = pipe.voice_prompt(debug.speech(seed=4))
    assert not torch.equal(
        result.audio.samples, pipe.resynthesize(sound, seed=2, voice=voice).audio.samples
    )


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
    spoken = speaker.speak("hello there", voice=loaded, seed=1)
    assert_same(spoken, speaker.speak("hello there", voice=sound, voice_text=TEXT, seed=1))
    assert pipe.edit(sound, Edit.denoise(), seed=1, voice=voice).audio.samples.equal(
        pipe.edit(sound, Edit.denoise(), seed=1).audio.samples
    )
    with pytest.raises(OutputExistsError):
        stepaudio.save_voice(voice, path)
    stepaudio.save_voice(voice, path, force=True)


def test_foreign_voices_are_refused(
    pipe: EditPipeline, speaker: TTSPipeline, tmp_path: Path
) -> None:
    voice = pipe.voice_prompt(debug.speech())
    small = replace(voice, speaker=voice.speaker[:3])
    other = replace(voice, mel_spec=replace(debug.MEL, fmax=None))
    for wrong, message in ((small, "speaker embedding size"), (other, "mel front end")):
        with pytest.raises(SpecMismatchError, match=message):
            speaker.speak("hello", voice=wrong)
        with pytest.raises(SpecMismatchError, match=message):
            pipe.resynthesize(debug.speech(), voice=wrong)
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        stepaudio.load_voice(tmp_path / "x.pt")
    pipe.parts.speaker.save_pretrained(tmp_path / "speaker")  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="not a voice"):
        stepaudio.load_voice(tmp_path / "speaker" / "model.safetensors")


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
    result = speaker.speak("[Sichuanese] hello there", voice=voice, seed=1)
    assert (result.text, result.edits) == ("[Sichuanese] hello there", ())
    assert result.length_ratio is None
    texts = ["hello there", "well", "how are you"]
    batch = speaker.speak(texts, voice=voice, seed=[4, 5, 6])
    for text, seed, one in zip(texts, (4, 5, 6), batch, strict=True):
        assert_same(one, speaker.speak(text, voice=voice, seed=seed), atol=1e-4)
    assert speaker.speak([], voice=voice) == []
    with pytest.raises(PromptError, match="no text"):
        speaker.speak(" ", voice=voice)


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


def test_mismatched_parts() -> None:
    parts = debug.debug_parts()

    def refused(message: str, **chosen: object) -> None:
        with pytest.raises(SpecMismatchError, match=message) as caught:
            EditPipeline(replace(parts, **chosen))  # type: ignore[arg-type]
        assert ". " not in str(caught.value)

    refused(
        "writes mel with fmax 8000.0 but the vocoder reads fmax 12000.0; use a vocoder",
        vocoder=debug.vocoder(mel=replace(debug.MEL, fmax=None)),
    )
    refused(
        "n_fft 1920, hop_length 480, .* reads n_fft 1024, hop_length 256",
        vocoder=GriffinLim(replace(debug.MEL, n_fft=1024, hop_length=256, win_length=1024)),
    )
    other = debug.TokenSpec(12, 24)
    codes = replace(parts.flow.config, tokens=other)  # type: ignore[attr-defined]
    refused(
        "tokenizer writes 12 linguistic and 20 semantic codes but the flow decoder reads "
        "12 linguistic and 24 semantic codes; use",
        flow=debug.TokenFlowDecoder(codes),
    )
    config = parts.lm.config  # type: ignore[attr-defined]
    refused(
        "but the language model reads 11",
        lm=debug.Step1LM(replace(config, linguistic_size=11)),
    )
    refused(
        "text tokenizer has .* ids but the language model has",
        lm=debug.Step1LM(replace(config, vocab_size=config.vocab_size + 1)),
    )
    refused(
        "<audio_0> is .* in the text tokenizer but .* in the language model",
        lm=debug.Step1LM(replace(config, audio_offset=config.audio_offset - 1)),
    )
    refused("ends with 2; use the text tokenizer", lm=debug.Step1LM(replace(config, end_ids=(2,))))
    wide = replace(debug.CAMPPlusConfig.debug(), embedding_dim=20)
    refused("speaker encoder gives 20 values .* reads 16", speaker=debug.CAMPPlus(wide))
    refused("the vocoder must be a stepaudio.interfaces.Vocoder, not a Step1LM", vocoder=parts.lm)


def test_no_upper_limit_is_half_the_rate(parts: Parts) -> None:
    flow = debug.TokenFlowDecoder(
        replace(parts.flow.config, mel=replace(debug.MEL, fmax=None))  # type: ignore[attr-defined]
    )
    mel = replace(debug.MEL, fmax=12000.0)
    EditPipeline(replace(parts, flow=flow, vocoder=GriffinLim(mel)))


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


@pytest.mark.parametrize("after", [0, 1, 2, 8])
def test_cancelling(pipe: EditPipeline, sound: Audio, after: int) -> None:
    asked = 0

    def cancel() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(CancelledError):
        pipe.edit(sound, Edit.denoise(), seed=1, cancel=cancel)
    assert asked == after + 1


def test_length_guard(pipe: EditPipeline) -> None:
    long = SamplingParams(min_new_tokens=10_000, max_new_tokens=10_000)
    sound = debug.speech(4.0)
    entered = pipe.tokenize(sound)
    result = pipe.edit(sound, Edit.denoise(), seed=1, sampling=long, max_length_ratio=1.25)
    assert (result.stop_reason, result.complete) == ("length", False)
    assert result.length_ratio == pytest.approx(1.25, abs=1 / entered.num_units)
    short = pipe.edit(debug.speech(0.4), Edit.denoise(), seed=1, sampling=long)
    assert short.tokens.seconds == pytest.approx(3.0)
    sounds = [sound, debug.speech(0.4)]
    both = pipe.edit(sounds, Edit.denoise(), seed=1, sampling=long, max_length_ratio=1.25)
    assert_same(both[0], result, atol=1e-4)
    assert both[1].tokens.seconds == pytest.approx(3.0)
    with pytest.raises(EditError, match="max_length_ratio"):
        pipe.edit(sound, Edit.denoise(), max_length_ratio=0.0)


def test_too_long_recordings(pipe: EditPipeline, speaker: TTSPipeline) -> None:
    with pytest.raises(PromptError, match=r"recording 0 has 20\.\d s .* room for (\d+\.\d) s") as e:
        pipe.edit(debug.speech(20.0), Edit.denoise(), seed=1)
    allowed = float(str(e.value).split("room for ")[1].split(" s")[0])
    # Trimming leaves a quarter of a second of silence around the sound.
    fits = debug.speech(allowed - 0.4)
    assert pipe.edit(fits, Edit.denoise(), seed=1).tokens.num_units
    with pytest.raises(PromptError, match="the voice has 20"):
        speaker.speak("hello", voice=debug.speech(20.0), seed=1)


def test_an_early_cut_is_not_forgotten(pipe: EditPipeline, sound: Audio, monkeypatch) -> None:
    reasons = iter(["length", "end", "end"])

    def write(*args: object) -> object:
        return write_codes(*args)[0], [next(reasons)]  # type: ignore[arg-type]

    monkeypatch.setattr("stepaudio.pipeline.write_codes", write)
    assert not pipe.edit(sound, Edit.emotion("sad", strength=2), text=TEXT, seed=1).complete
    assert pipe.edit(sound, Edit.denoise(), seed=1).complete


@pytest.mark.parametrize("trim", [True, False])
def test_the_shortest_recordings(parts: Parts, trim: bool) -> None:
    tokenizer = debug.DualCodebookTokenizer(
        replace(parts.tokenizer.config, trim=trim)  # type: ignore[attr-defined]
    )
    tokenizer.load_state_dict(parts.tokenizer.state_dict())  # type: ignore[attr-defined]
    pipe = EditPipeline(replace(parts, tokenizer=tokenizer), defaults=debug.DEFAULTS)
    tiny, enough = debug.speech(0.005), debug.speech(0.12, 8000)
    for refused in (
        lambda: pipe.edit(tiny, Edit.denoise()),
        lambda: pipe.edit([enough, tiny], Edit.denoise()),
        lambda: next(pipe.iterate(tiny, Edit.denoise(), fixed_prompt=True)),
        lambda: pipe.resynthesize(tiny),
        lambda: pipe.voice_prompt(tiny),
    ):
        with pytest.raises(AudioError, match=r"lasts 0\.005 s.* at least 0\.12 s of sound"):
            refused()
    assert pipe.edit(enough, Edit.denoise(), seed=1).tokens.num_units
    assert pipe.resynthesize(enough, seed=1).tokens.num_units


def test_awkward_recordings(pipe: EditPipeline, tmp_path: Path) -> None:
    sound = debug.speech(1.0, 8000)
    stereo = torch.stack([sound.samples, sound.samples * 0.5], dim=1).numpy()
    soundfile.write(tmp_path / "stereo.wav", stereo, 8000)
    mixed = Audio(torch.from_numpy(stereo).mean(dim=1), 8000)
    from_file = pipe.edit(tmp_path / "stereo.wav", Edit.denoise(), seed=1)
    assert from_file.tokens.num_units
    twin = pipe.edit(Audio.load(stereo, sample_rate=8000), Edit.denoise(), seed=1)
    assert_same(twin, pipe.edit(mixed, Edit.denoise(), seed=1))
    samples = sound.samples.clone()
    samples[5] = float("nan")
    with pytest.raises(AudioError, match="1 of 8000 samples are NaN"):
        pipe.edit(Audio.load(samples, sample_rate=8000), Edit.denoise())
    with pytest.raises(AudioError, match=r"Audio\.load\(array, sample_rate="):
        pipe.edit(stereo, Edit.denoise())
    with pytest.raises(PromptError, match=r"lasts 61\.0 s, but the decoder has room for 60 s"):
        pipe.resynthesize(debug.speech(61.0))
    with pytest.raises(PromptError, match=r"recording 0 has \d+\.\d s of speech"):
        pipe.edit(debug.speech(600.0), Edit.denoise())


def test_cancelling_iterations(pipe: EditPipeline, sound: Audio) -> None:
    stopped = False
    steps = pipe.iterate(sound, Edit.denoise(), n=3, seed=1, cancel=lambda: stopped)
    assert next(steps).tokens.num_units
    stopped = True
    with pytest.raises(CancelledError):
        next(steps)


def test_bad_requests(pipe: EditPipeline, sound: Audio, tmp_path: Path) -> None:
    with pytest.raises(EditError, match="needs text"):
        pipe.edit(tmp_path / "never looked for.wav", Edit.emotion("happy"))
    with pytest.raises(AudioError, match="does not exist"):
        pipe.edit(tmp_path / "missing.wav", Edit.denoise())
    silent = Audio(torch.zeros(16000), 16000)
    for call in (
        lambda: pipe.edit(silent, Edit.denoise()),
        lambda: pipe.resynthesize(silent),
        lambda: pipe.voice_prompt(silent),
    ):
        with pytest.raises(AudioError, match="silent"):
            call()
    for settings in (
        {"steps": 0},
        {"guidance": float("nan")},
        {"guidance": -1.0},
        {"sampling": SamplingParams(temperature=-1)},
    ):
        with pytest.raises(EditError, match="but must be"):
            pipe.edit(sound, Edit.denoise(), **settings)  # type: ignore[call-overload]
    with pytest.raises(PromptError, match="meaning of its own"):
        pipe.edit(sound, Edit.emotion("happy"), text="see <|EOT|> you")


def test_nothing_generated(parts: Parts, sound: Audio) -> None:
    silent = debug.debug_parts().lm
    with torch.no_grad():
        # Of equal scores the first allowed id wins, and that is the end.
        silent.lm_head.weight.zero_()  # type: ignore[attr-defined]
    pipe = EditPipeline(replace(parts, lm=silent))
    with pytest.raises(GenerationError, match="sample 0: the language model ended after"):
        pipe.edit(sound, Edit.denoise(), seed=1, sampling=SamplingParams(temperature=0))
    free = SamplingParams(constrain=False, min_new_tokens=60)
    with pytest.raises(GenerationError, match="constrain=True"):
        pipe.edit(sound, Edit.denoise(), seed=1, sampling=free)


def test_loading_errors(pipe: EditPipeline, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("stepaudio.locate.EMBEDDED", tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="no embedded model"):
        EditPipeline.from_pretrained()
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        EditPipeline.from_pretrained("no/such/place")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"neither pipeline\.json nor the published layout"):
        EditPipeline.from_pretrained(tmp_path / "empty")
    folder = pipe.save_pretrained(tmp_path / "model")
    manifest = json.loads((folder / "pipeline.json").read_text())

    def rewrite(**changes: object) -> None:
        (folder / "pipeline.json").write_text(json.dumps({**manifest, **changes}))

    rewrite(parts={**manifest["parts"], "vocoder": "os.system"})
    with pytest.raises(CheckpointError, match=r"'os.system' for the vocoder; known kinds are dual"):
        EditPipeline.from_pretrained(folder)
    rewrite(format=2)
    with pytest.raises(CheckpointError, match="format 2"):
        EditPipeline.from_pretrained(folder)
    rewrite(defaults={"speed": 2})
    with pytest.raises(CheckpointError, match="unknown settings"):
        EditPipeline.from_pretrained(folder)
    rewrite(parts={**manifest["parts"], "vocoder": "step1"})
    with pytest.raises(CheckpointError):
        EditPipeline.from_pretrained(folder)


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
