"""Another manner of speaking, on voices of which everything is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_voices import FORMANTS, swinging, vowel

from stepaudio.audio import Audio
from stepaudio.evaluation.envelope import formant_shift, long_term_envelope
from stepaudio.evaluation.frames import frame_levels, signal
from stepaudio.manner import COLOUR_HZ, Manner, change_manner
from stepaudio.pitch_track import track_pitch

NONE = (0.0,) * len(COLOUR_HZ)
EVERYTHING = Manner(4.0, 1.5, 0.9, 1.1, (-6.0, -3.0, 0.0, 3.0, 0.0, -3.0, 6.0), 0.3, 0.05, 2.0)


def semitones(audio: Audio) -> np.ndarray:
    """Above 1 Hz, of the frames away from the edges that have a pitch."""
    pitch = track_pitch(audio)[10:-10]
    voiced = pitch.isfinite()
    assert voiced.float().mean() > 0.9
    return 12 * pitch[voiced].log2().double().numpy()


def median_hz(audio: Audio) -> float:
    return float(2 ** (np.median(semitones(audio)) / 12))


def formants_moved(before: Audio, after: Audio) -> float:
    envelopes = []
    for audio in (before, after):
        samples = signal(audio)
        envelopes.append(long_term_envelope(samples, np.ones(len(samples) // 160 + 1, bool)))
    moved = formant_shift(*envelopes)
    assert moved is not None
    return moved


def rms_db(samples: torch.Tensor) -> float:
    return 10 * math.log10(float(samples.double().square().mean()) + 1e-20)


def band_db(audio: Audio, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(audio.samples.double().numpy() * np.hanning(len(audio)))) ** 2
    hertz = np.fft.rfftfreq(len(audio), 1 / audio.sample_rate)
    return 10 * math.log10(power[(hertz > low) & (hertz < high)].sum())


def syllables(seconds: float = 2.0) -> Audio:
    """A vowel that comes and goes, with silence between."""
    sound = vowel(140.0, seconds)
    time = torch.arange(len(sound)) / 16000
    return Audio(sound.samples * torch.sin(2 * math.pi * 1.5 * time).clamp(min=0), 16000)


@pytest.mark.parametrize("hz", [100.0, 150.0, 220.0])
@pytest.mark.parametrize("pitch", [-5.0, -2.0, 3.0, 7.0])
def test_the_pitch_moves_and_the_formants_stay(hz: float, pitch: float) -> None:
    before = vowel(hz)
    after = change_manner(before, Manner(pitch))
    assert median_hz(after) == pytest.approx(hz * 2 ** (pitch / 12), rel=0.005)
    assert formants_moved(before, after) == pytest.approx(1.0, abs=0.025)


def test_a_melody_moves_as_a_whole() -> None:
    before = swinging(150.0, 3.0)
    after = change_manner(before, Manner(4.0))
    assert np.abs(semitones(after) - semitones(before) - 4.0).max() < 0.5
    assert formants_moved(before, after) == pytest.approx(1.0, abs=0.025)


@pytest.mark.parametrize("factor", [0.85, 1.1, 1.16])
def test_the_formants_move_and_the_pitch_stays(factor: float) -> None:
    """They are where those of a voice are that has them there from the beginning."""
    before = vowel(130.0)
    after = change_manner(before, Manner(formants=factor))
    wanted = vowel(130.0, formants=[factor * hertz for hertz in FORMANTS])
    assert formants_moved(wanted, after) == pytest.approx(1.0, abs=0.015)
    assert abs(math.log(formants_moved(before, after))) > 0.5 * abs(math.log(factor))
    assert median_hz(after) == pytest.approx(130.0, rel=0.005)


@pytest.mark.parametrize("hz", [110.0, 150.0, 200.0])
@pytest.mark.parametrize("melody", [0.0, 0.5, 1.5, 2.0])
def test_the_melody_is_stretched_around_its_median(hz: float, melody: float) -> None:
    before = swinging(hz, 2.0)
    after = change_manner(before, Manner(melody=melody))
    # A frame or two of a tracker may be an octave away.
    spread = [float(np.diff(np.percentile(semitones(x), (10, 90)))[0]) for x in (before, after)]
    assert spread[1] == pytest.approx(melody * spread[0], abs=0.2)
    assert median_hz(after) == pytest.approx(hz, rel=0.015)


@pytest.mark.parametrize("rate", [0.25, 0.7, 1.3, 4.0])
def test_the_rate_changes_the_length_and_not_the_pitch(rate: float) -> None:
    before = vowel(150.0, 2.0)
    after = change_manner(before, Manner(rate=rate))
    assert len(after) == round(len(before) / rate)
    assert median_hz(after) == pytest.approx(150.0, rel=0.005)
    assert formants_moved(before, after) == pytest.approx(1.0, abs=0.02)


def test_what_is_spoken_faster_is_spoken_sooner() -> None:
    before = syllables()
    after = change_manner(before, Manner(rate=1.25))
    levels = [frame_levels(signal(audio)) for audio in (before, after)]
    places = np.arange(len(levels[1])) * 1.25
    expected = np.interp(places, np.arange(len(levels[0])), levels[0])
    loud = expected > expected.max() - 20
    assert np.abs(levels[1] - expected)[loud].mean() < 1.5


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_colour_raises_its_band_over_the_others(number: int) -> None:
    before, gains = vowel(125.0), [0.0] * len(COLOUR_HZ)
    gains[number] = 9.0
    after = change_manner(before, Manner(colour=tuple(gains)))
    raised = [
        band_db(after, hertz / 1.1, hertz * 1.1) - band_db(before, hertz / 1.1, hertz * 1.1)
        for hertz in (250.0, 500.0, 1000.0, 2000.0, 4000.0)
    ]
    own = raised.pop(number - 1)
    assert own - np.array(raised) == pytest.approx(9.0, abs=1.5)
    assert rms_db(after.samples) == pytest.approx(rms_db(before.samples), abs=0.1)


def test_a_whisper_has_no_voice_and_the_same_loud_places() -> None:
    before = syllables()
    after = change_manner(before, Manner(breath=1.0))
    assert track_pitch(before).isfinite().float().mean() > 0.4
    assert track_pitch(after).isfinite().float().mean() < 0.02
    levels = [frame_levels(signal(audio)) for audio in (before, after)]
    loud = levels[0] > levels[0].max() - 20
    assert np.abs(levels[1] - levels[0])[loud].mean() < 3.0
    assert formants_moved(vowel(140.0), change_manner(vowel(140.0), Manner(breath=1.0))) == (
        pytest.approx(1.0, abs=0.05)
    )
    pause = slice(6000, 10000)
    assert before.samples[pause].count_nonzero() == 0
    assert rms_db(after.samples[pause]) < rms_db(after.samples) - 90


@pytest.mark.parametrize("hz", [110.0, 150.0, 200.0])
def test_more_breath_leaves_less_of_the_voice(hz: float) -> None:
    before, alike = vowel(hz), []
    for breath in (0.0, 0.25, 0.5, 0.75, 1.0):
        after = change_manner(before, Manner(breath=breath))
        alike.append(float(torch.cosine_similarity(before.samples, after.samples, 0)))
        assert breath > 0.25 or median_hz(after) == pytest.approx(hz, rel=0.01)
    assert alike == sorted(alike, reverse=True)
    # Half of it is noise, but less where resonances make the voice stronger than the noise.
    assert alike == pytest.approx([1.0, 0.975, 0.89, 0.64, 0.0], abs=0.04)


def test_a_trembling_voice() -> None:
    course = 2 ** (semitones(change_manner(vowel(150.0), Manner(tremor=0.05))) / 12)
    assert course.max() / course.min() == pytest.approx(1.05 / 0.95, rel=0.02)
    strengths = np.abs(np.fft.rfft((course - course.mean()) * np.hanning(len(course)), 1000))
    assert strengths.argmax() / 10 == pytest.approx(6.0, abs=0.3)


def test_a_rising_end() -> None:
    course = semitones(change_manner(vowel(150.0, 1.5), Manner(rise=4.0))) - 12 * math.log2(150.0)
    assert np.abs(course[:75]).max() < 0.1
    assert (np.diff(course[85:]) > 0).all()
    # A tenth of a second before the end, of the 0.6 s that it takes.
    assert course[-1] == pytest.approx(4.0 * 5 / 6, abs=0.2)


@pytest.mark.parametrize("before", [vowel(150.0), swinging(110.0, 3.0), syllables()])
def test_no_change_is_the_same_recording(before: Audio) -> None:
    after = change_manner(before, Manner())
    wrong = (after.samples - before.samples)[400:-400]
    assert rms_db(wrong) < rms_db(before.samples) - 50


def test_as_loud_as_before_and_never_too_loud() -> None:
    before = vowel(150.0, height=0.2)
    for manner in (Manner(5.0), EVERYTHING, Manner(breath=1.0, rate=0.5)):
        after = change_manner(before, manner)
        assert rms_db(after.samples) == pytest.approx(rms_db(before.samples), abs=0.01)
    square = Audio(vowel(150.0).samples.sign(), 16000)
    after = change_manner(square, Manner(breath=1.0))
    assert float(after.samples.abs().max()) == pytest.approx(0.99, abs=1e-5)
    assert rms_db(after.samples) < -6


def test_silence_stays_silent() -> None:
    after = change_manner(Audio(torch.zeros(8000), 16000), EVERYTHING)
    assert len(after) == round(8000 / EVERYTHING.rate)
    assert after.samples.count_nonzero() == 0
    spoken = vowel(150.0).samples
    pause = torch.cat([spoken, torch.zeros(16000), spoken])
    after = change_manner(Audio(pause, 16000), Manner(4.0, formants=1.1, colour=(9.0,) * 7))
    assert rms_db(after.samples[18000:30000]) < -90


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000, 192000])
def test_every_rate(rate: int) -> None:
    before = vowel(150.0, 0.5, rate, FORMANTS[:2])
    after = change_manner(before, Manner(4.0, rate=0.9, formants=1.05))
    assert (len(after), after.sample_rate) == (round(len(before) / 0.9), rate)
    assert median_hz(after) == pytest.approx(150.0 * 2 ** (4 / 12), rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("manner", [Manner(), EVERYTHING, Manner(breath=1.0, rate=4.0)])
def test_hardly_anything(count: int, manner: Manner) -> None:
    after = change_manner(Audio(torch.full((count,), 0.3), 16000), manner)
    assert len(after) == max(1, round(count / manner.rate))
    assert 0 < float(after.samples.abs().max()) <= 0.99


def test_a_constant_has_no_voice_to_change() -> None:
    before = Audio(torch.full((8000,), 0.3), 16000)
    after = change_manner(before, Manner(5.0, 2.0))
    assert rms_db(after.samples) == pytest.approx(rms_db(before.samples), abs=0.1)
    assert after.samples[2000:6000].tolist() == pytest.approx([0.3] * 4000, abs=0.02)


def test_the_seed_is_that_of_the_breath() -> None:
    before = vowel(150.0, 0.5)
    kept = before.samples.clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    voiced, breathy = (
        [change_manner(before, manner, seed=seed).samples for seed in (1, 1, 2)]
        for manner in (Manner(4.0, 1.5, 0.9, tremor=0.05), EVERYTHING)
    )
    assert torch.equal(voiced[0], voiced[1])
    assert torch.equal(voiced[0], voiced[2])
    assert torch.equal(breathy[0], breathy[1])
    assert not torch.equal(breathy[0], breathy[2])
    assert torch.equal(before.samples, kept)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pitch": math.nan}, "every number of a manner must be finite"),
        ({"rise": math.inf}, "every number of a manner must be finite"),
        ({"colour": (math.nan, *NONE[1:])}, "every number of a manner must be finite"),
        ({"colour": (math.inf, -math.inf, *NONE[2:])}, "every number of a manner must be finite"),
        ({"colour": (1.0, 2.0)}, "colour has 2 numbers but needs 7"),
        ({"rate": 5.0}, r"rate is 5\.0 but must be 0\.25 to 4"),
        ({"rate": 0.2}, r"rate is 0\.2 but must be 0\.25 to 4"),
        ({"formants": 0.4}, r"formants is 0\.4 but must be 0\.5 to 2"),
        ({"formants": 2.1}, r"formants is 2\.1 but must be 0\.5 to 2"),
        ({"breath": -0.1}, r"breath is -0\.1 but must be 0 to 1"),
        ({"breath": 1.1}, r"breath is 1\.1 but must be 0 to 1"),
        ({"tremor": 0.6}, r"tremor is 0\.6 but must be 0 to 0\.5"),
        ({"melody": -1.0}, r"melody is -1\.0 but must be 0 to 10"),
        ({"melody": 11.0}, r"melody is 11\.0 but must be 0 to 10"),
    ],
)
def test_what_nobody_can_speak_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manner(**wrong)


@settings(max_examples=25, deadline=None)
@given(
    manner=st.builds(
        Manner,
        pitch=st.floats(-40, 40),
        melody=st.floats(0, 10),
        rate=st.floats(0.25, 4),
        formants=st.floats(0.5, 2),
        colour=st.just(()) | st.tuples(*[st.floats(-60, 60)] * 7),
        breath=st.floats(0, 1),
        tremor=st.floats(0, 0.5),
        rise=st.floats(-40, 40),
    ),
    kind=st.sampled_from(["noise", "tone", "silence", "almost silence"]),
    length=st.integers(1, 4000),
    rate=st.sampled_from([1000, 8000, 16000, 44100]),
)
def test_any_manner_of_any_recording(manner: Manner, kind: str, length: int, rate: int) -> None:
    noise = torch.randn(length, generator=torch.Generator().manual_seed(length)).clamp(-3, 3) / 3
    tone = torch.sin(2 * math.pi * 140 * torch.arange(length) / rate)
    samples = {"noise": noise, "tone": tone, "silence": 0 * noise, "almost silence": 1e-6 * noise}
    after = change_manner(Audio(samples[kind], rate), manner)
    assert len(after) == max(1, round(length / manner.rate))
    assert after.samples.isfinite().all()
    assert float(after.samples.abs().max()) <= 1.0
