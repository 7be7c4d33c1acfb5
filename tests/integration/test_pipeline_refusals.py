"""Pipelines of the real classes at debug size: what they refuse, cut short and stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import pytest
import soundfile
import torch
from same_results import assert_same, same_tokens

import stepaudio
from stepaudio import Audio, Edit, EditPipeline, Parts, TTSPipeline
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.errors import (
    AudioError,
    CancelledError,
    CheckpointError,
    ConfigError,
    EditError,
    GenerationError,
    PromptError,
    SpecMismatchError,
)
from stepaudio.interfaces import Tokenizer
from stepaudio.synthesis import draw_codes
from stepaudio.testing import check_tokenizer
from stepaudio.types import SamplingParams, SpeechTokens, TokenizerSpec

TEXT = "see you tomorrow"


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


def test_lists_must_match(pipe: EditPipeline, sound: Audio) -> None:
    with pytest.raises(EditError, match="2 recordings need 2 values of edit, got 1"):
        pipe.edit([sound, sound], [Edit.denoise()])
    with pytest.raises(EditError, match="2 samples need 2 seeds, got 3"):
        pipe.edit([sound, sound], Edit.denoise(), seed=[1, 2, 3])
    with pytest.raises(EditError, match="edit must be Edit"):
        pipe.edit(sound, "happy")  # type: ignore[call-overload]
    with pytest.raises(EditError, match="whole number"):
        pipe.edit(sound, Edit.denoise(), seed="x")  # type: ignore[call-overload]


def test_foreign_voices_are_refused(
    pipe: EditPipeline, speaker: TTSPipeline, tmp_path: Path
) -> None:
    voice = pipe.voice_prompt(debug.speech())
    small = replace(voice, speaker=voice.speaker[:3])
    other = replace(voice, mel_spec=replace(debug.MEL, fmax=None))
    for wrong, message in ((small, "speaker embedding size"), (other, "mel front end")):
        with pytest.raises(SpecMismatchError, match=message):
            speaker.speak("hello", voice=wrong, policy="research")
        with pytest.raises(SpecMismatchError, match=message):
            pipe.resynthesize(debug.speech(), voice=wrong)
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        stepaudio.load_voice(tmp_path / "x.pt")
    pipe.parts.speaker.save_pretrained(tmp_path / "speaker")  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="not a voice"):
        stepaudio.load_voice(tmp_path / "speaker" / "model.safetensors")


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
    for wrong in (0.0, float("nan")):
        with pytest.raises(EditError, match="max_length_ratio"):
            pipe.edit(sound, Edit.denoise(), max_length_ratio=wrong)
    # Without a limit of its own there is that of the sampling, and of the context.
    endless, far = (
        pipe.edit(debug.speech(0.4), Edit.denoise(), seed=1, max_length_ratio=ratio)
        for ratio in (float("inf"), 1000.0)
    )
    assert_same(endless, far)


def test_too_long_recordings(pipe: EditPipeline, speaker: TTSPipeline, tmp_path: Path) -> None:
    long = debug.speech(20.0)
    with pytest.raises(
        PromptError, match=r"^the recording has 19\.\d s .* room for \d+\.\d s"
    ) as e:
        pipe.edit(long, Edit.denoise(), seed=1)
    allowed = float(str(e.value).split("room for ")[1].split(" s")[0])
    # Trimming leaves a quarter of a second of silence around the sound.
    fits = debug.speech(allowed - 0.4)
    assert pipe.edit(fits, Edit.denoise(), seed=1).tokens.num_units
    with pytest.raises(PromptError, match="the voice has 20"):
        speaker.speak("hello", voice=long, seed=1, policy="research")
    with pytest.raises(PromptError, match=r"^recording 1 has 19\.\d s"):
        pipe.edit([fits, long], Edit.denoise())
    path = long.save(tmp_path / "long.wav")
    for sources in (path, [fits, str(path)]):
        with pytest.raises(PromptError, match=r"^'.*long\.wav' has 19\.\d s"):
            pipe.edit(sources, Edit.denoise())
    with pytest.raises(PromptError, match=r"^the recording after pass 1 has \d+\.\d s"):
        pipe.edit(
            debug.speech(1.0),
            Edit.style("whisper", strength=2),
            text=TEXT,
            seed=1,
            sampling=SamplingParams(min_new_tokens=250, max_new_tokens=300),
            max_length_ratio=9.0,
        )


def test_an_early_cut_is_not_forgotten(pipe: EditPipeline, sound: Audio, monkeypatch) -> None:
    reasons = iter(["length", "end", "end"])

    def write(*args: object) -> object:
        return draw_codes(*args)[0], [next(reasons)]  # type: ignore[arg-type]

    monkeypatch.setattr("stepaudio.redraw.draw_codes", write)
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
        {"steps": 2.5},
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
    with pytest.raises(ConfigError, match="quantize is 'int3' but must be 'int8' or 'int4', or"):
        EditPipeline.from_pretrained(quantize="int3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="offload is True but must be 'stage', or None"):
        EditPipeline.from_pretrained(offload=True)  # type: ignore[arg-type]
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
    with pytest.raises(CheckpointError, match="unknown setting"):
        EditPipeline.from_pretrained(folder)
    rewrite(parts={**manifest["parts"], "vocoder": "step1"})
    with pytest.raises(CheckpointError):
        EditPipeline.from_pretrained(folder)


class Surplus(Tokenizer):
    """Gives one linguistic code more than fills the units."""

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner

    @property
    def spec(self) -> TokenizerSpec:
        return self.inner.spec

    def encode(self, audios: Sequence[Audio]) -> list[SpeechTokens]:
        return [
            SpeechTokens(torch.cat([t.linguistic, t.linguistic[-1:]]), t.semantic, t.spec)
            for t in self.inner.encode(audios)
        ]

    def codebooks(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        return self.inner.codebooks()


def test_surplus_codes_of_a_tokenizer_are_dropped(parts: Parts, sound: Audio) -> None:
    """Wherever codes are read: as a prompt, in disorder, to tell draws apart, as a voice."""
    tokenizer = Surplus(parts.tokenizer)
    check_tokenizer(tokenizer)
    defaults = replace(debug.DEFAULTS, draws=2, guidance_words=1.0)
    pipe = EditPipeline(parts, defaults=defaults)
    other = EditPipeline(replace(parts, tokenizer=tokenizer), defaults=defaults)
    assert same_tokens(other.tokenize(sound), pipe.tokenize(sound))
    edit = Edit.emotion("happy")
    assert_same(*(p.edit(sound, edit, text=TEXT, seed=1) for p in (other, pipe)))
    assert_same(*(p.resynthesize(sound, seed=1) for p in (other, pipe)))
