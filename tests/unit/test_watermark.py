"""The built-in watermark: what it leaves alone, what it is found after, what is refused."""

from __future__ import annotations

import io

import debug_parts as debug
import numpy as np
import pytest
import soundfile
import soxr
import torch

from stepaudio import Audio
from stepaudio.errors import WatermarkError
from stepaudio.safety.watermark import Watermarker, WatermarkStream, mark, payload_of
from stepaudio.safety.watermark_pattern import FRAMES, SYNC, make_pattern
from stepaudio.safety.watermark_spread import SpreadSpectrum

PAYLOAD = 0xC0FFEE42
RATE = 24000

# Of the public key, written down when version 1 was made.
ANGLES = [-1.7822, -0.8724, -1.4088]
DUTIES = [65, -1, -1, 108, -1, -1]


@pytest.fixture(scope="module")
def sound() -> Audio:
    return debug.speech(4.0, RATE)


@pytest.fixture(scope="module")
def marked(sound: Audio) -> Audio:
    return SpreadSpectrum().embed(sound, PAYLOAD)


def changed(audio: Audio, samples: np.ndarray) -> Audio:
    return Audio(torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), RATE)


def test_the_pattern_of_a_key_never_changes() -> None:
    pattern = make_pattern("stepaudio")
    assert np.allclose(np.abs(pattern.phases), 1)
    assert (pattern.duty == SYNC).sum() == 4850  # half of 100 * 97 cells
    # Others must find, next year, what is marked today.
    assert np.round(np.angle(pattern.phases[0, :3]), 4).tolist() == ANGLES
    assert pattern.duty[0, :6].tolist() == DUTIES
    assert not np.allclose(make_pattern("other").phases, pattern.phases)
    assert len(pattern.phases) == FRAMES


def test_noise_hides_more_than_tones() -> None:
    """The same mark, in decibels below noise and below one tone of the same loudness."""
    time = torch.arange(2 * RATE) / RATE
    tone = 0.1 * torch.sin(2 * torch.pi * 1000 * time)
    noise = 0.0707 * torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0))
    below = [
        20 * torch.log10(plain.norm() / (marked.samples - plain).norm())
        for plain in (noise, tone)
        for marked in [SpreadSpectrum().embed(Audio(plain, RATE), PAYLOAD)]
    ]
    # Noise reaches to 12 kHz and the mark to 5 (4 dB); within its band it lies 12 dB below.
    assert 15 < below[0] < 17
    assert below[1] > below[0] + 6


def test_the_mark_lies_far_below_the_sound(sound: Audio, marked: Audio) -> None:
    difference = marked.samples - sound.samples
    decibels = 20 * torch.log10(sound.samples.norm() / difference.norm())
    assert 15 < decibels < 30
    # Nothing outside 200 Hz to 5 kHz and the skirts of the window.
    spectrum = torch.fft.rfft(difference).abs() ** 2
    tones = torch.arange(len(spectrum)) / sound.seconds
    inside = spectrum[(tones > 100) & (tones < 5150)].sum()
    assert inside / spectrum.sum() > 0.999


def test_it_is_found_read_and_only_there(sound: Audio, marked: Audio) -> None:
    marker = SpreadSpectrum()
    heard = marker.detect(marked)
    assert heard.found
    assert heard.payload == PAYLOAD
    assert heard.speed == 1.0
    plain = marker.detect(sound)
    assert not plain.found
    assert plain.payload is None
    assert not SpreadSpectrum("another key").detect(marked).found


@pytest.mark.parametrize("form", ["OPUS", "MP3"])
def test_it_survives_codecs(marked: Audio, form: str) -> None:
    memory = io.BytesIO()
    kinds = {"OPUS": ("OGG", "OPUS", 0.96), "MP3": ("MP3", "MPEG_LAYER_III", 0.6)}
    container, subtype, level = kinds[form]
    soundfile.write(
        memory,
        marked.samples.numpy(),
        RATE,
        format=container,
        subtype=subtype,
        compression_level=level,
    )
    memory.seek(0)
    heard = SpreadSpectrum().detect(Audio.load(memory.getvalue()))
    assert heard.found
    assert heard.payload == PAYLOAD


def test_it_survives_cutting_gain_inversion_and_other_rates(marked: Audio) -> None:
    part = Audio(-0.7 * marked.samples[4321:-1234], RATE).resample(16000)
    heard = SpreadSpectrum().detect(part)
    assert heard.found
    assert heard.payload == PAYLOAD


@pytest.mark.parametrize("speed", [0.95, 1.05])
def test_it_survives_another_speed(marked: Audio, speed: float) -> None:
    turned = soxr.resample(marked.samples.numpy(), RATE * speed, RATE)
    heard = SpreadSpectrum().detect(changed(marked, turned))
    assert heard.found
    assert heard.payload == PAYLOAD
    assert heard.speed == pytest.approx(speed, abs=1e-3)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_can_be_marked(rate: int) -> None:
    heard = SpreadSpectrum().detect(SpreadSpectrum().embed(debug.speech(4.0, rate), PAYLOAD))
    assert heard.found
    assert heard.payload == PAYLOAD


def test_a_marked_span_is_found_where_it_is() -> None:
    sound = debug.speech(8.0, RATE, seed=3)
    marker = SpreadSpectrum()
    part = marker.embed(sound, PAYLOAD, spans=[(2.5, 6.0)])
    assert torch.equal(part.samples[: int(2.5 * RATE)], sound.samples[: int(2.5 * RATE)])
    assert torch.equal(part.samples[6 * RATE :], sound.samples[6 * RATE :])
    ((start, end),) = marker.localise(part)
    assert start == pytest.approx(2.5, abs=0.25)
    assert end == pytest.approx(6.0, abs=0.25)
    assert marker.localise(sound) == ()
    ((start, end),) = marker.localise(marker.embed(sound, PAYLOAD))
    assert (start, end) == (pytest.approx(0, abs=0.25), pytest.approx(8, abs=0.25))


def test_a_long_recording_is_judged_by_its_minutes() -> None:
    sound = debug.speech(64.0, 8000, seed=2)
    marker = SpreadSpectrum()
    part = marker.embed(sound, PAYLOAD, spans=[(28.0, 37.0)])  # across the border at 32 s
    assert marker.detect(part).payload == PAYLOAD
    ((start, end),) = marker.localise(part)
    assert (start, end) == (pytest.approx(28, abs=0.3), pytest.approx(37, abs=0.3))


def test_what_cannot_be_marked_is_refused(sound: Audio) -> None:
    marker = SpreadSpectrum()
    with pytest.raises(WatermarkError, match="at least 8000 Hz"):
        marker.stream(0, 4000)
    for span in [(-1.0, 2.0), (2.0, 1.0), (0.0, float("nan"))]:
        with pytest.raises(WatermarkError, match="choose 0 <= start < end"):
            marker.embed(sound, 0, spans=[span])
    for wrong in ({"strength": 0.0}, {"threshold": float("inf")}):
        with pytest.raises(WatermarkError, match="must be above 0"):
            SpreadSpectrum(**wrong)


class Careless(SpreadSpectrum):
    """Gives back another number of samples than it was given."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def stream(self, payload, sample_rate, *, spans=None):
        marker: Watermarker = self

        class Stream(WatermarkStream):
            def push(self, samples):
                return torch.zeros(max(0, len(samples) + marker.extra))

            def finish(self):
                return torch.zeros(0)

        return Stream()


@pytest.mark.parametrize("payload", [-1, 1 << 32, 1.0, True])
def test_payloads_that_do_not_fit_are_refused(sound: Audio, payload: object) -> None:
    with pytest.raises(WatermarkError, match="cannot be embedded; give a whole number"):
        SpreadSpectrum().embed(sound, payload)  # type: ignore[arg-type]


class Failing(SpreadSpectrum):
    """Begins, and fails at the first sound."""

    def stream(self, payload, sample_rate, *, spans=None):
        class Stream(WatermarkStream):
            def push(self, samples):
                raise ImportError("no module named marker")

            def finish(self):
                raise AssertionError("nothing comes after a failure")

        return Stream()


def test_sound_is_withheld_when_marking_it_fails(sound: Audio) -> None:
    given = mark([sound.samples], Failing(), 0, RATE)
    with pytest.raises(WatermarkError, match="so the sound is withheld"):
        next(given)


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_marker_that_changes_the_length_is_refused(sound: Audio, extra: int) -> None:
    with pytest.raises(WatermarkError, match="must keep the length"):
        list(mark([sound.samples], Careless(extra), 0, RATE))
    with pytest.raises(WatermarkError, match="must keep the length"):
        Careless(extra).embed(sound, 0)


def test_pieces_pass_the_door(sound: Audio) -> None:
    pieces = [*sound.samples.split(1000), torch.zeros(0)]
    plain = list(mark(pieces, None, 7, RATE))
    assert torch.equal(torch.cat(plain), sound.samples)
    through = torch.cat(list(mark(pieces, SpreadSpectrum(), 7, RATE)))
    assert torch.equal(through, SpreadSpectrum().embed(sound, payload_of(7)).samples)
    assert 0 <= payload_of(7) < 1 << 32
    assert payload_of(7) != payload_of(8)
